// What the report and TensorBoard's tab share: maps in colours, pixels to point at, and the row of J at a pixel as bars.
// The tab imports this file; in the report it is part of the page's script.

// The colours of signed values, symmetric about 0; logarithmic above `bend` if there is one, as Scale in heatmaps.py.
export class ColorScale {
  constructor(table, limit, bend = null, notFinite = 90) {
    Object.assign(this, { table, limit: limit > 0 ? limit : 1, bend, notFinite });
    this.span = bend ? Math.asinh(this.limit / bend) : this.limit;
  }

  // The place of a value on the scale, from −1 to 1.
  place(value) {
    return Math.max(-1, Math.min(1, (this.bend ? Math.asinh(value / this.bend) : value) / this.span));
  }

  // The value at a place of the scale.
  value(place) {
    return this.bend ? this.bend * Math.sinh(place * this.span) : place * this.limit;
  }

  rgb(value) {
    if (!Number.isFinite(value)) return [this.notFinite, this.notFinite, this.notFinite];
    return this.table[Math.round(((this.place(value) + 1) / 2) * (this.table.length - 1))];
  }
}

// Paint a canvas with a colour for each pixel.
export function paint(canvas, width, height, rgb) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.style.aspectRatio = width + " / " + height;
  const context = canvas.getContext("2d"), picture = context.createImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    const [red, green, blue] = rgb(i);
    picture.data[4 * i] = red;
    picture.data[4 * i + 1] = green;
    picture.data[4 * i + 2] = blue;
    picture.data[4 * i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

// Put a frame around a pixel of the canvas above it.
export function markPixel(mark, pixel, width, height) {
  mark.style.cssText = `left:${(100 * (pixel % width)) / width}%;top:${(100 * Math.floor(pixel / width)) / height}%;` +
    `width:${100 / width}%;height:${100 / height}%`;
}

// The pixel that a pointer is at; null outside of the canvas.
export function pointedPixel(event, width, height) {
  const box = event.target.getBoundingClientRect();
  const column = Math.floor(((event.clientX - box.left) / box.width) * width);
  const row = Math.floor(((event.clientY - box.top) / box.height) * height);
  return column < 0 || row < 0 || column >= width || row >= height ? null : row * width + column;
}

// The pixel that an arrow key moves to; null for other keys.
export function movedPixel(event, pixel, width, height) {
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return null;
  event.preventDefault();
  const [down, right] = moves[event.key], stride = event.shiftKey ? 5 : 1;
  const row = Math.max(0, Math.min(height - 1, Math.floor(pixel / width) + stride * down));
  const column = Math.max(0, Math.min(width - 1, (pixel % width) + stride * right));
  return row * width + column;
}

// The pixel with the largest magnitude.
export function strongestPixel(map) {
  let best = 0;
  for (let i = 1; i < map.length; i++) if (Math.abs(map[i]) > Math.abs(map[best])) best = i;
  return best;
}

export function signed(value) {
  if (!Number.isFinite(value)) return "not finite";
  const size = Math.abs(value), isLong = size !== 0 && (size < 1e-3 || size >= 1e5);
  return (value < 0 ? "−" : "+") + (isLong ? size.toExponential(2).replace("e-", "e−") : size.toPrecision(3));
}

export function percent(p) {
  return p >= 0.9995 ? ">99.9 %" : p < 0.0005 ? "<0.1 %" : (100 * p).toFixed(1) + " %";
}

// Fill a table with a row for each class: its texts, then for each of `columns` a bar and its number.
// rows: [{texts, values, on}]; the bars share one length, the largest magnitude of all values.
export function fillBars(body, rows, scale) {
  const limit = Math.max(0, ...rows.flatMap((row) => row.values).filter(Number.isFinite).map(Math.abs)) || 1;
  const cells = rows.length ? rows[0].texts.length + 2 * rows[0].values.length : 0;
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((row, i) => {
    const line = body.rows[i] || body.insertRow();
    while (line.cells.length > cells) line.deleteCell(-1);
    while (line.cells.length < cells) line.insertCell();
    line.className = row.on ? "on" : "";
    row.texts.forEach((text, j) => {
      line.cells[j].className = "";
      line.cells[j].textContent = text;
    });
    row.values.forEach((value, j) => {
      const [bar, number] = [0, 1].map((side) => line.cells[row.texts.length + 2 * j + side]);
      const share = Number.isFinite(value) ? value / limit : 0;
      if (bar.className !== "bar") bar.replaceChildren(document.createElement("i"));
      bar.className = "bar";
      bar.firstChild.style.cssText = `left:${share < 0 ? 50 + 50 * share : 50}%;width:${50 * Math.abs(share)}%;` +
        `background:rgb(${scale.rgb(scale.value(share < 0 ? -0.8 : 0.8))})`;
      number.className = "number";
      number.textContent = value === null ? "–" : signed(value);
    });
  });
}
