// A table that sorts, filters and hides columns; of many rows the first ones are shown, until more are asked for.
//
// columns: [{key, title, kind, shown}]; kind is "number", "percent", "picture" or "text"; the text of a number is in
// the column key + "_text" where there is one. values: for each key a list with an entry for each row.
// link: the key of the column whose value opens a row, as "#sample=7"; as: the name of that key in the link.

const ROWS_AT_FIRST = 50;

class DataTable {
  constructor(place, { columns, values, noun, link, as, height }) {
    Object.assign(this, { place, columns, values, noun, link, as });
    this.count = values[link].length;
    this.filters = {};
    this.sorting = null;
    this.current = null;
    this.listeners = [];
    this.build(height);
    this.update();
    routes.push((target) => this.followLink(target));
  }

  build(height) {
    this.status = element("span", { role: "status" });
    this.clear = element("button", { type: "button", textContent: "show all", onclick: () => this.setFilters({}) });
    const choices = this.columns.map((column) => {
      const box = element("input", { type: "checkbox", checked: column.shown !== false });
      box.onchange = () => { column.shown = box.checked; this.update(); };
      return element("label", {}, box, " " + column.title);
    });
    const chooser = element("details", { className: "columns" }, element("summary", { textContent: "columns" }), ...choices);
    this.head = element("thead");
    this.body = element("tbody");
    this.more = element("button", { type: "button", onclick: () => { this.limit += 200; this.drawRows(); } });
    const box = element("div", { className: "scroll rows-box", tabIndex: 0, "aria-label": `table of ${this.noun}` },
      element("table", { className: "data" }, this.head, this.body), this.more);
    if (height) box.style.maxHeight = height;
    this.place.append(element("div", { className: "controls" }, this.status, this.clear, chooser), box);
    this.drawHead();
  }

  // A title, with the index of a norm as a subscript.
  title(column) {
    const [before, after] = column.title.split("‖J‖F");
    return after === undefined ? [before] : [before + "‖J‖", element("sub", { textContent: "F" }), after];
  }

  drawHead() {
    this.inputs = {};
    const titles = element("tr"), filters = element("tr", { className: "filters" });
    for (const column of this.columns) {
      const button = element("button", { type: "button", onclick: () => this.sortBy(column.key) }, ...this.title(column));
      const isPicture = column.kind === "picture";
      titles.append(element("th", { scope: "col", "data-key": column.key, className: column.kind }, isPicture ? column.title : button));
      const input = element("input", {
        type: "search", placeholder: this.isNumber(column) ? ">1, 1..2" : "any", "aria-label": `filter by ${column.title}`,
      });
      input.oninput = () => this.setFilters({ ...this.filters, [column.key]: input.value });
      const suggestions = this.suggestions(column);
      if (suggestions) input.setAttribute("list", suggestions.id);
      filters.append(element("td", { "data-key": column.key }, ...(isPicture ? [] : [input, ...(suggestions ? [suggestions] : [])])));
      this.inputs[column.key] = input;
    }
    this.head.replaceChildren(titles, filters);
  }

  suggestions(column) {
    if (column.kind === "picture" || this.isNumber(column)) return null;
    const options = [...new Set(this.values[column.key])].slice(0, 1000).map((value) => element("option", { value }));
    return element("datalist", { id: `values-of-${column.key}` }, ...options);
  }

  isNumber(column) {
    return column.kind === "number" || column.kind === "percent";
  }

  // Filters: a number is compared (">3", "<=0.5", "1..2", "7"); a text is one of the values, or part of one.

  test(column, filter) {
    const text = filter.trim(), values = this.values[column.key];
    if (!this.isNumber(column)) {
      const wanted = text.toLowerCase();
      if (values.some((value) => value === text)) return (i) => values[i] === text;
      return (i) => String(values[i]).toLowerCase().includes(wanted);
    }
    const scale = column.kind === "percent" ? 100 : 1;
    const of = (i) => (values[i] === null ? Infinity : values[i] * scale);
    const range = text.match(/^(\S+?)\s*\.\.\s*(\S+)$/);
    if (range) return (i) => of(i) >= Number(range[1]) && of(i) <= Number(range[2]);
    const [, sign, number] = text.match(/^([<>]?=?)\s*(.*)$/), limit = Number(number.replace("%", ""));
    const tests = { ">": (v) => v > limit, "<": (v) => v < limit, ">=": (v) => v >= limit, "<=": (v) => v <= limit };
    const passes = tests[sign] || ((v) => v === limit);
    return Number.isNaN(limit) || number === "" ? () => true : (i) => passes(of(i));
  }

