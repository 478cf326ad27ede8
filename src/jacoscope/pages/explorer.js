// The explorer of a page: any sample of the table, chosen by its number, by a link or a row, or with the arrows.
// data.explorer: {samples, networks, shape, names, output, scale, colors, measures, beside}; samples are those whose
// maps are in the page; those in the file "beside" come later, through addSamples. Each network has a {title}, the
// {command} that analyses a sample, without its number, and the {suffix} of the keys of its columns in the table.

class Explorer {
  constructor(settings, table) {
    Object.assign(this, settings, { table });
    this.entries = new Map(this.samples.map((sample) => [sample.index, sample]));
    this.place = new Map((table ? table.values.index : this.samples.map((s) => s.index)).map((index, i) => [index, i]));
    this.view = new JacobianView(byId("jacobian"), settings);
    this.number = byId("sample");
    if (this.number) this.connect();
    const scale = byId("explorer-scale");
    if (scale) scale.onchange = () => { this.view.shared = scale.value === "shared"; this.view.draw(); };
    routes.push((target) => "sample" in target && this.open(Number(target.sample), true));
    routes.push((target) => "class" in target && this.view.showClass(target.class));
    this.open(this.samples[0].index);
  }

  connect() {
    this.number.onchange = () => goTo({ sample: this.number.value });
    byId("previous").onclick = () => this.move(-1);
    byId("next").onclick = () => this.move(1);
    this.table.picture = (i) => this.thumbnail(this.table.values.index[i]);
  }

  // To the sample before or after this one in the table, as it is sorted and filtered now.
  move(by) {
    const { rows, values } = this.table, at = rows.indexOf(this.place.get(this.index));
    if (rows.length) goTo({ sample: values.index[rows[(Math.max(at, by < 0 ? 0 : -1) + by + rows.length) % rows.length]] });
  }

  open(index, isLink = false) {
    const i = this.place.get(index);
    this.say(i === undefined ? `There is no sample ${index} here: those of this page are in the table below.` : "");
    if (i === undefined) return;
    this.index = index;
    if (this.number) this.number.value = index;
    const entry = this.entries.get(index);
    this.view.show(entry ? this.decoded(entry) : this.withoutMaps(index, i));
    const isMissing = !entry || entry.networks.includes(null);
    if (this.number) this.showCommands(isMissing);
    if (this.table) this.table.mark(i);
    if (isLink) byId("explore").scrollIntoView({ block: "start" });
  }

  showCommands(isMissing) {
    const place = byId("explorer-commands");
    place.lastElementChild.replaceChildren(...this.networks.map(({ command: start }) => command(start + this.index)));
    place.open = isMissing;
    if (isMissing) this.say(`Not all derivatives of this sample are kept here. ${this.networks.length > 1 ? "These commands compute" : "This command computes"} them.`);
  }

  decoded(entry) {
    const networks = entry.networks.map((each, n) =>
      each && { ...each, maps: this.decodedMaps(each), caption: this.decision(n, each.prediction, each.measures) });
    const caption = this.networks.length > 1 ? this.trueClass(entry.label)
      : [this.trueClass(entry.label), networks[0].caption].filter(Boolean).join(", ");
    return { ...entry, networks, caption, shape: this.shape, image: this.bytes(entry.image) };
  }

  decodedMaps({ maps, limits, steps }) {
    const Integers = steps > 127 ? Int16Array : Int8Array, [, height, width] = this.shape, area = height * width;
    const all = new Integers(this.bytes(maps).buffer);
    return limits.map((limit, k) =>
      Float64Array.from(all.subarray(k * area, (k + 1) * area), (step) => (step / steps) * limit));
  }

  bytes(text) {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  }

  trueClass(label) {
    return label === null ? "" : `class ${this.names[label]}`;
  }

  decision(n, prediction, measures) {
    const numbers = this.measures.filter(({ key }) => key in measures).map(({ key, title }) =>
      `${title} ${measures[key] === null ? "∞" : shortNumber(measures[key])}`);
    return [`predicted ${this.names[prediction]}`, ...numbers].join(", ");
  }

  // A sample of which this page has no maps: its picture, and its numbers as far as the table has them.
  withoutMaps(index, i) {
    const { values } = this.table, label = this.names.indexOf(values.label[i]);
    const decisions = this.networks.map(({ title, suffix }, n) => {
      const known = this.measures.filter(({ key }) => values[key + suffix]);
      const measures = Object.fromEntries(known.map(({ key }) => [key, values[key + suffix][i]]));
      const text = this.decision(n, this.names.indexOf(values["prediction" + suffix][i]), measures);
      return title ? `${title}: ${text}` : text;
    });
    const { image, shape } = this.thumbnailPixels(index);
    const several = this.networks.length > 1;
    const caption = [this.trueClass(label), ...decisions].join(several ? "; " : ", ");
    return { label, image, shape, caption, networks: this.networks.map(() => null) };
  }

  say(text) {
    byId("explorer-note").textContent = text;
  }

  // Pictures of all samples, in one large picture of the file beside the page

  addSamples({ samples, pictures }) {
    for (const sample of samples) if (!this.entries.has(sample.index)) this.entries.set(sample.index, sample);
    this.pictures = { ...pictures, place: new Map(pictures.index.map((index, i) => [index, i])) };
    this.sheet = element("img", { src: pictures.uri });
    document.head.append(element("style", { textContent: `.thumbnail { background-image: url(${pictures.uri}) }` }));
    this.sheet.decode().then(() => {
      this.table.drawRows();
      if (!this.entries.has(this.index)) this.open(this.index);
    });
    if (this.entries.has(this.index)) this.open(this.index);
  }

  corner(index) {
    const { place, size, columns } = this.pictures, i = place.get(index);
    return [(i % columns) * size[1], Math.floor(i / columns) * size[0]];
  }

  thumbnail(index) {
    if (!this.pictures || !this.pictures.place.has(index)) return "";
    const [x, y] = this.corner(index), [height, width] = this.pictures.size, zoom = 36 / Math.max(height, width);
    const made = element("i", { className: "thumbnail" });
    made.style.cssText = `width:${width * zoom}px;height:${height * zoom}px;` +
      `background-position:-${x * zoom}px -${y * zoom}px;background-size:${this.pictures.columns * width * zoom}px auto`;
    return made;
  }

  thumbnailPixels(index) {
    const has = this.pictures && this.sheet.complete && this.pictures.place.has(index);
    const [height, width] = has ? this.pictures.size : [1, 1];
    if (!has) return { image: new Uint8Array(1), shape: [1, 1, 1] };
    const [x, y] = this.corner(index);
    const context = element("canvas", { width, height }).getContext("2d");
    context.drawImage(this.sheet, x, y, width, height, 0, 0, width, height);
    const rgba = context.getImageData(0, 0, width, height).data, area = height * width;
    const image = new Uint8Array(3 * area);
    for (let i = 0; i < area; i++) for (let c = 0; c < 3; c++) image[c * area + i] = rgba[4 * i + c];
    return { image, shape: [3, height, width] };
  }
}

// The file beside the page calls this; without that file the page says what is missing.
let explorer = null;
const addSamples = (content) => explorer.addSamples(content);

function loadBeside(name) {
  const missing = () => (byId("beside").textContent = `${name} is not beside this page: most pictures and derivatives are missing.`);
  document.head.append(element("script", { src: encodeURIComponent(name), onerror: missing }));
}

function startExplorer() {
  const table = new DataTable(byId("samples"), data.samples);
  explorer = new Explorer(data.explorer, table);
  if (data.explorer.beside) addEventListener("load", () => loadBeside(data.explorer.beside));
}
