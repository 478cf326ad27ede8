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
      const steps = new Int16Array(bytes(s.maps).buffer), area = this.height * this.width;
      const maps = s.limits.map((limit, k) =>
        Float64Array.from(steps.subarray(k * area, (k + 1) * area), (step) => (step / 32767) * limit));
      this.decoded.set(this.index, { ...s, image: bytes(s.image), maps });
    }
    return this.decoded.get(this.index);
  }

  choose(index) {
    this.index = (index + this.samples.length) % this.samples.length;
    this.shown = Math.max(0, this.sample.classes.indexOf(this.sample.prediction));
    this.pixel = strongestPixel(this.sample.maps[this.shown]);
    byId("sample").value = this.index;
    this.draw();
  }

  rgb(pixel) {
    const area = this.height * this.width;
    return [0, 1, 2].map((c) => this.sample.image[(this.channels === 3 ? c * area : 0) + pixel]);
  }

  draw() {
    const s = this.sample, colors = new ColorScale(this.scale, Math.max(...s.limits));
    const name = this.names[s.classes[this.shown]], map = s.maps[this.shown];
    this.paint(byId("digit"), (i) => this.rgb(i));
    this.paint(byId("map"), (i) => colors.rgb(map[i]));
    const numbers = Object.entries(this.measures).map(([key, label]) =>
      `${label} ${s.measures[key] === null ? "∞" : s.measures[key].toPrecision(3)}`);
    byId("digit-caption").textContent =
      `class ${this.names[s.label]}, predicted ${this.names[s.prediction]}; ${numbers.join(", ")}`;
    byId("map-caption").textContent = `∂ ${this.output} of ${name} / ∂ pixel, ` +
      `${this.colors.negative} −${colors.limit.toPrecision(3)} to ${this.colors.positive} +${colors.limit.toPrecision(3)}`;
    byId("classes").replaceChildren(...s.classes.map((k, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = this.names[k];
      button.setAttribute("aria-pressed", i === this.shown);
      button.onclick = () => { this.shown = i; this.draw(); };
      return button;
    }));
    this.drawRow(colors);
  }

  paint(canvas, rgb) {
    paint(canvas, this.width, this.height, rgb);
    markPixel(canvas.nextElementSibling, this.pixel, this.width, this.height);
  }

  drawRow(colors) {
    const { pixel, width, sample: s } = this;
    const brightness = this.rgb(pixel).reduce((sum, value) => sum + value, 0) / 3 / 255;
    byId("where").textContent = `Row ${Math.floor(pixel / width)}, column ${pixel % width} (pixel ${pixel}). ` +
      `Its brightness is ${brightness.toFixed(2)}.`;
    fillBars(byId("bars"), s.classes.map((k, i) => ({
      texts: [this.names[k], percent(s.probabilities[i])], values: [s.maps[i][pixel]], on: i === this.shown,
    })), colors);
  }

  follow(event) {
    this.pixel = pointedPixel(event, this.width, this.height) ?? this.pixel;
    this.draw();
  }

  step(event) {
    this.pixel = movedPixel(event, this.pixel, this.width, this.height) ?? this.pixel;
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
