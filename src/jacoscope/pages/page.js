"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

// Theme: that of the system, until the reader chooses. Charts are made in light colours and drawn again in dark ones.
const root = document.documentElement;
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
const darkOf = new Map(Object.entries(data.theme.light).map(([name, color]) => [color, data.theme.dark[name]]));

function setTheme(name) {
  root.dataset.theme = name;
  drawCharts();
}

// A copy of part of a figure in the colours of the theme; only what is called a color is changed.
function themed(node, key = "") {
  if (Array.isArray(node)) return node.map((item) => themed(item, key));
  if (node && typeof node === "object") {
    return Object.fromEntries(Object.entries(node).map(([name, value]) => [name, themed(value, name)]));
  }
  return (root.dataset.theme === "dark" && /color(way)?$/.test(key) && darkOf.get(node)) || node;
}

function drawCharts() {
  for (const place of document.querySelectorAll(".chart")) {
    const chart = data.charts[place.dataset.choice ? byId(place.dataset.choice).value : place.dataset.chart];
    const layout = { ...chart.layout, template: data.template };
    Plotly.react(place, themed(chart.data), themed(layout), { displayModeBar: false, responsive: true });
  }
}

// Explorer: one sample, one derivative map of a class, and the derivatives of all classes at one pixel.
class Explorer {
  constructor({ samples, shape, names, output, scale, measures, colors }) {
    Object.assign(this, { samples, names, output, scale, measures, colors });
    [this.channels, this.height, this.width] = shape;
    this.decoded = new Map();
    byId("unit").textContent = `∂ ${output} / ∂ pixel`;
    this.fillSelect();
    byId("sample").onchange = (event) => this.choose(Number(event.target.value));
    byId("previous").onclick = () => this.choose(this.index - 1);
    byId("next").onclick = () => this.choose(this.index + 1);
    for (const canvas of [byId("digit"), byId("map")]) {
      canvas.addEventListener("pointermove", (event) => this.follow(event));
      canvas.addEventListener("pointerdown", (event) => this.follow(event));
      canvas.addEventListener("keydown", (event) => this.step(event));
    }
    this.choose(0);
  }

  fillSelect() {
    const groups = new Map();
    this.samples.forEach((s, i) => {
      if (!groups.has(s.why)) {
        groups.set(s.why, byId("sample").appendChild(document.createElement("optgroup")));
        groups.get(s.why).label = s.why;
      }
      const wrong = s.label === s.prediction ? "" : `, predicted ${this.names[s.prediction]}`;
      groups.get(s.why).appendChild(new Option(`sample ${s.index}: ${this.names[s.label]}${wrong}`, i));
    });
  }

  get sample() {
    if (!this.decoded.has(this.index)) {
      const s = this.samples[this.index], bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
      this.decoded.set(this.index, { ...s, image: bytes(s.image), maps: new Int16Array(bytes(s.maps).buffer) });
    }
    return this.decoded.get(this.index);
  }

  choose(index) {
    this.index = (index + this.samples.length) % this.samples.length;
    this.shown = Math.max(0, this.sample.classes.indexOf(this.sample.prediction));
    this.pixel = this.strongestPixel();
    byId("sample").value = this.index;
    this.draw();
  }

  derivative(k, pixel) {
    return (this.sample.maps[k * this.height * this.width + pixel] / 32767) * this.sample.limits[k];
  }

  strongestPixel() {
    let best = 0;
    for (let i = 0; i < this.height * this.width; i++) {
      if (Math.abs(this.derivative(this.shown, i)) > Math.abs(this.derivative(this.shown, best))) best = i;
    }
    return best;
  }

  rgb(pixel) {
    const area = this.height * this.width;
    return [0, 1, 2].map((c) => this.sample.image[(this.channels === 3 ? c * area : 0) + pixel]);
  }

  mapColor(share) {
    return this.scale[Math.round(((Math.max(-1, Math.min(1, share)) + 1) / 2) * (this.scale.length - 1))];
  }

