// Draw what is chosen: pictures, maps, the row of J at the pixel, and charts. Nothing is fetched or decided here.

import { Chart, Predictions, short } from "./charts.js";
import { ColorScale, fillBars, markPixel, paint, percent, signed } from "./jacobian.js";
import { classButton, pane } from "./markup.js";

const UNITS = { logits: "logit", probs: "probability" };
// When the colours of probabilities are logarithmic, as Scale.of_derivatives in visuals/heatmaps.py has it.
const EVEN = 0.05, SMALLEST = 1e-8;
const KINDS = ["first", "second"];
// The colour where a class has no map at a step: a grey that no scale has.
const NO_MAP = () => [200, 200, 200];

// A probability as text; a dash where the class is not among those that are kept.
const chance = (p) => (p === null ? "–" : Number.isNaN(p) ? "not finite" : percent(p));

export class View {
  // act: called with what changes in the state.
  constructor(colors, act) {
    Object.assign(this, { colors, act, byId: (id) => document.getElementById(id) });
    this.panes = Object.fromEntries([["image", "the image"], ["first", "the map"], ["second", "the map of the other run"],
      ["difference", "the difference of the two maps"]].map(([id, label]) => [id, pane("pane-" + id, label)]));
    this.byId("panes").append(...Object.values(this.panes));
    this.charts = new Map();
    this.predictions = new Predictions((step) => act({ step }));
    this.drawn = null; // the courses whose lines the charts show
  }

  // scene: {state, courses, places, names}: one course, place of the step and name of a run for each of the runs.
  draw(scene) {
    Object.assign(this, scene);
    this.unit = UNITS[this.state.output] ?? this.state.output;
    this.scales = this.courses.map((course, i) => this.scaleOf(i));
    this.drawPanes();
    this.drawRow();
    this.drawClasses();
    this.drawCharts();
  }

  // The scale of a run's maps: its own, or that of both.
  scaleOf(i) {
    const { range, spacing, shared, output } = this.state;
    const sources = this.courses.map((course, j) => [course, this.places[j]]).filter((_, j) => shared || j === i);
    const limits = sources.map(([course, t]) => course.limitsOf(range === "all" ? null : t));
    const largest = Math.max(...limits.map((each) => each.largest)) || 1;
    const weakest = Math.max(Math.min(...limits.map((each) => each.weakest)), SMALLEST * largest);
    const isLog = spacing === "log" || (spacing === "auto" && output === "probs" && weakest < EVEN * largest);
    if (isLog) return this.scale(largest, Math.min(weakest, EVEN * largest) / 10);
    return this.scale(Math.max(...limits.map((each) => each.quantile)));
  }

  scale(limit, bend = null) {
    return new ColorScale(this.colors.diverging, limit, bend, this.colors.not_finite);
  }

  drawPanes() {
    const [course, other] = this.courses, k = this.state.class, name = course.names[k];
    this.panes.second.hidden = this.panes.difference.hidden = !other;
    this.byId("stage").classList.toggle("two", Boolean(other));
    const label = course.label >= 0 ? `class ${course.names[course.label]}` : "class unknown";
    this.drawPane("image", `Sample ${course.index}`, course, (i) => course.rgb(i), label);
    this.courses.forEach((each, i) => {
      const map = each.map(this.places[i], k), scale = this.scales[i];
      const title = other ? this.names[i] : `Map of class ${name}`;
      this.drawPane(KINDS[i], title, each, map ? (p) => scale.rgb(map[p]) : NO_MAP,
        map ? `∂ ${this.unit} ${name} / ∂ pixel` : `class ${name} is not among the most probable at this step`);
    });
    if (other) this.drawDifference(course, other, k);
  }

  drawDifference(course, other, k) {
    const maps = this.courses.map((each, i) => each.map(this.places[i], k));
    if (!maps[0] || !maps[1] || course.area !== other.area || course.width !== other.width) {
      this.drawPane("difference", "Difference", course, NO_MAP, "the two maps cannot be compared");
      return;
    }
    const values = maps[1].map((value, i) => value - maps[0][i]);
    const own = values.reduce((most, value) => Math.max(most, Math.abs(value) || 0), 0);
    const scale = this.state.shared ? this.scales[0] : this.scale(own);
    const caption = `second − first, at most ${short(own)}`;
    this.drawPane("difference", "Difference", course, (i) => scale.rgb(values[i]), caption);
  }

  drawPane(id, title, course, rgb, caption) {
    const figure = this.panes[id], [top, box, bottom] = figure.children;
    top.textContent = title;
    bottom.textContent = caption;
    paint(box.firstChild, course.width, course.height, rgb);
    markPixel(box.lastChild, this.state.pixel, course.width, course.height);
    box.firstChild.setAttribute("aria-label", `${title}: ${caption}. Arrow keys move the pixel`);
  }

  // Those that are kept at this step, of either run.
  classes() {
    return [...new Set(this.courses.flatMap((each, i) => each.classes[this.places[i]]))].sort((a, b) => a - b);
  }

  drawRow() {
    const [course] = this.courses, { pixel } = this.state;
    const classes = this.classes();
    this.byId("where").textContent = `Row ${Math.floor(pixel / course.width)}, column ${pixel % course.width}, ` +
      `brightness ${course.brightness(pixel).toFixed(2)}`;
    const headings = this.courses[1]
      ? ["class", ...this.courses.flatMap((_, i) => ["", i ? "second" : "first"])]
      : ["class", "prob.", "", `∂ ${this.unit} / ∂ pixel`];
    if (this.byId("headings").cells.length !== headings.length || this.headingUnit !== this.unit) {
      this.byId("headings").replaceChildren(...headings.map((text) => {
        const cell = document.createElement("th");
        cell.scope = "col";
        cell.textContent = text;
        if (KINDS.includes(text)) cell.className = text;
        return cell;
      }));
      this.headingUnit = this.unit;
    }
    fillBars(this.byId("bars"), classes.map((k) => ({
      texts: this.courses[1] ? [course.names[k]] : [course.names[k], chance(course.probability(this.places[0], k))],
      values: this.courses.map((each, i) => each.derivative(this.places[i], k, pixel)),
      on: k === this.state.class,
    })), this.scale(1));
  }

