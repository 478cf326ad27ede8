"use strict";
// One sample: its image, the derivative map of one class, and the row of J at one pixel. Needs no other script, so that
// every page and the tab in TensorBoard can use it: new JacobianView(element, settings).show(sample).
//
// settings: {names, output, scale, colors}: names of the classes; what is differentiated; the colours of the map from
// its lower end to its upper one, [red, green, blue] each; the words {positive, negative} for the two signs.
// sample: {label, prediction, image, shape, classes, probabilities, maps, limits, steps, caption}: image are bytes,
// channel by channel, shape is [channels, height, width]; classes are those that have a map; maps are integers from
// -steps to steps, for -limit to limit of each map. Without maps, only the image is shown. label may be null.

class JacobianView {
  constructor(place, settings) {
    Object.assign(this, settings);
    place.classList.add("jacobian");
    place.innerHTML = `<div class="classes" role="group" aria-label="class whose map is shown"></div>
      <div class="panes">
      <figure><div class="pane"><canvas tabindex="0"></canvas><i class="mark"></i></div><figcaption></figcaption></figure>
      <figure><div class="pane"><canvas tabindex="0"></canvas><i class="mark"></i></div><figcaption></figcaption></figure>
      <div class="pixel"><p aria-live="polite"></p><table><thead><tr><th>class</th><th>probability</th>
      <th class="bar"></th><th>∂ ${this.output} / ∂ pixel</th></tr></thead><tbody></tbody></table></div></div>`;
    [this.image, this.map] = place.querySelectorAll("canvas");
    [this.imageCaption, this.mapCaption] = place.querySelectorAll("figcaption");
    this.buttons = place.querySelector(".classes");
    this.pixelPart = place.querySelector(".pixel");
    this.mapPart = this.map.closest("figure");
    this.image.setAttribute("aria-label", "the image; arrow keys move the pixel");
    this.map.setAttribute("aria-label", "the derivative map; arrow keys move the pixel");
    for (const canvas of [this.image, this.map]) {
      canvas.addEventListener("pointermove", (event) => this.point(event));
      canvas.addEventListener("pointerdown", (event) => this.point(event));
      canvas.addEventListener("keydown", (event) => this.step(event));
    }
  }

  show(sample) {
    this.sample = sample;
    [this.channels, this.height, this.width] = sample.shape;
    const hasMaps = Boolean(sample.maps);
    for (const part of [this.buttons, this.mapPart, this.pixelPart]) part.hidden = !hasMaps;
    this.shown = hasMaps ? Math.max(0, sample.classes.indexOf(sample.prediction)) : 0;
    this.pixel = hasMaps ? this.strongestPixel() : 0;
    this.draw();
  }

  derivative(k, pixel) {
    const { maps, steps, limits } = this.sample;
    return (maps[k * this.height * this.width + pixel] / steps) * limits[k];
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
    const s = this.sample;
    this.paint(this.image, (i) => this.rgb(i));
    this.imageCaption.textContent = s.caption;
    if (!s.maps) return;
    const limit = Math.max(...s.limits) || 1;
    this.paint(this.map, (i) => this.mapColor(this.derivative(this.shown, i) / limit));
    this.mapCaption.textContent = `∂ ${this.output} of ${this.names[s.classes[this.shown]]} / ∂ pixel, ` +
      `${this.colors.negative} −${limit.toPrecision(3)} to ${this.colors.positive} +${limit.toPrecision(3)}`;
    this.drawButtons();
    this.drawRow();
  }

  drawButtons() {
    this.buttons.replaceChildren(...this.sample.classes.map((k, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dir = "auto";
      button.textContent = this.names[k];
      button.title = k === this.sample.label ? `${this.names[k]}, the true class` : this.names[k];
      button.classList.toggle("true", k === this.sample.label);
      button.setAttribute("aria-pressed", i === this.shown);
      button.onclick = () => {
        this.shown = i;
        this.draw();
        this.buttons.children[i].focus();
      };
      return button;
    }));
  }

  paint(canvas, rgb) {
    const { width, height, pixel } = this, context = canvas.getContext("2d");
    Object.assign(canvas, { width, height });
    canvas.style.aspectRatio = width + " / " + height;
    const picture = context.createImageData(width, height);
    for (let i = 0; i < height * width; i++) picture.data.set([...rgb(i), 255], 4 * i);
    context.putImageData(picture, 0, 0);
    const mark = canvas.nextElementSibling;
    mark.hidden = !this.sample.maps;
    mark.style.cssText = `left:${(100 * (pixel % width)) / width}%;` +
      `top:${(100 * Math.floor(pixel / width)) / height}%;width:${100 / width}%;height:${100 / height}%`;
  }

  drawRow() {
    const { pixel, width, sample: s } = this;
    const brightness = this.rgb(pixel).reduce((sum, value) => sum + value, 0) / 3 / 255;
    this.pixelPart.querySelector("p").textContent = `Row ${Math.floor(pixel / width)}, column ${pixel % width} ` +
      `(pixel ${pixel}). Its brightness is ${brightness.toFixed(2)}.`;
    const values = s.classes.map((_, k) => this.derivative(k, pixel));
    const limit = Math.max(...values.map(Math.abs)) || 1;
    this.pixelPart.querySelector("tbody").replaceChildren(...s.classes.map((_, i) => this.rowOfClass(i, values[i], limit)));
  }

  rowOfClass(i, value, limit) {
    const row = document.createElement("tr"), s = this.sample;
    row.classList.toggle("on", i === this.shown);
    const digits = s.steps > 1000 ? 3 : 2;
    const number = (value < 0 ? "−" : "+") + Math.abs(value).toPrecision(digits);
    for (const text of [this.names[s.classes[i]], JacobianView.percent(s.probabilities[i]), "", number]) {
      row.appendChild(document.createElement("td")).textContent = text;
    }
    row.children[0].dir = "auto";
    row.children[2].className = "bar";
    const share = value / limit, bar = row.children[2].appendChild(document.createElement("i"));
    bar.style.left = (share < 0 ? 50 + 50 * share : 50) + "%";
    bar.style.width = 50 * Math.abs(share) + "%";
    bar.style.background = `rgb(${this.mapColor(share < 0 ? -0.8 : 0.8)})`;
    return row;
  }

  static percent(p) {
    if (p >= 0.9995) return ">99.9 %";
    return p < 0.0005 ? "<0.1 %" : (100 * p).toFixed(1) + " %";
  }

  point(event) {
    const box = event.target.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * this.width);
    const row = Math.floor(((event.clientY - box.top) / box.height) * this.height);
    if (column < 0 || row < 0 || column >= this.width || row >= this.height) return;
    this.choosePixel(row * this.width + column);
  }

  step(event) {
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.width, ArrowDown: this.width };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.choosePixel(this.pixel + moves[event.key]);
  }

  choosePixel(pixel) {
    this.pixel = Math.max(0, Math.min(this.height * this.width - 1, pixel));
    this.draw();
  }
}
