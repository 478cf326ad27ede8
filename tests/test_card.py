"""What the user's card says is what runs by default: `torch.func.jacrev` plus `vmap`, training and analysing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COUNTING = """
import json, runpy, sys, torch

counts = {"jacrev": 0, "vmap": 0}

def counted(name):
    original = getattr(torch.func, name)

    def call(*args, **kwargs):
        counts[name] += 1
        return original(*args, **kwargs)

    return call

for name in counts:
    setattr(torch.func, name, counted(name))
script, counts_file, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = script
try:
    runpy.run_path(script, run_name="__main__")
finally:
    with open(counts_file, "w") as file:
        json.dump(counts, file)
"""


def counts_of(script: str, folder: Path, *words: str) -> dict[str, int]:
    counts = folder / "counts.json"
    command = [sys.executable, "-c", COUNTING, str(ROOT / script), str(counts), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(counts.read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("card")


def test_a_training_and_an_analysis_go_through_jacrev_and_vmap(folder: Path, data_dir: Path) -> None:
    small = ["trainer.max_epochs=1", "trainer.limit_train_batches=4", "trainer.limit_val_batches=2", "trainer=cpu"]
    small += ["callbacks.jacobian.max_samples=8", "callbacks.jacobian.train_samples=4", f"paths.data_dir={data_dir}"]
    trained = counts_of("train.py", folder, "run_name=card", *small)
    assert trained["jacrev"] >= 2, "validation and training samples"
    assert trained["vmap"] >= trained["jacrev"]
    for words in (["limit=10", "attack=0"], ["sample=3"]):
        analysed = counts_of("analyze.py", folder, *words)
        assert analysed["jacrev"] >= 1
        assert analysed["vmap"] >= analysed["jacrev"]
    (summary,) = folder.rglob("summary.json")
    assert json.loads(summary.read_text())["strategy"] == "vmap-jacrev"
