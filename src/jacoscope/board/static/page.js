// What is chosen, and how it changes: by the controls, the address, and new data.

import { Courses, fetchColors, fetchRuns, matrixAddress } from "./data.js";
import { followAddress, followTheme, link, listen, readAddress, writeAddress } from "./host.js";
import { movedPixel, pointedPixel, strongestPixel } from "./jacobian.js";
import { PAGE } from "./markup.js";
import { savePicture } from "./picture.js";
import { View } from "./view.js";

const POLL = 5000; // milliseconds between two looks for new steps
const TOUR = 6000; // milliseconds that all steps take, at most
// What the address may say: a name, a number, or one of a few words; the first is what holds if nothing is said.
const NAMES = ["run", "other", "tag", "output"], NUMBERS = ["class", "step", "pixel"];
const WORDS = { range: ["all", "step"], spacing: ["auto", "linear", "log"], shared: ["true", "false"] };

export class Page {
  constructor(body) {
    body.innerHTML = PAGE;
    this.byId = (id) => document.getElementById(id);
    this.courses = new Courses();
    this.runs = [];
    this.shown = []; // one course, or two
    this.readState();
  }

  async start() {
    this.colors = await fetchColors();
    this.view = new View(this.colors, (change) => this.change(change));
    followTheme(() => this.schedule());
    this.connect();
    await this.refresh();
    listen(() => this.refresh());
    followAddress(() => { this.readState(); if (this.runs.length) this.load(); });
    setInterval(() => { if (innerWidth && !document.hidden) this.refresh(); }, POLL);
  }

  readState() {
    const read = readAddress(), state = { output: "logits" };
    for (const name of NAMES) if (read[name]) state[name] = read[name];
    for (const name of NUMBERS) if (/^\d+$/.test(read[name])) state[name] = Number(read[name]);
    for (const [name, words] of Object.entries(WORDS)) state[name] = words.includes(read[name]) ? read[name] : words[0];
    this.state = { ...state, shared: state.shared === "true" };
    this.isAtEnd = !("step" in state); // and stays there when new steps come
    this.isWished = { class: "class" in state, pixel: "pixel" in state };
  }

  // Look for new runs and steps.
  async refresh() {
    let runs;
    try {
      runs = await fetchRuns();
    } catch (error) {
      this.runsText = ""; // the next answer is shown, even if nothing is new in it
      return this.report(`TensorBoard does not answer: ${error.message}`);
    }
    const text = JSON.stringify(runs);
    if (text === this.runsText) return undefined;
    this.runsText = text;
    this.runs = runs;
    this.byId("empty").hidden = runs.length > 0;
    this.byId("tab").hidden = !runs.length;
    return runs.length ? this.load() : undefined;
  }

  // Make the choice one that exists, and fetch it.
  async load() {
    const ticket = (this.ticket = (this.ticket ?? 0) + 1), { state } = this;
    const newest = this.runs.reduce((best, run) => (run.time > best.time ? run : best));
    const run = this.runs.find((each) => each.name === state.run) ?? newest;
    const probes = run.probes.filter((probe) => !probe.error);
    this.fillChoices(run);
    if (!probes.length) return this.report(run.probes[0].error);
    const probe = probes.find((each) => each.tag === state.tag) ?? probes[0];
    const output = probe.outputs.includes(state.output) ? state.output : probe.outputs[0];
    const other = this.runs.find((each) => each.name === state.other && each !== run);
    Object.assign(state, { run: run.name, tag: probe.tag, output, other: other?.name });
    this.fillChoices(run);
    const wanted = [[run.name, probe]];
    let note = "";
    if (other) {
      const same = other.probes.find((each) => each.tag === probe.tag && each.outputs?.includes(output));
      if (same) wanted.push([other.name, same]);
      else note = `${other.name} has no such sample (${probe.tag}, ${output})`;
    }
    try {
      const shown = await Promise.all(
        wanted.map(([name, each]) => this.courses.get(name, each.tag, output, each.last_step)));
      if (ticket !== this.ticket) return undefined; // something else was chosen meanwhile
      if (!shown[0].steps.length) return this.report("No step of this sample is complete yet");
      this.shown = shown.filter((course) => course.steps.length);
    } catch (error) {
      return ticket === this.ticket ? this.report(error.message) : undefined;
    }
    this.report(note);
    this.settle();
    return this.schedule();
  }

