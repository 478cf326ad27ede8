"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

// Theme: the system's, until the reader chooses; charts are drawn anew in its colours.
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
const setTheme = (name) => { root.dataset.theme = name; drawCharts(); };
const color = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();

function themed(chart) {
  const ink = color("ink"), soft = color("soft"), line = color("line");
  const traces = chart.data.map((trace) => {
    const own = color(trace.theme || "ink");
    const { theme, ...rest } = trace;
    rest.marker = { color: own, ...(trace.marker || {}) };
    rest.line = { color: own, ...(trace.line || {}) };
    if (trace.fill) rest.fillcolor = own + "33";
    if (trace.type === "box") rest.fillcolor = own + "55";
    if (trace.type === "bar") delete rest.line;
    return rest;
  });
  const axis = (given) => ({ gridcolor: line, zerolinecolor: line, linecolor: line, tickcolor: line, automargin: true, ...given });
  const layout = {
    ...chart.layout, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 13, color: soft }, margin: { t: 34, r: 12, b: 44, l: 52, ...(chart.layout.margin || {}) },
    hoverlabel: { bgcolor: color("card"), bordercolor: line, font: { color: ink } }, hovermode: "closest",
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: ink } },
    xaxis: axis(chart.layout.xaxis), yaxis: axis(chart.layout.yaxis),
  };
  return [traces, layout, { displayModeBar: false, responsive: true }];
}

const onDraw = []; // what a page draws besides its charts

function drawCharts() {
  for (const [name, chart] of Object.entries(data.charts)) {
    if (byId("chart-" + name)) Plotly.react("chart-" + name, ...themed(chart));
  }
  onDraw.forEach((draw) => draw());
}

function start() {
  byId("theme").onclick = () => setTheme(root.dataset.theme === "dark" ? "light" : "dark");
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  let before = null;
  addEventListener("beforeprint", () => { before = root.dataset.theme; setTheme("light"); });
  addEventListener("afterprint", () => setTheme(before));
  setTheme(dark.matches ? "dark" : "light");
}
