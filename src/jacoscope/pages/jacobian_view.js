// One sample: its image, the derivative map of one class, and the row of J at one pixel, by the functions of jacobian.js.
//
// settings: {names, output, scale, colors}: names of the classes; what is differentiated; the colours of the map from
// its lower end to its upper one, [red, green, blue] each; the words {positive, negative} for the two signs.
// sample: {label, prediction, image, shape, classes, probabilities, maps, limits, caption}: image are bytes, channel by
// channel; shape is [channels, height, width]; maps are those of the classes, in their own unit. Without maps, only the
// image is shown.

class JacobianView {
  constructor(place, settings) {
    Object.assign(this, settings);
    place.classList.add("jacobian");
    place.innerHTML = `<div class="classes" role="group" aria-label="class whose map is shown"></div>
      <div class="panes">
      <figure><div class="pane"><canvas tabindex="0"></canvas><i class="mark"></i></div><figcaption></figcaption></figure>
      <figure><div class="pane"><canvas tabindex="0"></canvas><i class="mark"></i></div><figcaption></figcaption></figure>
      <div id="row"><p id="where"></p><table><thead><tr><th>class</th><th>probability</th><th class="bar"></th>
      <th>∂ ${this.output} / ∂ pixel</th></tr></thead><tbody id="bars"></tbody></table></div></div>`;
    [this.image, this.map] = place.querySelectorAll("canvas");
    [this.imageCaption, this.mapCaption] = place.querySelectorAll("figcaption");
    this.buttons = place.querySelector(".classes");
    this.rowPart = byId("row");
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
    for (const part of [this.buttons, this.mapPart, this.rowPart]) part.hidden = !hasMaps;
    this.shown = hasMaps ? Math.max(0, sample.classes.indexOf(sample.prediction)) : 0;
    this.pixel = hasMaps ? strongestPixel(sample.maps[this.shown]) : 0;
    this.draw();
  }

  showClass(name) {
    const place = this.sample.classes.findIndex((k) => this.names[k] === name);
    if (place < 0) return;
    this.shown = place;
    this.draw();
  }

  rgb(pixel) {
    const area = this.height * this.width;
    return [0, 1, 2].map((c) => this.sample.image[(this.channels === 3 ? c * area : 0) + pixel]);
  }

  draw() {
    const s = this.sample;
    this.paint(this.image, (i) => this.rgb(i));
    this.imageCaption.textContent = s.caption;
    if (!s.maps) return;
    const colors = new ColorScale(this.scale, Math.max(...s.limits)), map = s.maps[this.shown];
    this.paint(this.map, (i) => colors.rgb(map[i]));
    this.mapCaption.textContent = `∂ ${this.output} of ${this.names[s.classes[this.shown]]} / ∂ pixel, ` +
      `${this.colors.negative} −${colors.limit.toPrecision(3)} to ${this.colors.positive} +${colors.limit.toPrecision(3)}`;
    this.drawButtons();
    this.drawRow(colors);
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
    const mark = canvas.nextElementSibling;
    paint(canvas, this.width, this.height, rgb);
    markPixel(mark, this.pixel, this.width, this.height);
    mark.hidden = !this.sample.maps;
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

  point(event) {
    this.choosePixel(pointedPixel(event, this.width, this.height));
  }

  step(event) {
    this.choosePixel(movedPixel(event, this.pixel, this.width, this.height));
  }

  choosePixel(pixel) {
    if (pixel === null || !this.sample.maps) return;
    this.pixel = pixel;
    this.draw();
  }
}
