// The runs of a sweep: their table, the colours of their points and curves, and what is known about one of them.
// data.runs are the settings of the table; data.about has for each run {folder, reports, command, picture, failure};
// data.kinds are the colours of a setting of few values.

const KINDS = data.kinds, FEW_VALUES = KINDS.length;

class Runs {
  constructor(table) {
    Object.assign(this, { table, values: table.values });
    this.place = new Map(this.values.run.map((name, i) => [name, i]));
    this.select = byId("color-by");
    for (const { key, title } of table.columns) {
      if (key !== "run" && this.distinct(key).length > 1) this.select.append(new Option(title.replace("‖J‖F", "‖J‖"), key));
    }
    this.select.onchange = () => this.recolor();
    table.listeners.push(() => this.recolor());
    root.addEventListener("theme", () => this.color());
    decorations.push((traces) => traces.map((trace) => this.decorated(trace)));
    routes.push((target) => "run" in target && this.open(target.run));
    this.recolor();
  }

  distinct(key) {
    return [...new Set(this.values[key].filter((value) => value !== null && value !== ""))];
  }

  // Colours

  recolor() {
    this.color();
    drawn.forEach(drawChart);
  }

  color() {
    const key = this.select.value;
    this.colorOf = key ? this.colors(key) : () => themed(data.theme.light.right, "color");
    this.listed = new Set(this.table.rows);
    byId("legend").replaceChildren(...(key ? this.legend(key) : []));
  }

  // A function of a run's number: a colour for each of few texts, between two colours for numbers.
  colors(key) {
    const values = this.values[key], distinct = this.distinct(key), none = themed(data.theme.light.soft, "color");
    if (distinct.every((value) => typeof value === "number")) {
      const place = this.places(distinct);
      return (i) => (values[i] === null ? none : this.between(place(values[i])));
    }
    const number = new Map(distinct.map((value, i) => [value, i]));
    return (i) => (number.has(values[i]) ? KINDS[number.get(values[i]) % KINDS.length] : none);
  }

  // From the smallest number, 0, to the largest, 1; logarithmic where they span a factor of ten.
  places(distinct) {
    const low = Math.min(...distinct), high = Math.max(...distinct);
    const scale = low > 0 && high >= 10 * low ? Math.log : (value) => value;
    return (value) => (high > low ? (scale(value) - scale(low)) / (scale(high) - scale(low)) : 0.5);
  }

  between(share) {
    const ends = ["right", "wrong"].map((name) => data.theme[root.dataset.theme][name]);
    const [from, to] = ends.map((color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16)));
    return `rgb(${from.map((value, c) => Math.round(value + (to[c] - value) * share))})`;
  }

  legend(key) {
    const values = this.values[key], distinct = this.distinct(key), column = this.table.columns.find((c) => c.key === key);
    const isNumber = distinct.every((value) => typeof value === "number");
    if (isNumber) distinct.sort((a, b) => a - b);
    const shown = isNumber && distinct.length > FEW_VALUES ? [distinct[0], distinct.at(-1)] : distinct.slice(0, 3 * FEW_VALUES);
    return shown.map((value, at) => {
      const i = values.indexOf(value), dot = element("i", { className: "dot" });
      dot.style.background = this.colorOf(i);
      const text = this.table.text(i, column);
      return element("span", {}, dot, shown.length < distinct.length && isNumber ? `${at ? "to " : "from "}${text}` : text);
    });
  }

  // A copy of a trace of runs: in the colours of the chosen setting, pale where a run is not listed in the table.
  decorated(trace) {
    if (!trace.meta || trace.meta.click !== "run") return trace;
    const opacity = (i) => (this.listed.has(i) ? 1 : 0.12);
    if (trace.meta.value !== undefined) {
      const i = this.place.get(trace.meta.value);
      return { ...trace, opacity: opacity(i) * 0.85, line: { ...trace.line, color: this.colorOf(i) } };
    }
    const places = trace.customdata.map((name) => this.place.get(name));
    const marker = { ...trace.marker, color: places.map(this.colorOf), opacity: places.map(opacity) };
    return { ...trace, marker };
  }

  // One run

  open(name) {
    const i = this.place.get(name);
    if (i === undefined) return;
    this.table.mark(i);
    const about = data.about[i], part = byId("run");
    const facts = this.table.columns.filter((column) => column.key !== "run" && this.table.text(i, column)).flatMap((column) => [
      element("dt", {}, ...this.table.title(column)),
      element("dd", { dir: "auto", textContent: this.table.text(i, column) }),
    ]);
    const folder = element("a", { href: about.folder, textContent: "its folder" });
    const reports = about.reports.map(({ href, title }) => element("a", { href, textContent: `report: ${title}` }));
    const links = element("p", { className: "links" }, ...reports, folder);
    const advice = about.reports.length ? [] : [
      element("p", { textContent: "It has no report yet. This command makes one:" }), command(about.command),
    ];
    part.replaceChildren(
      element("h3", { tabIndex: -1, textContent: `Run ${name}` }),
      ...(about.failure ? [element("p", { className: "failed", textContent: about.failure })] : []),
      element("dl", {}, ...facts), links, ...advice, this.picture(about, name),
    );
    part.hidden = false;
    part.scrollIntoView({ block: "nearest" });
    part.firstChild.focus({ preventScroll: true });
  }

  picture({ picture }, name) {
    if (!picture) {
      return element("p", { className: "note", textContent: "No picture of this run is in this page; TensorBoard shows them." });
    }
    return element("figure", {}, element("img", { src: picture, alt: `derivatives of run ${name}` }),
      element("figcaption", { textContent: "Its last picture in TensorBoard: a row for each sample, a map for each class." }));
  }
}
