"use strict";

// Explorer
const [channels, height, width] = data.shape;
const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const state = { sample: 0, shown: 0, pixel: null };
const decoded = new Map();

function current() {
  if (!decoded.has(state.sample)) {
    const s = data.samples[state.sample];
    decoded.set(state.sample, { ...s, image: bytesOf(s.image), maps: new Int16Array(bytesOf(s.maps).buffer) });
  }
  return decoded.get(state.sample);
}

const derivative = (s, k, pixel) => (s.maps[k * height * width + pixel] / 32767) * s.limits[k];
const sign = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toPrecision(3);
const percent = (p) => (p >= 0.9995 ? ">99.9 %" : p < 0.0005 ? "<0.1 %" : (100 * p).toFixed(1) + " %");

function mapColor(share) {
  return data.colors[Math.round(((Math.max(-1, Math.min(1, share)) + 1) / 2) * (data.colors.length - 1))];
}

function paint(id, rgb) {
  const canvas = byId(id), context = canvas.getContext("2d");
  canvas.width = width; canvas.height = height;
  canvas.style.aspectRatio = width + " / " + height;
  const picture = context.createImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    const [r, g, b] = rgb(i);
    picture.data.set([r, g, b, 255], 4 * i);
  }
  context.putImageData(picture, 0, 0);
  const mark = canvas.nextElementSibling;
  mark.hidden = state.pixel === null;
  mark.style.cssText = `left:${(100 * (state.pixel % width)) / width}%;top:${(100 * Math.floor(state.pixel / width)) / height}%;` +
    `width:${100 / width}%;height:${100 / height}%`;
}

function draw() {
  const s = current(), area = height * width, limit = Math.max(...s.limits) || 1;
  paint("digit", (i) => channels === 3 ? [s.image[i], s.image[area + i], s.image[2 * area + i]] : [s.image[i], s.image[i], s.image[i]]);
  paint("map", (i) => mapColor(derivative(s, state.shown, i) / limit));
  const name = data.names[s.classes[state.shown]];
  byId("digit-caption").textContent = `class ${data.names[s.label]}, predicted ${data.names[s.prediction]}; ` +
    `norm ${s.frobenius.toPrecision(3)}, distance ${s.distance === null ? "∞" : s.distance.toPrecision(3)}`;
  byId("map-caption").textContent = `∂ ${data.output} of ${name} / ∂ pixel, blue −${limit.toPrecision(3)} to orange +${limit.toPrecision(3)}`;
  byId("classes").replaceChildren(...s.classes.map((k, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = data.names[k];
    button.setAttribute("aria-pressed", i === state.shown);
    button.onclick = () => { state.shown = i; draw(); };
    return button;
  }));
  drawRow(s);
}

function drawRow(s) {
  const pixel = state.pixel;
  byId("where").textContent = pixel === null ? "Point at a pixel." :
    `Row ${Math.floor(pixel / width)}, column ${pixel % width} (pixel ${pixel}); its brightness is ${brightness(s, pixel).toFixed(2)}.`;
  const values = s.classes.map((_, k) => (pixel === null ? null : derivative(s, k, pixel)));
  const limit = Math.max(...values.map(Math.abs)) || 1;
  byId("bars").replaceChildren(...s.classes.map((k, i) => {
    const row = document.createElement("tr"), share = values[i] / limit;
    row.className = i === state.shown ? "on" : "";
    const cells = [data.names[k], percent(s.probabilities[i]), null, values[i] === null ? "" : sign(values[i])];
    for (const text of cells) row.appendChild(document.createElement("td")).textContent = text || "";
    const bar = row.children[2];
    bar.className = "bar";
    const fill = bar.appendChild(document.createElement("i"));
    fill.style.left = (share < 0 ? 50 + 50 * share : 50) + "%";
    fill.style.width = 50 * Math.abs(share) + "%";
    fill.style.background = `rgb(${mapColor(share < 0 ? -0.8 : 0.8)})`;
    return row;
  }));
}

function brightness(s, pixel) {
  let sum = 0;
  for (let c = 0; c < channels; c++) sum += s.image[c * height * width + pixel];
  return sum / channels / 255;
}

function strongest(s) {
  let best = 0;
  for (let i = 0; i < height * width; i++) {
    if (Math.abs(derivative(s, state.shown, i)) > Math.abs(derivative(s, state.shown, best))) best = i;
  }
  return best;
}

function choose(index) {
  state.sample = (index + data.samples.length) % data.samples.length;
  const s = current();
  state.shown = Math.max(0, s.classes.indexOf(s.prediction));
  state.pixel = strongest(s);
  byId("sample").value = state.sample;
  draw();
}

function follow(event) {
  const box = event.target.getBoundingClientRect();
  const column = Math.floor(((event.clientX - box.left) / box.width) * width);
  const row = Math.floor(((event.clientY - box.top) / box.height) * height);
  if (column < 0 || row < 0 || column >= width || row >= height) return;
  state.pixel = row * width + column;
  draw();
}

function step(event) {
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -width, ArrowDown: width };
  if (!(event.key in moves)) return;
  event.preventDefault();
  state.pixel = Math.max(0, Math.min(height * width - 1, (state.pixel || 0) + moves[event.key]));
  draw();
}

byId("unit").textContent = `∂ ${data.output} / ∂ pixel`;
const groups = Object.groupBy ? Object.groupBy(data.samples.keys(), (i) => data.samples[i].why) : { samples: [...data.samples.keys()] };
for (const [why, members] of Object.entries(groups)) {
  const group = byId("sample").appendChild(document.createElement("optgroup"));
  group.label = why;
  for (const i of members) {
    const s = data.samples[i], wrong = s.label === s.prediction ? "" : `, predicted ${data.names[s.prediction]}`;
    group.appendChild(new Option(`sample ${s.index}: ${data.names[s.label]}${wrong}`, i));
  }
}
byId("sample").onchange = (event) => choose(Number(event.target.value));
byId("previous").onclick = () => choose(state.sample - 1);
byId("next").onclick = () => choose(state.sample + 1);
for (const id of ["digit", "map"]) {
  byId(id).addEventListener("pointermove", follow);
  byId(id).addEventListener("pointerdown", follow);
  byId(id).addEventListener("keydown", step);
}
byId("measure").onchange = drawCharts;
onDraw.push(() => Plotly.react("chart-by-class", ...themed(data.byClass[byId("measure").value])));
start();
choose(0);