  setFilters(filters) {
    this.filters = Object.fromEntries(Object.entries(filters).filter(([, text]) => text.trim() !== ""));
    for (const [key, input] of Object.entries(this.inputs)) {
      if (document.activeElement !== input) input.value = this.filters[key] || "";
    }
    this.update();
  }

  followLink(target) {
    const keys = Object.keys(target).filter((key) => this.columns.some((column) => column.key === key));
    if (!keys.length || this.as in target) return;
    this.setFilters(Object.fromEntries(keys.map((key) => [key, target[key]])));
    this.place.scrollIntoView({ block: "start" });
  }

  sortBy(key, descending) {
    const same = this.sorting && this.sorting.key === key;
    const firstDescending = this.isNumber(this.columns.find((column) => column.key === key));
    this.sorting = { key, descending: descending ?? (same ? !this.sorting.descending : firstDescending) };
    this.update();
  }

  update() {
    const tests = this.columns.filter((column) => this.filters[column.key])
      .map((column) => this.test(column, this.filters[column.key]));
    this.rows = [];
    for (let i = 0; i < this.count; i++) if (tests.every((test) => test(i))) this.rows.push(i);
    if (this.sorting) this.sort();
    this.limit = ROWS_AT_FIRST;
    this.status.textContent = this.rows.length === this.count
      ? `${this.count.toLocaleString("en")} ${this.noun}`
      : `${this.rows.length.toLocaleString("en")} of ${this.count.toLocaleString("en")} ${this.noun}`;
    this.clear.hidden = !Object.keys(this.filters).length;
    this.drawRows();
    this.listeners.forEach((listener) => listener());
  }

  sort() {
    const { key, descending } = this.sorting, values = this.values[key], sign = descending ? -1 : 1;
    const compare = (a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));
    const isEmpty = (value) => value === null || value === "";
    this.rows.sort((i, j) => {
      const [a, b] = [values[i], values[j]];
      if (isEmpty(a) || isEmpty(b)) return isEmpty(a) - isEmpty(b) || i - j; // at the end either way
      return sign * compare(a, b) || i - j;
    });
  }

  drawRows() {
    const shown = this.columns.filter((column) => column.shown !== false);
    this.drawnRows = new Map(this.rows.slice(0, this.limit).map((i) => [i, this.row(i, shown)]));
    this.body.replaceChildren(...this.drawnRows.values());
    for (const cell of this.head.querySelectorAll("[data-key]")) {
      const column = this.columns.find(({ key }) => key === cell.dataset.key);
      cell.hidden = column.shown === false;
      if (cell.tagName !== "TH") continue;
      const isSorted = this.sorting && this.sorting.key === column.key;
      cell.setAttribute("aria-sort", isSorted ? (this.sorting.descending ? "descending" : "ascending") : "none");
    }
    this.more.hidden = this.rows.length <= this.limit;
    this.more.textContent = `show more of ${this.rows.length.toLocaleString("en")}`;
  }

  row(i, shown) {
    const cells = shown.map((column) => this.cell(i, column));
    const row = element("tr", { "aria-current": String(i === this.current) }, ...cells);
    row.onclick = () => goTo({ [this.as]: this.values[this.link][i] });
    return row;
  }

  cell(i, column) {
    const cell = element("td", { className: column.kind });
    if (column.kind === "picture") cell.append(this.picture ? this.picture(i) : "");
    else if (column.key === this.link) {
      const link = "#" + new URLSearchParams({ [this.as]: this.values[this.link][i] });
      cell.append(element("a", { href: link, textContent: this.text(i, column) }));
    } else {
      cell.textContent = cell.title = this.text(i, column);
      cell.dir = "auto";
    }
    return cell;
  }

  text(i, column) {
    const texts = this.values[column.key + "_text"], value = this.values[column.key][i];
    if (texts) return texts[i];
    if (value === null) return column.empty || "";
    if (column.kind === "percent") return value > 0 && value < 0.0005 ? "<0.1 %" : `${(100 * value).toFixed(1)} %`;
    if (column.kind !== "number" || Number.isInteger(value)) return String(value);
    return shortNumber(value);
  }

  // Marks the row that is open.
  mark(i) {
    this.current = i;
    for (const [other, row] of this.drawnRows) row.setAttribute("aria-current", String(other === i));
  }
}
