"""What TensorBoard's process answers, by both of its loaders, and with damaged and strange logs."""

import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.base_plugin import TBContext
from torch.utils.tensorboard import SummaryWriter
from werkzeug.test import Client

from jacoscope import board
from jacoscope.board.plugin import JacobiansPlugin
from jacoscope.board.writing import summary
from jacoscope.visuals import heatmaps

from .logs import NAMES, exact, get, log, tensorboard

DATA = "/data/plugin/jacobians"


@pytest.fixture(scope="module", params=["fast", "python"])
def address(request: pytest.FixtureRequest, two_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "fast":
        pytest.importorskip("tensorboard_data_server", reason="TensorBoard's fast loader is not installed")
        loader = "--load_fast=true"
    else:
        loader = "--load_fast=false"
    with tensorboard(two_runs, tmp_path_factory.mktemp("entry"), loader, "--path_prefix=/a/b") as served:
        end = time.monotonic() + 20
        while time.monotonic() < end and len(runs(served)) < 2:
            time.sleep(0.1)
        yield served


def runs(address: str) -> list[str]:
    return [run["name"] for run in json.loads(get(f"{address}{DATA}/probes")[2])["runs"]]


def course(address: str, **choice: str) -> tuple[dict[str, object], np.ndarray]:
    status, kind, content = get(f"{address}{DATA}/course?{urlencode(choice)}")
    assert status == 200, content
    assert kind == "application/octet-stream"
    length = int.from_bytes(content[:4], "little")
    head = json.loads(content[4 : 4 + length])
    return head, np.frombuffer(content[4 + length :], "<f4").reshape(head["shape"])


def test_the_tab_is_listed_and_every_file_of_the_page_is_served(address: str) -> None:
    listed = json.loads(get(f"{address}/data/plugins_listing")[2])["jacobians"]
    assert listed["enabled"] is True
    assert listed["tab_name"] == "Jacobians"
    for file, kind in (
        ("index.js", "javascript"),
        ("jacobian.js", "javascript"),
        ("tab.css", "css"),
        ("theme.css", "css"),
    ):
        status, content_type, content = get(f"{address}{DATA}/{file}")
        assert (status, kind in content_type) == (200, True)
        assert b"http" not in content.replace(b"http://www.w3.org/2000/svg", b"")  # nothing from elsewhere
    colors = json.loads(get(f"{address}{DATA}/colors.json")[2])
    assert len(colors["diverging"]) == 513


@pytest.mark.parametrize("output", ["logits", "probs"])
def test_the_numbers_are_those_of_the_networks(address: str, output: str) -> None:
    assert runs(address) == ["first", "second"]
    head, maps = course(address, run="second", tag="jacobians/70", output=output)
    assert head["steps"] == [3, 8, 13, 18, 23, 28]
    assert head["class_names"] == list(NAMES)
    for t, step in enumerate(head["steps"]):  # type: ignore[arg-type, var-annotated]
        expected = exact(2, step, output)[1].numpy()
        assert np.abs(maps[t] - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("form", ["npy", "csv"])
def test_the_matrix_of_a_step_is_saved(address: str, form: str) -> None:
    choice = {"run": "first", "tag": "jacobians/5", "output": "logits", "step": "15", "form": form}
    status, _, content = get(f"{address}{DATA}/matrix?{urlencode(choice)}")
    assert status == 200
    expected = exact(1, 15)[0].flatten(1).T.numpy()
    if form == "npy":
        matrix = np.load(io.BytesIO(content), allow_pickle=False)
    else:
        heading, *rows = content.decode().splitlines()
        assert heading == "row,column,round,long,<b>bold</b>,'=1+1"
        table = np.array([list(map(float, row.split(","))) for row in rows])
        assert table[9, :2].tolist() == [1, 1]
        matrix = table[:, 2:]
    assert matrix.shape == (64, 4)
    assert np.abs(matrix - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("course?run=first&tag=jacobians/5", 400, "which output"),
        ("course?run=no&tag=jacobians/5&output=logits", 404, "has no"),
        ("course?run=first&tag=jacobians/5&output=log_probs", 404, "only of logits, probs"),
        ("course?run=first&tag=../../etc/passwd&output=logits", 404, "has no"),
        ("matrix?run=first&tag=jacobians/5&output=logits&step=1&form=npy", 404, "step 1 "),
        ("matrix?run=first&tag=jacobians/5&output=logits&step=-5&form=npy", 404, "step -5"),
        ("matrix?run=first&tag=jacobians/5&output=logits&step=0&form=exe", 400, "npy and csv"),
        ("../../../pyproject.toml", 404, ""),
        ("static/index.js", 404, ""),
    ],
)
def test_a_wrong_request_is_answered_with_what_is_allowed(address: str, path: str, status: int, told: str) -> None:
    found, kind, content = get(f"{address}{DATA}/{path}")
    assert found == status
    assert told in content.decode()
    assert "html" not in kind


def test_strange_and_damaged_logs_are_named_and_stop_nothing(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    log(logs / "<img src=x onerror=alert(1)>", 1, range(2))
    log(logs / "cut", 1, range(20))
    (file,) = (logs / "cut").iterdir()
    file.write_bytes(file.read_bytes()[:-9000])  # as a crash leaves it
    log(logs / "other", 1, range(1))
    with SummaryWriter(str(logs / "other")) as writer:
        for tag, content in (("jacobians/8", b'"image" {'), ("jacobians/9", b"\xff\x00")):
            message = Summary()
            value = message.value.add(tag=tag)
            value.metadata.plugin_data.plugin_name, value.metadata.plugin_data.content = "jacobians", content
            value.metadata.data_class = 2
            value.tensor.dtype, value.tensor.tensor_content = 5, b"abc"
            writer.file_writer.add_summary(message, 0)
    (logs / "empty").mkdir()
    (logs / "empty" / "events.out.tfevents.1").write_bytes(b"")
    with tensorboard(logs, tmp_path, "--load_fast=false") as address:
        end = time.monotonic() + 20
        while time.monotonic() < end and len(runs(address)) < 3:
            time.sleep(0.1)
        assert "<img src=x onerror=alert(1)>" in runs(address)
        listed = {run["name"]: run["probes"] for run in json.loads(get(f"{address}{DATA}/probes")[2])["runs"]}
        assert ["error" in probe for probe in listed["other"]] == [False, False, True, False]
        head, maps = course(address, run="cut", tag="jacobians/5", output="logits")
        assert 1 < len(head["steps"]) < 20  # type: ignore[arg-type]
        assert np.isfinite(maps).all()
        status, _, content = get(f"{address}{DATA}/course?run=other&tag={quote('jacobians/8')}&output=logits")
        assert (status, b"cannot be shown" in content) == (422, True)
        assert get(f"{address}/data/environment")[0] == 200


def test_a_strange_output_and_an_unknown_class_of_a_log_break_no_answer(tmp_path: Path) -> None:
    output = 'lo"g\u00e9its; x=1'
    told = summary(
        *(torch.rand(1, 1, 4, 4), {output: torch.rand(1, 3, 4, 4)}, torch.rand(1, 3), {}),
        indices=[0],
        labels=[300],
        class_names=["a", "b", "c"],
    )
    with SummaryWriter(str(tmp_path / "run")) as writer:
        writer.file_writer.add_summary(told, 0)
    events = EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
    events.Reload()
    apps = JacobiansPlugin(TBContext(data_provider=MultiplexerDataProvider(events, str(tmp_path)))).get_plugin_apps()
    asked = {"run": "run", "tag": "jacobians/0", "output": output}
    saved = Client(apps["/matrix"]).get("/", query_string={**asked, "step": "0", "form": "csv"})
    assert saved.status_code == 200
    assert saved.headers["Content-Disposition"] == 'attachment; filename="jacobian_lo_g_its__x_1_sample_0_step_0.csv"'
    content = Client(apps["/course"]).get("/", query_string=asked).data
    assert json.loads(content[4 : 4 + int.from_bytes(content[:4], "little")])["label"] == -1


def test_of_a_long_run_all_steps_are_shown_as_make_board_starts_it(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "logs" / "long")) as writer:
        for step in range(250):
            J = torch.full((1, 2, 1, 3, 3), float(step))
            board.write(writer, step, torch.zeros(1, 1, 3, 3), J, torch.tensor([[0.0, 1.0]]), outputs=["logits"])
    with tensorboard(tmp_path / "logs", tmp_path, "--samples_per_plugin=images=1000,jacobians=1000") as address:
        end, steps = time.monotonic() + 20, 0
        while time.monotonic() < end and steps < 250:
            time.sleep(0.1)
            if runs(address):
                head, maps = course(address, run="long", tag="jacobians/0", output="logits")
                steps = len(head["steps"])  # type: ignore[arg-type]
        assert maps[:, 1, 2, 2].tolist() == list(range(250))


def test_a_folder_without_jacobians_has_a_page_that_is_not_active(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    with tensorboard(tmp_path / "logs", tmp_path) as address:
        assert json.loads(get(f"{address}{DATA}/probes")[2]) == {"runs": []}
        assert json.loads(get(f"{address}/data/plugins_listing")[2])["jacobians"]["enabled"] is False


def test_the_page_has_the_rule_of_the_colours_that_all_pictures_have() -> None:
    script = Path(board.__file__).with_name("static") / "view.js"
    found = re.search(r"const EVEN = (\S+), SMALLEST = (\S+);", script.read_text())
    assert found
    assert (float(found[1]), float(found[2])) == (heatmaps.EVEN, heatmaps.SMALLEST)


def test_tensorboard_loads_neither_torch_nor_matplotlib_for_it() -> None:
    code = (
        "import sys, jacoscope.board.plugin; print([m for m in ('torch', 'matplotlib', 'plotly', 'pytorch_lightning') "
    )
    code += "if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
    assert JacobiansPlugin.plugin_name == "jacobians"