  // Class, step and pixel of what was fetched.
  settle() {
    const { state } = this, [course] = this.shown, last = course.steps.length - 1;
    const t = this.isAtEnd || state.step === undefined ? last : course.nearest(state.step);
    state.step = course.steps[t];
    const isKept = course.classes.some((classes) => classes.includes(state.class));
    const likeliest = course.prediction(t) ?? course.classes[t][0];
    if (!isKept || !this.isWished.class) state.class = course.label >= 0 ? course.label : likeliest;
    const exists = Number.isInteger(state.pixel) && state.pixel >= 0 && state.pixel < course.area;
    if (!exists || !this.isWished.pixel) {
      state.pixel = strongestPixel(course.map(t, state.class) ?? course.map(t, likeliest));
    }
    Object.assign(this.byId("step"), { max: last, disabled: last === 0 });
    this.byId("play").disabled = last === 0;
  }

  report(text) {
    this.byId("problem").textContent = text;
    this.byId("problem").hidden = !text;
    if (text && !this.shown.length) this.byId("shown").hidden = true;
  }

  // A choice of the user. What was chosen by hand stays when the sample changes.
  change(change) {
    for (const name of ["class", "pixel"]) if (name in change) this.isWished[name] = true;
    Object.assign(this.state, change);
    if ("step" in change) {
      const [course] = this.shown;
      this.state.step = course.steps[course.nearest(change.step)];
      this.isAtEnd = this.state.step === course.steps.at(-1);
    }
    if ("tag" in change) Object.assign(this.isWished, { class: false, pixel: false });
    const fetches = ["run", "tag", "output", "other"].some((name) => name in change);
    return fetches ? this.load() : this.schedule();
  }

  schedule() {
    if (!this.frame && this.shown.length) this.frame = requestAnimationFrame(() => { this.frame = 0; this.draw(); });
  }

  draw() {
    const { state, shown, byId } = this, places = shown.map((course) => course.nearest(state.step));
    byId("shown").hidden = false;
    this.view.draw({ state, courses: shown, places, names: shown.map((course) => course.run) });
    const [course] = shown, t = places[0];
    const steps = new Set(shown.map((each, i) => each.steps[places[i]].toLocaleString("en")));
    byId("when").textContent = `step ${[...steps].join(" | ")}  (${t + 1} of ${course.steps.length})`;
    byId("step").value = t;
    byId("step").setAttribute("aria-valuetext", byId("when").textContent);
    const choice = { run: course.run, tag: course.tag, output: course.output, step: course.steps[t] };
    for (const form of ["npy", "csv"]) byId(form).href = matrixAddress(choice, form);
    for (const name of ["range", "spacing"]) byId(name).value = state[name];
    byId("shared").checked = state.shared;
    clearTimeout(this.writing);
    this.writing = setTimeout(() => this.writeState(), 200);
  }

  writeState() {
    const { state } = this, isSaid = (name) => state[name] !== undefined && !(name === "step" && this.isAtEnd);
    const said = [...NAMES, ...NUMBERS].filter(isSaid).map((name) => [name, state[name]]);
    const words = Object.entries(WORDS).map(([name, [first]]) => [name, String(state[name]), first]);
    writeAddress(Object.fromEntries([...said, ...words.filter(([, value, first]) => value !== first)]));
  }

