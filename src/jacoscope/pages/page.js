"use strict";
// What all pages share: elements, the theme, charts that are drawn when they come into view, and links within the page.
// A link is "#key=value": "#sample=7" opens a sample, "#run=3" a run, and any other key filters the table by that column.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

// Three significant digits, all of those before the point, and a minus sign that is as wide as a plus sign.
function shortNumber(value) {
  const size = Math.abs(value), isLong = size >= 1000 && size < 1e6;
  const text = isLong ? Math.round(value).toLocaleString("en") : value === 0 ? "0" : value.toPrecision(3);
  return text.replace(/-/g, "−").replace("e+", "e");
}

// Theme: that of the system, until the reader chooses. Charts are made in light colours and drawn again in dark ones.

const root = document.documentElement;
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
const darkOf = new Map(Object.entries(data.theme.light).map(([name, color]) => [color, data.theme.dark[name]]));

function setTheme(name) {
  root.dataset.theme = name;
  root.dispatchEvent(new Event("theme"));
  drawn.forEach(drawChart);
}

// A copy of part of a figure in the colours of the theme; only what is called a color is changed.
function themed(node, key = "") {
  if (Array.isArray(node)) return node.map((item) => themed(item, key));
  if (node && typeof node === "object") {
    return Object.fromEntries(Object.entries(node).map(([name, value]) => [name, themed(value, name)]));
  }
  return (root.dataset.theme === "dark" && /color(way)?$/.test(key) && darkOf.get(node)) || node;
}

// Charts

const places = [...document.querySelectorAll(".chart")];
const drawn = new Set();
const decorations = []; // functions that change a copy of a chart's traces before it is drawn

function chartOf(place) {
  return data.charts[place.dataset.choice ? byId(place.dataset.choice).value : place.dataset.chart];
}

// The library is large: it is read when the first chart comes into view, after the page is there.
function loadPlotly() {
  const source = byId("plotly");
  if (!source) return;
  document.head.append(element("script", { textContent: source.textContent }));
  source.remove();
}

function drawChart(place) {
  loadPlotly();
  const chart = chartOf(place);
  let traces = themed(chart.data);
  for (const decorate of decorations) traces = decorate(traces, place);
  const layout = themed({ ...chart.layout, template: data.template });
  Plotly.react(place, traces, layout, { displayModeBar: false, responsive: true });
  if (!drawn.has(place)) place.on("plotly_click", (event) => followPoint(event.points[0]));
  drawn.add(place);
}

const drawAllCharts = () => places.forEach(drawChart);

// A trace whose meta is {click: KEY} leads to "#KEY=VALUE": meta.value, or the point's customdata or its first entry.
function followPoint(point) {
  const { click: key, value: ofTrace } = point.data.meta || {};
  const found = ofTrace ?? point.customdata ?? (point.data.customdata || [])[point.data.x.indexOf(point.x)]; // boxes have none of their own
  const value = [].concat(found)[0];
  if (key && value !== undefined) goTo({ [key]: value });
}

// Links within the page

const routes = []; // functions of the link's keys and values

function goTo(target) {
  history.pushState(null, "", "#" + new URLSearchParams(target));
  route();
}

function route() {
  const target = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  if (Object.keys(target).length) routes.forEach((follow) => follow(target));
}

function start() {
  byId("theme").onclick = () => setTheme(root.dataset.theme === "dark" ? "light" : "dark");
  systemIsDark.addEventListener("change", () => setTheme(systemIsDark.matches ? "dark" : "light"));
  let beforePrint = null;
  addEventListener("beforeprint", () => {
    beforePrint = root.dataset.theme;
    setTheme("light");
    drawAllCharts();
  });
  addEventListener("afterprint", () => setTheme(beforePrint));
  for (const place of places) {
    if (place.dataset.choice) byId(place.dataset.choice).onchange = () => drawChart(place);
  }
  setTheme(systemIsDark.matches ? "dark" : "light");
  addEventListener("hashchange", route);
  route();
  const inView = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting && !drawn.has(entry.target))
      .forEach((entry) => drawChart(entry.target)),
    { rootMargin: "200px" },
  );
  addEventListener("load", () => setTimeout(() => places.forEach((place) => inView.observe(place)), 0));
}
