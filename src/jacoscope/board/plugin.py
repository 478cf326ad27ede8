"""The part of the tab that runs in TensorBoard's process: it serves the page's files, and what was logged.

TensorBoard loads this file at its start, unguarded, so it imports neither torch nor matplotlib. Data are read through
TensorBoard's data provider alone; no path that a request or a log names is opened.
"""

import io
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard import errors, plugin_util
from tensorboard.backend import http_util
from tensorboard.data.provider import RunTagFilter
from tensorboard.plugins import base_plugin
from werkzeug import Request, Response

from jacoscope.board.format import PLUGIN, Course, Event, FormatError, Probe, decode, maps_tag
from jacoscope.visuals.colors import NOT_FINITE, THEME, WORDS, css, diverging_table

_PACKAGE = Path(__file__).parents[1]
_JAVASCRIPT, _CSS = "application/javascript", "text/css"
_SCRIPTS = ("index", "page", "view", "charts", "markup", "picture", "data", "host")
_FILES = {
    **{f"/{name}.js": _PACKAGE / "board" / "static" / f"{name}.js" for name in _SCRIPTS},
    "/tab.css": _PACKAGE / "board" / "static" / "tab.css",
    "/jacobian.js": _PACKAGE / "pages" / "jacobian.js",
    "/jacobian.css": _PACKAGE / "pages" / "jacobian.css",
}
_MOST_BYTES = 64 << 20
"""Of an answer: of longer series, TensorBoard picks some of the steps."""
_MOST_STEPS = 5000

App = Callable[[Request], Response]