  fillChoices(run) {
    const { state } = this;
    const fill = (id, options, value) => {
      const select = this.byId(id), text = JSON.stringify(options);
      if (select.dataset.options !== text) {
        select.replaceChildren(...options.map(([name, label]) => new Option(label, name)));
        select.dataset.options = text;
      }
      select.value = value;
    };
    const names = this.runs.map(({ name }) => [name, name]);
    fill("run", names, run.name);
    fill("other", [["", "no other run"], ...names.filter(([name]) => name !== run.name)], state.other ?? "");
    const probes = run.probes.filter((probe) => !probe.error);
    fill("sample", probes.map(({ tag, index, label }) => [tag, nameOf(tag, index, label)]), state.tag);
    const probe = probes.find((each) => each.tag === state.tag);
    if (probe) fill("output", probe.outputs.map((output) => [output, output]), state.output);
  }

  // Controls.
  connect() {
    const { byId } = this;
    for (const name of ["run", "other", "output", "range", "spacing"]) {
      byId(name).onchange = (event) => this.change({ [name]: event.target.value || undefined });
    }
    byId("sample").onchange = (event) => this.change({ tag: event.target.value });
    byId("shared").onchange = (event) => this.change({ shared: event.target.checked });
    byId("previous").onclick = () => this.moveSample(-1);
    byId("next").onclick = () => this.moveSample(1);
    byId("step").oninput = (event) => {
      this.stop();
      this.change({ step: this.shown[0].steps[Number(event.target.value)] });
    };
    byId("play").onclick = () => (this.player ? this.stop() : this.play());
    byId("png").onclick = () => savePicture(this.view, this.colors);
    byId("link").onclick = () => this.copyLink();
    for (const canvas of document.querySelectorAll(".pane canvas")) {
      const follow = (event) => this.point(pointedPixel(event, this.shown[0].width, this.shown[0].height));
      canvas.addEventListener("pointermove", follow);
      canvas.addEventListener("pointerdown", follow);
      canvas.addEventListener("keydown", (event) =>
        this.point(movedPixel(event, this.state.pixel, this.shown[0].width, this.shown[0].height)));
    }
  }

  point(pixel) {
    if (pixel !== null && pixel !== this.state.pixel) this.change({ pixel });
  }

  moveSample(by) {
    const options = [...this.byId("sample").options].map((option) => option.value);
    const place = (options.indexOf(this.state.tag) + by + options.length) % options.length;
    this.change({ tag: options[place] });
  }

  // From this step to the last one; from the first one if this is the last.
  play() {
    const count = () => this.shown[0].steps.length;
    const pause = Math.max(33, Math.min(500, TOUR / count()));
    if (this.isAtEnd) this.change({ step: this.shown[0].steps[0] });
    this.player = setInterval(() => {
      const t = this.shown[0].nearest(this.state.step) + 1;
      if (t < count()) this.change({ step: this.shown[0].steps[t] });
      if (t >= count() - 1) this.stop();
    }, pause);
    this.showPlayer();
  }

  stop() {
    clearInterval(this.player);
    this.player = 0;
    this.showPlayer();
  }

  showPlayer() {
    const play = this.byId("play");
    play.setAttribute("aria-pressed", Boolean(this.player));
    play.setAttribute("aria-label", this.player ? "Pause" : "Play");
    play.firstChild.textContent = this.player ? "❚❚" : "▶";
  }

  async copyLink() {
    clearTimeout(this.writing);
    this.writeState();
    const button = this.byId("link");
    try {
      await navigator.clipboard.writeText(link());
      button.textContent = "Copied";
    } catch {
      button.textContent = "See address bar"; // the browser lets no page without focus write there
    }
    setTimeout(() => { button.textContent = "Link"; }, 1500);
  }
}

// What stands before the tag's own part tells the callbacks of a trainer apart.
function nameOf(tag, index, label) {
  const prefix = tag.replace(/jacobians\/\d+$/, "");
  return `${prefix}${index}${label === null ? "" : ` (class ${label})`}`;
}
