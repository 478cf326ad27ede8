// The parts of the page, without any data. What was logged is put in as text only.

export const PAGE = `
<main id="tab" hidden>
<form class="choices" aria-label="What is shown">
  <label>Run <select id="run"></select></label>
  <label>Compare with <select id="other"></select></label>
  <span class="field"><label for="sample">Sample</label>
    <span class="stepper"><button id="previous" type="button" aria-label="previous sample">‹</button><select id="sample"></select><button id="next" type="button" aria-label="next sample">›</button></span></span>
  <label>Output <select id="output"></select></label>
  <span class="save" role="group" aria-label="Save">
    <button id="png" type="button" title="Save what is seen as a picture">PNG</button>
    <a id="npy" class="button" download title="Save J at this step for NumPy: a row for each pixel, a column for each class">npy</a>
    <a id="csv" class="button" download title="Save J at this step as a table: a row for each pixel, a column for each class">CSV</a>
    <button id="link" type="button" title="Copy a link to what is seen">Link</button>
  </span>
</form>
<div class="time">
  <button id="play" type="button" aria-pressed="false" aria-label="Play"><span aria-hidden="true">▶</span></button>
  <input id="step" type="range" min="0" step="1" aria-label="Step">
  <output id="when" for="step"></output>
</div>
<p id="problem" role="alert" hidden></p>
<div id="shown" hidden>
<div class="stage" id="stage">
  <div class="panes" id="panes"></div>
  <section id="row" aria-label="The row of J at the pixel"><p id="where" aria-live="polite"></p>
    <table><thead><tr id="headings"></tr></thead><tbody id="bars"></tbody></table></section>
  <div id="pixel-chart"></div>
</div>
<section class="card" aria-label="All classes">
  <div class="line"><h2 id="classes-title">All classes</h2>
    <div class="scale"><span id="low"></span><span class="ramp"><canvas id="ramp" width="257" height="1" aria-hidden="true"></canvas><span id="ticks"></span></span><span id="high"></span></div>
    <label>Scale <select id="range"><option value="all">of all steps</option><option value="step">of this step</option></select></label>
    <label>Colours <select id="spacing"><option value="auto">automatic</option><option value="linear">linear</option><option value="log">logarithmic</option></select></label>
    <label id="shared-label" hidden><input id="shared" type="checkbox" checked> one scale for both runs</label>
  </div>
  <div id="classes" role="group" aria-label="Class whose map is shown"></div>
</section>
<section class="card" aria-label="Over the steps"><h2>Over the steps</h2><div id="charts"></div></section>
</div>
</main>
<main id="empty" hidden>
  <h1>No Jacobians in this log folder yet</h1>
  <p>This tab shows how every output of a network depends on every input pixel, step by step. It appears as soon as a run has logged Jacobians:</p>
  <dl>
    <dt>with <code>train.py</code> of jacoscope</dt><dd>every run does: <code>python train.py</code>; it was left out if <code>callbacks.jacobian.tab=false</code></dd>
    <dt>in a Lightning project</dt><dd><code>Trainer(callbacks=[JacobianCallback()])</code></dd>
    <dt>in a loop of your own</dt><dd><pre>from jacoscope import board, jacobian

J, logits = jacobian(model, images, return_outputs=True)
board.write(summary_writer, step, images, J, logits)</pre></dd>
  </dl>
  <p>New data are shown by themselves. TensorBoard reads the folder that was named by <code>--logdir</code>.</p>
</main>`;

// A picture with a pixel that is pointed at: [figure, canvas, mark, caption].
export function pane(id, label) {
  const figure = document.createElement("figure");
  figure.innerHTML = '<figcaption class="title"></figcaption><div class="pane"><canvas tabindex="0" role="img"></canvas><i class="mark"></i></div><figcaption></figcaption>';
  figure.id = id;
  const canvas = figure.querySelector("canvas");
  canvas.setAttribute("aria-label", label);
  canvas.setAttribute("aria-describedby", "where");
  return figure;
}

// The button of a class: a small map for each run, and its name.
export function classButton() {
  const button = document.createElement("button");
  button.type = "button";
  button.innerHTML = '<span class="minis"></span><span class="caption"><span class="class"></span> <span class="chances"></span></span>';
  return button;
}
