// Small line charts over the steps, as SVG that takes its colours from the style sheet.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300, HEIGHT = 96, LEFT = 6, RIGHT = 6, TOP = 8, BOTTOM = 8;

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export function short(value) {
  if (value === null) return "–";
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "not finite" : value < 0 ? "−∞" : "∞";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(1) : String(Number(value.toPrecision(3)));
  return text.replace(/-/g, "−");
}

// A chart that is drawn again only when its lines change; moving along the steps moves the cursor alone.
export class Chart {
  // choose: called with the step that is pointed at.
  constructor(title, choose) {
    this.root = document.createElement("figure");
    this.root.className = "chart";
    this.root.innerHTML = '<figcaption><span class="name"></span><span class="now"></span></figcaption>';
    this.svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    const box = document.createElement("div");
    box.className = "plot";
    this.top = box.appendChild(document.createElement("span"));
    this.bottom = box.appendChild(document.createElement("span"));
    this.top.className = "top";
    this.bottom.className = "bottom";
    box.appendChild(this.svg);
    this.root.appendChild(box);
    this.setTitle(title);
    const point = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      const frame = this.svg.getBoundingClientRect();
      const share = ((event.clientX - frame.left) / frame.width * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT);
      choose(this.first + Math.max(0, Math.min(1, share)) * (this.last - this.first));
    };
    this.svg.addEventListener("pointerdown", point);
    this.svg.addEventListener("pointermove", point);
  }

  setTitle(title) {
    this.title = title;
    this.root.querySelector(".name").textContent = title;
  }

  // lines: [{steps, numbers, kind}], the last on top; log: a logarithmic axis; zero: whether the axis has 0 on it.
  draw(lines, { log = false, zero = false, from = null, to = null } = {}) {
    const steps = lines.flatMap((line) => line.steps);
    this.first = Math.min(...steps);
    this.last = Math.max(...steps);
    const usable = (v) => v !== null && Number.isFinite(v) && !(log && v <= 0);
    const shown = lines.flatMap((line) => line.numbers.filter(usable));
    if (zero) shown.push(0);
    let low = from ?? Math.min(...shown), high = to ?? Math.max(...shown);
    if (!shown.length) [low, high] = log ? [1, 10] : [0, 1];
    const room = (Math.abs(low) || 1) * 0.1;
    if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - room, high + room];
    this.top.textContent = short(high);
    this.bottom.textContent = short(low);
    const scale = log ? Math.log : (v) => v;
    this.y = (v) => TOP + (1 - (scale(v) - scale(low)) / (scale(high) - scale(low))) * (HEIGHT - TOP - BOTTOM);
    const drawn = [];
    if (low < 0 && high > 0) drawn.push(element("line", { class: "zero", x1: 0, x2: WIDTH, y1: this.y(0), y2: this.y(0) }));
    for (const line of lines) {
      let path = "", open = false;
      line.steps.forEach((step, t) => {
        const v = line.numbers[t];
        if (!usable(v)) { open = false; return; }
        path += `${open ? "L" : "M"}${this.x(step).toFixed(1)} ${this.y(v).toFixed(1)}`;
        open = true;
      });
      if (line.steps.length === 1 && path) path += "h0.01";
      drawn.push(element("path", { d: path, class: line.kind }));
    }
    this.cursors = [0, 1].map(() => element("line", { class: "cursor", y1: 0, y2: HEIGHT }));
    this.svg.replaceChildren(...drawn, ...this.cursors);
  }

  x(step) {
    const span = this.last - this.first;
    return LEFT + (span ? (step - this.first) / span : 0.5) * (WIDTH - LEFT - RIGHT);
  }

  // now: [{step, text, kind}], one for each run.
  move(now) {
    this.cursors.forEach((cursor, i) => {
      cursor.style.display = i < now.length && (i === 0 || now[i].step !== now[0].step) ? "" : "none";
      if (i < now.length) {
        cursor.setAttribute("x1", this.x(now[i].step));
        cursor.setAttribute("x2", this.x(now[i].step));
      }
    });
    const place = this.root.querySelector(".now");
    place.replaceChildren(...now.map(({ text, kind }) => {
      const each = document.createElement("span");
      each.className = kind;
      each.textContent = text;
      return each;
    }));
    this.svg.setAttribute("aria-label", `${this.title} over the steps, now ${now.map(({ text }) => text).join(" and ")}`);
  }
}

// The prediction of each step, as a row of cells.
export class Predictions {
  constructor(choose) {
    this.root = document.createElement("figure");
    this.root.className = "chart predictions";
    this.root.innerHTML = '<figcaption><span class="name">Prediction</span><span class="now"></span></figcaption><div class="strips" role="img"></div>';
    this.strips = this.root.querySelector(".strips");
    this.strips.addEventListener("pointerdown", (event) => {
      if (event.target.dataset.step) choose(Number(event.target.dataset.step));
    });
  }

  // courses: one for each run.
  draw(courses, kinds) {
    this.strips.style.gridTemplateRows = `repeat(${courses.length}, 1fr)`;
    this.strips.replaceChildren(...courses.map((course, i) => {
      const strip = document.createElement("div");
      strip.className = "strip " + kinds[i];
      strip.append(...course.steps.map((step, t) => {
        const cell = document.createElement("span"), k = course.prediction(t);
        cell.className = course.label < 0 || k === null ? "" : k === course.label ? "right" : "wrong";
        cell.title = `step ${step}: ${course.predictedName(t)}`;
        cell.dataset.step = step;
        return cell;
      }), ...streaks(course).map(([start, end]) => {
        const label = document.createElement("i"), percent = 100 / course.steps.length;
        label.textContent = course.predictedName(start);
        Object.assign(label.style, { left: `${start * percent}%`, width: `${(end - start) * percent}%` });
        return label;
      }));
      return strip;
    }));
  }

  // places: of the steps that are shown, one for each run.
  move(places, texts, kinds) {
    [...this.strips.children].forEach((strip, i) =>
      [...strip.querySelectorAll("span")].forEach((cell, t) => cell.classList.toggle("on", t === places[i])));
    this.root.querySelector(".now").replaceChildren(...texts.map((text, i) => {
      const each = document.createElement("span");
      each.className = kinds[i];
      each.textContent = text;
      return each;
    }));
    this.strips.setAttribute("aria-label", "Prediction at this step: " + texts.join(" and "));
  }
}

const NARROWEST = 1 / 28; // of a strip: a label has no room in less

// Steps with the same prediction that follow each other, [start, end), as far as a label has room there.
function streaks(course) {
  const starts = course.steps.map((_, t) => t).filter((t) => !t || course.prediction(t) !== course.prediction(t - 1));
  return starts.map((start, i) => [start, starts[i + 1] ?? course.steps.length])
    .filter(([start, end]) => (end - start) / course.steps.length >= NARROWEST);
}
