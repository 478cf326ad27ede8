// One sample: its image, the derivative map of one class in each network, and the row of J at one pixel.
//
// settings: {names, output, scale, colors, networks}: names of the classes; what is differentiated; the colours of the
// maps from their lower end to their upper one, [red, green, blue] each; the words {positive, negative} for the two
// signs; a {title} for each network.
// sample: {label, image, shape, caption, networks}: image are bytes, channel by channel; shape is [channels, height,
// width]; for each network {prediction, classes, probabilities, maps, limits, caption}, with the maps of its classes in
// their own unit, or null where none were kept. Without any, only the image is shown.

const COMPARED = 2; // networks whose rows of J stand side by side; of more, the one that was pointed at
const NO_MAP = () => [200, 200, 200]; // a grey that no scale has

class JacobianView {
  constructor(place, settings) {
    Object.assign(this, settings, { shared: true });
    this.at = this.networks.length > COMPARED ? this.networks.length - 1 : 0;
    place.classList.add("jacobian");
    place.innerHTML = `<div class="classes" role="group" aria-label="class whose map is shown"></div>
      <div class="panes"></div>`;
    this.buttons = place.querySelector(".classes");
    this.panes = place.querySelector(".panes");
    this.rowPart = element("div", { id: "row", innerHTML: `<p id="where"></p><table><thead></thead><tbody id="bars"></tbody></table>` });
    this.image = this.pane(this.several ? "image" : "", "the image");
    this.maps = this.networks.map(({ title }, n) => this.pane(title, title ? `the derivative map of ${title}` : "the derivative map", n));
    this.panes.classList.toggle("several", this.several);
    this.panes.style.setProperty("--columns", Math.min(this.networks.length + 1, 5));
    this.panes.append(this.rowPart);
    this.drawHeadings();
  }

  get several() {
    return this.networks.length > 1;
  }

  pane(title, label, n = null) {
    const canvas = element("canvas", { tabIndex: 0, "aria-label": `${label}; arrow keys move the pixel` });
    const point = (event) => this.choosePixel(pointedPixel(event, this.width, this.height), n);
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("pointerdown", point);
    canvas.addEventListener("focus", () => this.choosePixel(this.pixel, n));
    canvas.addEventListener("keydown", (event) => this.choosePixel(movedPixel(event, this.pixel, this.width, this.height), n));
    const box = element("div", { className: "pane" }, canvas, element("i", { className: "mark" }));
    const caption = element("figcaption"), top = title ? [element("b", { className: "title", dir: "auto", title, textContent: title })] : [];
    const figure = element("figure", {}, ...top, box, caption);
    this.panes.append(figure);
    return { canvas, caption, figure };
  }

  show(sample) {
    this.sample = sample;
    [this.channels, this.height, this.width] = sample.shape;
    this.kept = sample.networks.map((each, n) => (each ? n : -1)).filter((n) => n >= 0);
    for (const part of [this.buttons, this.rowPart, ...this.maps.map(({ figure }) => figure)]) part.hidden = !this.kept.length;
    if (!this.kept.includes(this.at)) this.at = this.kept.at(-1) ?? 0;
    this.classes = [...new Set(sample.networks.flatMap((each) => (each ? each.classes : [])))].sort((a, b) => a - b);
    if (this.kept.length) {
      this.shown = sample.networks[this.at].prediction;
      this.pixel = strongestPixel(this.mapOf(this.at, this.shown));
    } else this.pixel = 0;
    this.draw();
  }

  showClass(name) {
    const k = this.classes.find((each) => this.names[each] === name);
    if (k === undefined) return;
    this.shown = k;
    this.draw();
  }

  mapOf(n, k) {
    const network = this.sample.networks[n];
    return network ? network.maps[network.classes.indexOf(k)] ?? null : null;
  }

  probability(n, k) {
    const network = this.sample.networks[n], place = network ? network.classes.indexOf(k) : -1;
    return place < 0 ? "–" : percent(network.probabilities[place]);
  }