class JacobiansPlugin(base_plugin.TBPlugin):  # type: ignore[misc]
    """The tab "Jacobians".

    Args:
        context: of TensorBoard.
    """

    plugin_name = PLUGIN

    def __init__(self, context: base_plugin.TBContext) -> None:
        self._data = context.data_provider

    def is_active(self) -> bool:
        return False  # TensorBoard shows the tab as soon as there are data of this name

    def frontend_metadata(self) -> Any:
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="Jacobians")

    def get_plugin_apps(self) -> dict[str, Any]:
        served: dict[str, App] = {path: _file(file) for path, file in _FILES.items()}
        served |= {"/theme.css": _theme, "/colors.json": _colors}
        served |= {"/probes": self._probes, "/course": self._course, "/matrix": self._matrix}
        return {path: Request.application(_guarded(app)) for path, app in served.items()}

    def _probes(self, request: Request) -> Response:
        """Answer which probes each run has."""
        runs = []
        for run, tags in sorted(self._series(request).items(), key=lambda item: _natural(item[0])):
            probes = [_entry(tag, series) for tag, series in tags.items() if b'"image"' in series.plugin_content]
            probes.sort(key=lambda entry: _natural(entry["tag"]))
            if probes:
                newest = max(series.max_wall_time for series in tags.values())
                runs.append({"name": run, "probes": probes, "time": newest})
        return _json(request, {"runs": runs})

    def _course(self, request: Request) -> Response:
        """Answer with a probe over the steps: the length of a JSON text, the text, and float32 numbers."""
        run, tag, output = (_argument(request, name) for name in ("run", "tag", "output"))
        course = self._read(request, run, tag, output)
        maps = course.jacobians[output]
        probe = course.probe
        described = {
            "index": probe.index,
            "label": probe.label if probe.label < len(probe.class_names) else -1,
            "class_names": probe.class_names,
            "shape": maps.shape,
            "image_shape": probe.image.shape,
            "input_shape": probe.input_shape,
            "image": probe.image.ravel().tolist(),
            "pixel_range": probe.pixel_range,
            "steps": course.steps.tolist(),
            "classes": course.classes.tolist(),
            "logits": course.logits.tolist(),
            "probabilities": course.probabilities.tolist(),
            "values": [
                {"name": v.name, "label": v.label, "log": v.log, "numbers": course.values[v.name].tolist()}
                for v in probe.values
                if v.output in ("", output)
            ],
        }
        head = json.dumps(_as_json(described)).encode()
        head += b" " * (-len(head) % 4)  # numbers begin at a multiple of their size
        content = len(head).to_bytes(4, "little") + head + maps.astype("<f4").tobytes()
        return _respond(request, content, "application/octet-stream")

    def _matrix(self, request: Request) -> Response:
        """Answer with J at a step as a file, a row for each pixel and a column for each class that is kept."""
        run, tag, output, step, form = (_argument(request, name) for name in ("run", "tag", "output", "step", "form"))
        if form not in ("npy", "csv"):
            raise errors.InvalidArgumentError(f"form={form!r}; allowed are npy and csv")
        course = self._read(request, run, tag, output)
        places = np.flatnonzero(course.steps == int(step)) if step.isdecimal() else np.array([], int)
        if not len(places):
            raise errors.NotFoundError(f"step {step} of {tag} is not there")
        place = int(places[0])
        matrix = course.jacobians[output][place].reshape(course.classes.shape[1], -1).T
        buffer = io.BytesIO()
        if form == "npy":
            np.save(buffer, np.ascontiguousarray(matrix), allow_pickle=False)
        else:
            names = [course.probe.class_names[k] for k in course.classes[place]]
            heading = ",".join(["row", "column", *(_cell(name) for name in names)])
            width = course.jacobians[output].shape[3]
            rows = (
                f"{i // width},{i % width}," + ",".join(f"{value:.9g}" for value in row)
                for i, row in enumerate(matrix.tolist())
            )
            buffer.write("\n".join([heading, *rows, ""]).encode())
        name = re.sub(
            r"[^\w.-]", "_", f"jacobian_{output}_sample_{course.probe.index}_step_{step}.{form}", flags=re.ASCII
        )
        kind = "application/octet-stream" if form == "npy" else "text/csv"
        return _respond(request, buffer.getvalue(), kind, [("Content-Disposition", f'attachment; filename="{name}"')])

    def _series(self, request: Request, selection: RunTagFilter | None = None) -> Mapping[str, Mapping[str, Any]]:
        found: Mapping[str, Mapping[str, Any]] = self._data.list_tensors(
            plugin_util.context(request.environ),
            experiment_id=plugin_util.experiment_id(request.environ),
            plugin_name=PLUGIN,
            run_tag_filter=selection,
        )
        return found

    def _read(self, request: Request, run: str, tag: str, output: str) -> Course:
        """Read a probe over the steps, with the Jacobians of one output."""
        described = self._series(request, RunTagFilter(runs=[run], tags=[tag])).get(run, {}).get(tag)
        if described is None:
            raise errors.NotFoundError(f"run {run} has no {tag}")
        probe = Probe.from_json(described.plugin_content)
        if output not in probe.outputs:
            raise errors.NotFoundError(f"{tag} has no maps of {output!r}, only of {', '.join(probe.outputs)}")
        needed = ("logits", "probs") if output == "probs" and "logits" in probe.outputs else (output,)
        tags = {name: maps_tag(tag, name) for name in needed}
        count = max(1, min(_MOST_STEPS, _MOST_BYTES // (4 * max(1, probe.map_size))))
        read = self._data.read_tensors(
            plugin_util.context(request.environ),
            experiment_id=plugin_util.experiment_id(request.environ),
            plugin_name=PLUGIN,
            downsample=count,
            run_tag_filter=RunTagFilter(runs=[run], tags=[tag, *tags.values()]),
        ).get(run, {})
        return decode(probe, _events(read.get(tag, ())), {name: _events(read.get(t, ())) for name, t in tags.items()})


def _entry(tag: str, series: Any) -> dict[str, Any]:
    """Return what the page needs to list a probe; of one that cannot be read, why."""
    entry = {"tag": tag, "last_step": series.max_step}
    try:
        probe = Probe.from_json(series.plugin_content)
    except FormatError as error:
        return {**entry, "error": str(error)}
    known = 0 <= probe.label < len(probe.class_names)
    label = probe.class_names[probe.label] if known else None
    return {**entry, "index": probe.index, "label": label, "outputs": probe.outputs}


def _events(data: Iterable[Any]) -> list[Event]:
    return [Event(datum.step, np.asarray(datum.numpy)) for datum in data]


def _file(path: Path) -> App:
    kind = _CSS if path.suffix == ".css" else _JAVASCRIPT
    return lambda request: _respond(request, path.read_bytes(), kind)


def _theme(request: Request) -> Response:
    return _respond(request, css(), _CSS)


def _colors(request: Request) -> Response:
    colors = {"diverging": diverging_table().tolist(), "words": WORDS, "not_finite": NOT_FINITE, "theme": THEME}
    return _json(request, colors)


def _guarded(app: App) -> App:
    """Answer a mistake in a request or in a log with a sentence that the page shows."""

    def answer(request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return _respond(request, "only GET is allowed", "text/plain", code=405)
        try:
            return app(request)
        except errors.PublicError as error:
            return _respond(request, str(error), "text/plain", code=error.http_code)
        except FormatError as error:
            return _respond(request, f"What was logged cannot be shown: {error}", "text/plain", code=422)

    return answer


def _argument(request: Request, name: str) -> str:
    value = request.args.get(name)
    if value is None:
        raise errors.InvalidArgumentError(f"the request does not say which {name}")
    return str(value)


def _json(request: Request, content: Any) -> Response:
    return _respond(request, json.dumps(_as_json(content)), "application/json")


def _respond(
    request: Request, content: str | bytes, kind: str, headers: list[tuple[str, str]] | None = None, code: int = 200
) -> Response:
    response: Response = http_util.Respond(request, content, kind, code=code, headers=headers)
    return response


def _as_json(content: Any) -> Any:
    """Return null for NaN, which JSON does not have, and "Infinity" or "-Infinity"."""
    if isinstance(content, float) and not math.isfinite(content):
        return None if math.isnan(content) else str(content).replace("inf", "Infinity")
    if isinstance(content, Mapping):
        return {key: _as_json(value) for key, value in content.items()}
    return [_as_json(value) for value in content] if isinstance(content, list | tuple) else content


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts version_2 before version_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _cell(name: str) -> str:
    """Return a class's name as a cell of a CSV file: quoted where needed, and never a formula of a spreadsheet."""
    name = f"'{name}" if name.startswith(("=", "+", "-", "@")) else name
    return '"' + name.replace('"', '""') + '"' if re.search(r'[",\r\n]', name) else name