  draw() {
    const s = this.sample, limit = Math.max(...s.limits) || 1, name = this.names[s.classes[this.shown]];
    this.paint(byId("digit"), (i) => this.rgb(i));
    this.paint(byId("map"), (i) => this.mapColor(this.derivative(this.shown, i) / limit));
    const numbers = Object.entries(this.measures).map(([key, label]) =>
      `${label} ${s.measures[key] === null ? "∞" : s.measures[key].toPrecision(3)}`);
    byId("digit-caption").textContent =
      `class ${this.names[s.label]}, predicted ${this.names[s.prediction]}; ${numbers.join(", ")}`;
    byId("map-caption").textContent = `∂ ${this.output} of ${name} / ∂ pixel, ` +
      `${this.colors.negative} −${limit.toPrecision(3)} to ${this.colors.positive} +${limit.toPrecision(3)}`;
    byId("classes").replaceChildren(...s.classes.map((k, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = this.names[k];
      button.setAttribute("aria-pressed", i === this.shown);
      button.onclick = () => { this.shown = i; this.draw(); };
      return button;
    }));
    this.drawRow();
  }

  paint(canvas, rgb) {
    const { width, height, pixel } = this, context = canvas.getContext("2d");
    Object.assign(canvas, { width, height });
    canvas.style.aspectRatio = width + " / " + height;
    const picture = context.createImageData(width, height);
    for (let i = 0; i < height * width; i++) picture.data.set([...rgb(i), 255], 4 * i);
    context.putImageData(picture, 0, 0);
    canvas.nextElementSibling.style.cssText = `left:${(100 * (pixel % width)) / width}%;` +
      `top:${(100 * Math.floor(pixel / width)) / height}%;width:${100 / width}%;height:${100 / height}%`;
  }

  drawRow() {
    const { pixel, width, sample: s } = this;
    const brightness = this.rgb(pixel).reduce((sum, value) => sum + value, 0) / 3 / 255;
    byId("where").textContent = `Row ${Math.floor(pixel / width)}, column ${pixel % width} (pixel ${pixel}). ` +
      `Its brightness is ${brightness.toFixed(2)}.`;
    const values = s.classes.map((_, k) => this.derivative(k, pixel));
    const limit = Math.max(...values.map(Math.abs)) || 1;
    const percent = (p) => (p >= 0.9995 ? ">99.9 %" : p < 0.0005 ? "<0.1 %" : (100 * p).toFixed(1) + " %");
    byId("bars").replaceChildren(...s.classes.map((k, i) => {
      const row = document.createElement("tr"), share = values[i] / limit;
      row.className = i === this.shown ? "on" : "";
      const number = (values[i] < 0 ? "−" : "+") + Math.abs(values[i]).toPrecision(3);
      for (const text of [this.names[k], percent(s.probabilities[i]), "", number]) {
        row.appendChild(document.createElement("td")).textContent = text;
      }
      row.children[2].className = "bar";
      const bar = row.children[2].appendChild(document.createElement("i"));
      bar.style.left = (share < 0 ? 50 + 50 * share : 50) + "%";
      bar.style.width = 50 * Math.abs(share) + "%";
      bar.style.background = `rgb(${this.mapColor(share < 0 ? -0.8 : 0.8)})`;
      return row;
    }));
  }

  follow(event) {
    const box = event.target.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * this.width);
    const row = Math.floor(((event.clientY - box.top) / box.height) * this.height);
    if (column < 0 || row < 0 || column >= this.width || row >= this.height) return;
    this.pixel = row * this.width + column;
    this.draw();
  }

  step(event) {
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.width, ArrowDown: this.width };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.pixel = Math.max(0, Math.min(this.height * this.width - 1, this.pixel + moves[event.key]));
    this.draw();
  }
}

byId("theme").onclick = () => setTheme(root.dataset.theme === "dark" ? "light" : "dark");
systemIsDark.addEventListener("change", () => setTheme(systemIsDark.matches ? "dark" : "light"));
let beforePrint = null;
addEventListener("beforeprint", () => { beforePrint = root.dataset.theme; setTheme("light"); });
addEventListener("afterprint", () => setTheme(beforePrint));
for (const place of document.querySelectorAll(".chart[data-choice]")) byId(place.dataset.choice).onchange = drawCharts;
setTheme(systemIsDark.matches ? "dark" : "light");
const explorer = data.explorer ? new Explorer(data.explorer) : null;
