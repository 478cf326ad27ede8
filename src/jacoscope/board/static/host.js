// What the page needs of TensorBoard around it: news of data, the theme, and the address.

const PREFIX = "p.jacobians.";

// Call `changed` when TensorBoard has read its log folder again. Messages are those of TensorBoard's plugin interface.
export function listen(changed) {
  const channel = new MessageChannel();
  channel.port1.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (message.isReply) return;
    channel.port1.postMessage(JSON.stringify({ type: message.type, id: message.id, payload: null, error: null, isReply: true }));
    if (message.type === "experimental.DataReloaded" || message.type === "experimental.RunsChanged") changed();
  };
  parent.postMessage("experimental.bootstrap", "*", [channel.port2]);
}

// The page around the frame; null where it is of another origin, or there is none.
function around() {
  try {
    return parent !== window && parent.document.body ? parent : null;
  } catch {
    return null;
  }
}

// Follow TensorBoard's theme, or the system's where TensorBoard's cannot be seen.
export function followTheme(changed) {
  const host = around(), system = matchMedia("(prefers-color-scheme: dark)");
  const update = () => {
    const dark = host ? host.document.body.classList.contains("dark-mode") : system.matches;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    changed();
  };
  if (host) new MutationObserver(update).observe(host.document.body, { attributeFilter: ["class"] });
  else system.addEventListener("change", update);
  update();
}

// The state in the address: TensorBoard keeps what begins with p.PLUGIN. behind the name of the tab.
export function readAddress() {
  const parts = (around() ?? window).location.hash.replace(/^#/, "").split("&");
  return Object.fromEntries(parts.filter((part) => part.startsWith(PREFIX)).map((part) => {
    const at = part.indexOf("=");
    return [part.slice(PREFIX.length, at), decoded(part.slice(at + 1))];
  }));
}

// A link that was cut off in the middle of a sign is read as it stands.
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// Call `changed` when another address is typed or pasted while the page is open.
export function followAddress(changed) {
  (around() ?? window).addEventListener("hashchange", changed);
}

export function writeAddress(state) {
  const where = around() ?? window;
  const [tab, ...parts] = where.location.hash.replace(/^#/, "").split("&");
  if (where !== window && tab !== "jacobians") return; // another tab is shown
  const own = Object.entries(state).map(([name, value]) => PREFIX + name + "=" + encodeURIComponent(value));
  const hash = "#" + [tab, ...parts.filter((part) => !part.startsWith(PREFIX)), ...own].join("&");
  if (hash !== where.location.hash) where.history.replaceState(where.history.state, "", hash);
}

// A link to what is seen, for another person.
export function link() {
  return (around() ?? window).location.href;
}