  drawClasses() {
    const place = this.byId("classes"), [course] = this.courses;
    const classes = this.classes();
    while (place.children.length > classes.length) place.lastChild.remove();
    while (place.children.length < classes.length) {
      const button = place.appendChild(classButton());
      button.onclick = () => this.act({ class: Number(button.dataset.class) });
    }
    classes.forEach((k, j) => {
      const button = place.children[j], [minis, caption] = button.children;
      button.dataset.class = k;
      button.setAttribute("aria-pressed", k === this.state.class);
      button.classList.toggle("own", k === course.label);
      while (minis.children.length > this.courses.length) minis.lastChild.remove();
      while (minis.children.length < this.courses.length) minis.appendChild(document.createElement("canvas"));
      this.courses.forEach((each, i) => {
        const map = each.map(this.places[i], k), scale = this.scales[i];
        paint(minis.children[i], each.width, each.height, map ? (p) => scale.rgb(map[p]) : NO_MAP);
      });
      const chances = this.courses.map((each, i) => chance(each.probability(this.places[i], k)));
      caption.firstChild.textContent = course.names[k];
      caption.lastChild.textContent = chances.join(" | ");
      button.setAttribute("aria-label", `class ${course.names[k]}, probability ${chances.join(" and ")}` +
        (k === course.label ? ", the sample's own class" : ""));
    });
    this.drawScale();
  }

  drawScale() {
    const scale = this.scales[0], ramp = this.byId("ramp"), width = ramp.width;
    const isOwn = this.courses[1] && !this.state.shared;
    paint(ramp, width, 1, (i) => scale.rgb(scale.value((2 * i) / (width - 1) - 1)));
    ramp.style.aspectRatio = "";
    this.byId("low").textContent = `${this.colors.words.negative} −${short(scale.limit)}`;
    this.byId("high").textContent = `+${short(scale.limit)} ${this.colors.words.positive}${isOwn ? " (first run)" : ""}`;
    this.byId("ticks").textContent = scale.bend ? `−${short(scale.value(0.5))}  0  +${short(scale.value(0.5))}` : "0";
    this.byId("shared-label").hidden = !this.courses[1];
  }

  // Lines are drawn when the courses, the class or the pixel change; else the cursors move.
  drawCharts() {
    const [course] = this.courses, { pixel, class: k } = this.state;
    const shown = this.courses.map((each) => [each.run, each.tag, each.output, each.steps.length]);
    const key = JSON.stringify([pixel, k, shown]);
    const isNew = key !== this.drawn;
    this.drawn = key;
    const wanted = this.quantities();
    const place = this.byId("charts");
    if (this.charts.size !== wanted.length) {
      this.charts = new Map(wanted.map((_, i) => [i, new Chart("", (step) => this.act({ step }))]));
      const figures = [...this.charts.values()].map((chart) => chart.root);
      this.byId("pixel-chart").replaceChildren(figures[0]);
      place.replaceChildren(this.predictions.root, ...figures.slice(1));
    }
    wanted.forEach((want, i) => {
      const chart = this.charts.get(i);
      if (isNew) {
        chart.setTitle(want.title);
        chart.draw(this.lines(want), want);
      }
      chart.move(this.courses.map((each, j) => ({
        step: each.steps[this.places[j]], text: want.text(want.of(each, this.places[j])), kind: KINDS[j],
      })));
    });
    if (isNew) this.predictions.draw(this.courses, KINDS);
    const texts = this.courses.map((each, j) => each.predictedName(this.places[j]));
    this.predictions.move(this.places, texts, KINDS);
  }

  // What the charts show: `of` a course at the place of a step; with `other`, faint lines of the other classes too.
  quantities() {
    const [course] = this.courses, { pixel, class: k } = this.state, name = course.names[k];
    const value = (each, wanted, t) => each.values.find((v) => v.name === wanted)?.numbers[t] ?? null;
    return [
      {
        title: `This pixel: ∂ ${this.unit} ${name}`, zero: true, text: (v) => (v === null ? "–" : signed(v)),
        of: (each, t) => each.derivative(t, k, pixel), other: (each, t, j) => each.derivative(t, j, pixel),
      },
      {
        title: `Probability of ${name}`, from: 0, to: 1, text: chance,
        of: (each, t) => each.probability(t, k), other: (each, t, j) => each.probability(t, j),
      },
      ...course.values.map((v) => ({
        title: v.label.charAt(0).toUpperCase() + v.label.slice(1), log: v.log, zero: !v.log, text: short,
        of: (each, t) => value(each, v.name, t),
      })),
    ];
  }

  lines(want) {
    const own = this.courses.map((each, i) => ({
      steps: each.steps, numbers: each.steps.map((_, t) => want.of(each, t)), kind: KINDS[i],
    })).reverse();
    if (!want.other || this.courses[1]) return own;
    const [course] = this.courses, others = [...new Set(course.classes.flat())].filter((j) => j !== this.state.class);
    const faint = others.map((j) => ({
      steps: course.steps, numbers: course.steps.map((_, t) => want.other(course, t, j)), kind: "faint",
    }));
    return [...faint, ...own];
  }
}
