// What to type to see more of a row of a table: data.commands has a command by the row's key, or commands that end with it.

function command(text) {
  const copy = element("button", { type: "button", textContent: "copy" });
  const code = element("code", { textContent: text });
  copy.onclick = async () => {
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "copied";
    } catch { // the browser does not let this page write there
      getSelection().selectAllChildren(code);
      copy.textContent = "selected";
    }
  };
  return element("p", { className: "command" }, code, copy);
}

function showCommands(table, noun) {
  const place = byId("commands"), rows = table.values[table.link];
  routes.push((target) => {
    const i = rows.findIndex((value) => String(value) === target[noun]);
    if (i < 0) return;
    table.mark(i);
    const { commands } = data, own = commands[target[noun]];
    const typed = own ? [own] : Object.values(commands).map((start) => start + target[noun]);
    const heading = element("h3", { tabIndex: -1, textContent: `To see ${noun} ${target[noun]}, type` });
    place.replaceChildren(heading, ...typed.map(command));
    place.hidden = false;
    place.scrollIntoView({ block: "nearest" });
    heading.focus({ preventScroll: true });
  });
}