  // The colours of a network's maps: on a scale of their own, or on that of all networks.
  colorsOf(n) {
    const shared = this.shared ? this.kept : [n];
    return new ColorScale(this.scale, Math.max(...shared.flatMap((each) => this.sample.networks[each].limits)));
  }

  rgb(pixel) {
    const area = this.height * this.width;
    return [0, 1, 2].map((c) => this.sample.image[(this.channels === 3 ? c * area : 0) + pixel]);
  }

  draw() {
    this.paint(this.image, (i) => this.rgb(i), this.sample.caption);
    if (!this.kept.length) return;
    this.maps.forEach((pane, n) => this.drawMap(pane, n));
    this.drawButtons();
    this.drawRow();
  }

  drawMap(pane, n) {
    const map = this.mapOf(n, this.shown), network = this.sample.networks[n], name = this.names[this.shown];
    if (!map) {
      this.paint(pane, NO_MAP, network ? `class ${name} is not among the most probable here` : "not kept for this sample");
      return;
    }
    const colors = this.colorsOf(n), limit = shortNumber(colors.limit);
    const range = `${this.colors.negative} −${limit} to ${this.colors.positive} +${limit}`;
    const text = this.several ? `${network.caption}; ${range}` : `∂ ${this.output} of ${name} / ∂ pixel, ${range}`;
    this.paint(pane, (i) => colors.rgb(map[i]), text);
    pane.figure.classList.toggle("at", this.networks.length > COMPARED && n === this.at);
  }

  drawButtons() {
    this.buttons.replaceChildren(...this.classes.map((k, i) => {
      const isTrue = k === this.sample.label;
      return element("button", {
        type: "button", dir: "auto", textContent: this.names[k], className: isTrue ? "true" : "",
        title: isTrue ? `${this.names[k]}, the true class` : this.names[k], "aria-pressed": k === this.shown,
        onclick: () => {
          this.shown = k;
          this.draw();
          this.buttons.children[i].focus();
        },
      });
    }));
  }

  paint({ canvas, caption }, rgb, text) {
    const mark = canvas.nextElementSibling;
    paint(canvas, this.width, this.height, rgb);
    markPixel(mark, this.pixel, this.width, this.height);
    mark.hidden = !this.kept.length;
    caption.textContent = text;
  }

  // The networks whose derivatives stand in the row.
  get compared() {
    return this.networks.length > COMPARED ? [this.at] : this.networks.map((_, n) => n);
  }

  drawHeadings() {
    const marks = this.networks.map(({ suffix }) => suffix.slice(1)), two = this.compared.length > 1;
    const texts = two ? ["class", ...marks.map((mark) => `prob. ${mark}`), ...marks.flatMap((mark) => ["", `∂ ${this.output} / ∂ pixel, ${mark}`])]
      : ["class", "probability", "", `∂ ${this.output} / ∂ pixel`];
    const cells = texts.map((text) => element("th", { scope: "col", className: text ? "" : "bar", textContent: text }));
    this.rowPart.querySelector("thead").replaceChildren(element("tr", {}, ...cells));
  }

  drawRow() {
    const { pixel, width, compared } = this;
    const brightness = this.rgb(pixel).reduce((sum, value) => sum + value, 0) / 3 / 255;
    const of = this.networks.length > COMPARED ? ` The row is of ${this.networks[this.at].title}.` : "";
    byId("where").textContent = `Row ${Math.floor(pixel / width)}, column ${pixel % width} (pixel ${pixel}). ` +
      `Its brightness is ${brightness.toFixed(2)}.${of}`;
    fillBars(byId("bars"), this.classes.map((k) => ({
      texts: [this.names[k], ...compared.map((n) => this.probability(n, k))],
      values: compared.map((n) => this.mapOf(n, k)?.[pixel] ?? null), on: k === this.shown,
    })), new ColorScale(this.scale, 1));
  }

  choosePixel(pixel, n) {
    if (pixel === null || !this.sample || !this.kept.length) return;
    if (this.kept.includes(n)) this.at = n;
    this.pixel = pixel;
    this.draw();
  }
}
