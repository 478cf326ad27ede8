"""Two processes log what one does: once, from all samples, each counted once though the sampler pads."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import json, sys, warnings
from pathlib import Path
sys.path.insert(0, {tests!r})
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(1)
from callbacks.someone import Someone, events, train
from jacoscope.callbacks import JacobianCallback

class Still(Someone):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)

    def on_fit_start(self):
        self.net[1].momentum = 0.0  # statistics of other batches would be another model

torch.manual_seed(0)  # for the weights that the module is made with
folder, devices = Path(sys.argv[1]), int(sys.argv[2])
strategy = {{"strategy": "ddp", "devices": devices}} if devices > 1 else {{"devices": 1}}
callback = JacobianCallback(max_samples=int(sys.argv[3]), train_samples=0)
train(folder, [callback], module=Still(), epochs=1, **strategy)
"""


def run(folder: Path, processes: int, max_samples: int) -> dict[str, float]:
    script = folder / "script.py"
    script.write_text(_SCRIPT.format(tests=str(Path(__file__).parents[1])))
    logs = folder / f"{processes}"
    subprocess.run(
        [sys.executable, str(script), str(logs), str(processes), str(max_samples)],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    from .someone import events

    assert len(list(logs.rglob("events*"))) == 1, "only one process writes"
    logged = events(logs)
    scalars = {tag: logged.Scalars(tag) for tag in logged.Tags()["scalars"] if tag.startswith("jacobian")}
    assert all(len(points) == 1 for points in scalars.values()), json.dumps(list(scalars))
    return {tag: points[0].value for tag, points in scalars.items() if "seconds" not in tag and "share" not in tag}


@pytest.mark.parametrize("max_samples", [30, 1000])
def test_two_processes_log_what_one_does(tmp_path: Path, max_samples: int) -> None:
    alone, together = run(tmp_path, 1, max_samples), run(tmp_path, 2, max_samples)
    assert together.keys() == alone.keys()
    for tag, value in alone.items():
        assert together[tag] == pytest.approx(value, rel=1e-4, abs=1e-6), tag
