// Save what is seen as a picture.

const SIDE = 280, GAP = 24, MARGIN = 32, LINE = 22, MINI = 84, BETWEEN = 4;

// view: what was drawn last; colors: of the theme.
export function savePicture(view, colors) {
  const theme = colors.theme[document.documentElement.dataset.theme];
  const panes = [...document.querySelectorAll(".panes figure:not([hidden])")];
  const rows = [document.getElementById("headings"), ...document.querySelectorAll("#bars tr")];
  const minis = [...document.querySelectorAll("#classes button")];
  const width = Math.max(2 * MARGIN + panes.length * (SIDE + GAP) + 140 + 180 * view.courses.length, 2 * MARGIN + minis.length * (MINI + 12));
  const below = MARGIN + 3 * LINE + Math.max(SIDE + 2 * LINE, (rows.length + 1) * LINE) + GAP;
  const under = below + (MINI + BETWEEN) * view.courses.length;
  const height = under + 4 * LINE + MARGIN;
  const canvas = Object.assign(document.createElement("canvas"), { width: 2 * width, height: 2 * height });
  const context = canvas.getContext("2d");
  context.scale(2, 2);
  context.imageSmoothingEnabled = false;
  context.fillStyle = theme.paper;
  context.fillRect(0, 0, width, height);
  const text = (content, x, y, color = theme.ink, font = "14px system-ui, sans-serif", align = "left") => {
    Object.assign(context, { fillStyle: color, font, textAlign: align });
    context.fillText(content, x, y);
  };
  const [course] = view.courses, when = document.getElementById("when").textContent;
  text(`${view.names.join(" | ")}`, MARGIN, MARGIN + 8, theme.ink, "600 18px system-ui, sans-serif");
  text(`sample ${course.index}, ∂ ${course.output} / ∂ pixels, ${when}`, MARGIN, MARGIN + 8 + LINE, theme.soft);
  const top = MARGIN + 3 * LINE;
  panes.forEach((pane, i) => drawPane(context, pane, MARGIN + i * (SIDE + GAP), top, view.state.pixel, course, theme, text));
  const left = MARGIN + panes.length * (SIDE + GAP);
  text(document.getElementById("where").textContent, left, top - 8, theme.soft);
  const kinds = [...rows[1].cells].map((cell) => cell.className);
  rows.forEach((row, i) => drawRow(context, row, kinds, left, top + (i + 0.5) * LINE, text));
  minis.forEach((button, i) => {
    const x = MARGIN + i * (MINI + 12);
    [...button.querySelectorAll("canvas")].forEach((mini, j) => context.drawImage(mini, x, below + j * (MINI + BETWEEN), MINI, MINI));
    text(button.querySelector(".class").textContent, x, under + 15, theme.ink, "12px system-ui, sans-serif");
    text(button.querySelector(".chances").textContent, x, under + 29, theme.soft, "10px system-ui, sans-serif");
  });
  const foot = height - MARGIN, low = document.getElementById("low").textContent, high = document.getElementById("high").textContent;
  text(low, MARGIN, foot, theme.soft);
  const start = MARGIN + context.measureText(low).width + 10;
  context.drawImage(document.getElementById("ramp"), start, foot - 11, 180, 12);
  text(high, start + 190, foot, theme.soft);
  text(document.getElementById("ticks").textContent, start + 90, foot + 14, theme.soft, "10.5px system-ui, sans-serif", "center");
  canvas.toBlob((blob) => {
    const anchor = document.createElement("a"), address = URL.createObjectURL(blob);
    Object.assign(anchor, { href: address, download: `jacobian_${course.output}_sample_${course.index}_step_${course.steps[view.places[0]]}.png` });
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  });
}

function drawPane(context, pane, x, y, pixel, course, theme, text) {
  const canvas = pane.querySelector("canvas"), [title, caption] = pane.querySelectorAll("figcaption");
  const factor = SIDE / Math.max(canvas.width, canvas.height);
  context.drawImage(canvas, x, y, canvas.width * factor, canvas.height * factor);
  context.strokeStyle = theme.mark;
  context.lineWidth = 2;
  const row = Math.floor(pixel / course.width), column = pixel % course.width;
  context.strokeRect(x + column * factor, y + row * factor, factor, factor);
  text(title.textContent, x, y - 8, getComputedStyle(title).color, "600 14px system-ui, sans-serif");
  text(caption.textContent, x, y + SIDE + 20, theme.soft, "13px system-ui, sans-serif");
}

// kinds: of the columns: "bar", "number", or "" for a class or a probability.
function drawRow(context, row, kinds, x, y, text) {
  const font = (row.className === "on" ? "700 " : "") + "13px system-ui, sans-serif";
  let at = x;
  [...row.cells].forEach((cell, i) => {
    const bar = kinds[i] === "bar" && cell.firstElementChild?.style;
    if (bar) {
      context.fillStyle = bar.background;
      context.fillRect(at + 0.9 * parseFloat(bar.left), y - 10, 0.9 * parseFloat(bar.width), 12);
    } else {
      text(cell.textContent, at, y, getComputedStyle(cell).color, font);
    }
    at += { bar: 100, number: 80 }[kinds[i]] ?? 62;
  });
}
