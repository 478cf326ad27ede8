// What was logged, from TensorBoard's server. Only what is looked at is fetched, and only the last few are kept.

const MOST_BYTES = 96 << 20;

// A number as the server writes it: null is NaN, and infinity is a text.
const number = (written) => (written === null ? NaN : Number(written));

async function get(path, query = {}) {
  const answer = await fetch(path + "?" + new URLSearchParams(query));
  if (!answer.ok) throw new Error((await answer.text()) || answer.statusText);
  return answer;
}

export async function fetchRuns() {
  return (await (await get("probes")).json()).runs;
}

export async function fetchColors() {
  return (await get("colors.json")).json();
}

export function matrixAddress(choice, form) {
  return "matrix?" + new URLSearchParams({ ...choice, form });
}

// Series of Jacobians by run, tag and output. Of the same series, a longer one replaces the shorter.
export class Courses {
  constructor() {
    this.kept = new Map();
  }

  async get(run, tag, output, lastStep) {
    const key = JSON.stringify([run, tag, output]);
    let entry = this.kept.get(key);
    this.kept.delete(key); // the last used stand last
    if (!entry || entry.lastStep !== lastStep) {
      entry = { lastStep, course: fetchCourse(run, tag, output) };
      entry.course.catch(() => this.kept.delete(key));
    }
    this.kept.set(key, entry);
    const course = await entry.course;
    entry.bytes = course.maps.byteLength;
    let bytes = [...this.kept.values()].reduce((sum, each) => sum + (each.bytes ?? 0), 0);
    for (const [old, { bytes: size }] of this.kept) {
      if (bytes <= MOST_BYTES || old === key) break;
      this.kept.delete(old);
      bytes -= size ?? 0;
    }
    return course;
  }
}

async function fetchCourse(run, tag, output) {
  const buffer = await (await get("course", { run, tag, output })).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return new Course(run, tag, output, head, new Float32Array(buffer, 4 + length));
}

// A sample over the steps, with its Jacobians of one output.
export class Course {
  constructor(run, tag, output, head, maps) {
    Object.assign(this, { run, tag, output, maps, names: head.class_names, label: head.label, index: head.index });
    Object.assign(this, { steps: head.steps, classes: head.classes, image: head.image, inputShape: head.input_shape });
    this.probabilities = head.probabilities.map((row) => row.map(number));
    this.logits = head.logits.map((row) => row.map(number));
    this.values = head.values.map((value) => ({ ...value, numbers: value.numbers.map(number) }));
    this.range = head.pixel_range.map(number);
    [, this.count, this.height, this.width] = head.shape;
    this.area = this.height * this.width;
    this.channels = head.image_shape[0];
    this.limits = new Map();
  }

  // The place of the nearest step.
  nearest(step) {
    let best = 0;
    this.steps.forEach((each, t) => { if (Math.abs(each - step) <= Math.abs(this.steps[best] - step)) best = t; });
    return best;
  }

  // The place of a class among the maps of a step; −1 if it is not kept there.
  placeOf(t, k) {
    return this.classes[t].indexOf(k);
  }

  map(t, k) {
    const place = this.placeOf(t, k);
    if (place < 0) return null;
    const start = (t * this.count + place) * this.area;
    return this.maps.subarray(start, start + this.area);
  }

  derivative(t, k, pixel) {
    const place = this.placeOf(t, k);
    return place < 0 ? null : this.maps[(t * this.count + place) * this.area + pixel];
  }

  probability(t, k) {
    const place = this.placeOf(t, k);
    return place < 0 ? null : this.probabilities[t][place];
  }

  // The class with the largest logit; null if no logit is a number.
  prediction(t) {
    const largest = Math.max(...this.logits[t].filter((logit) => !Number.isNaN(logit)));
    return this.classes[t][this.logits[t].indexOf(largest)] ?? null;
  }

  predictedName(t) {
    const k = this.prediction(t);
    return k === null ? "none" : this.names[k];
  }

  rgb(pixel) {
    return [0, 1, 2].map((c) => this.image[(this.channels === 3 ? c * this.area : 0) + pixel]);
  }

  // The brightness of a pixel in units of the network's input.
  brightness(pixel) {
    const mean = this.rgb(pixel).reduce((sum, value) => sum + value, 0) / 3 / 255;
    return this.range[0] + mean * (this.range[1] - this.range[0]);
  }

  // What the colour scale of a step, or of all steps where t is null, is made of: the largest magnitude; that which only
  // a few pixels exceed; and the largest magnitude of the step, or of the class, that has the weakest maps.
  limitsOf(t) {
    if (!this.limits.has(t)) {
      const size = this.count * this.area;
      const part = t === null ? this.maps : this.maps.subarray(t * size, (t + 1) * size);
      const magnitudes = part.filter(Number.isFinite).map(Math.abs).sort();
      const at = (magnitudes.length - 1) * 0.998, low = Math.floor(at);
      const quantile = magnitudes.length
        ? magnitudes[low] + (at - low) * (magnitudes[Math.min(low + 1, magnitudes.length - 1)] - magnitudes[low]) : 0;
      const largest = magnitudes.length ? magnitudes[magnitudes.length - 1] : 0;
      const ofClass = new Array(this.count).fill(0), ofStep = new Array(part.length / size).fill(0);
      part.forEach((value, i) => {
        const place = Math.floor(i / this.area), magnitude = Math.abs(value);
        if (magnitude > ofClass[place % this.count]) ofClass[place % this.count] = magnitude;
        const step = Math.floor(place / this.count);
        if (magnitude > ofStep[step]) ofStep[step] = magnitude;
      });
      const weakest = Math.min(...ofClass, ...ofStep);
      this.limits.set(t, { quantile: quantile || largest, largest, weakest });
    }
    return this.limits.get(t);
  }
}
