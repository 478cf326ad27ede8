"""Every launcher runs the same sweep with the same results."""

import os
import re
import shutil
from pathlib import Path

import pytest

from .conftest import Tiny

LAUNCHERS = {
    "basic": ("hydra/launcher=basic",),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "submitit": ("hydra/launcher=submitit",),
    "ray": (
        "hydra/launcher=ray",
        "+hydra.launcher.ray.init.num_cpus=2",
        "+hydra.launcher.ray.init.object_store_memory=80000000",
    ),
}
PLUGINS = {"submitit": "submitit", "ray": "ray"}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_carries_out_a_sweep_and_answers_again(tiny: Tiny, launcher: str) -> None:
    if launcher in PLUGINS:
        pytest.importorskip(PLUGINS[launcher])
    words = ("lr=1e-3,1e-2", "run_name=mine", *LAUNCHERS[launcher])
    told = tiny.sweep(*words)
    assert "2 finished" in told
    results = tiny.results()
    assert [result["metrics"]["norm"] for result in results.values()] == [1.0, 10.0]
    assert sorted(tiny.ledger()) == [f"{job} {epoch}" for job in range(2) for epoch in range(4)]
    assert {path.name for path in tiny.folder.iterdir()} <= {"tiny.py", "configs", "logs", "__pycache__"}
    assert [path.name for path in (tiny.folder / "logs" / "train").iterdir()] == ["sweeps"], "no stray folders"


def test_a_launcher_of_ones_own_is_the_class_and_the_config_that_the_documentation_shows(tiny: Tiny) -> None:
    page = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
    (code,) = re.findall(r"```python\n(# my_launcher.py\n.*?)```", page, re.S)
    (config,) = re.findall(r"```yaml\n(# One run.*?my_launcher.*?)```", page, re.S)
    (tiny.folder / "my_launcher.py").write_text(code)
    (tiny.folder / "configs" / "hydra" / "launcher" / "own.yaml").write_text(config)
    assert "2 finished" in tiny.sweep("lr=1e-3,1e-2", "hydra/launcher=own")
    assert tiny.ledger() == [f"{job} {epoch}" for job in (1, 0) for epoch in range(4)]


def test_jobs_side_by_side_share_the_cores(tiny: Tiny) -> None:
    environment = os.environ.pop("OMP_NUM_THREADS", None)
    try:
        tiny.sweep("lr=1e-3,1e-2", "hydra.launcher.n_jobs=2")
    finally:
        if environment is not None:
            os.environ["OMP_NUM_THREADS"] = environment
    fair = max(1, len(os.sched_getaffinity(0)) // 2)
    for job in range(2):
        assert f"on {fair} threads" in (Path(tiny.path()) / str(job) / "output.log").read_text()


def test_a_launcher_that_does_not_work_here_is_told_in_a_message(tiny: Tiny) -> None:
    pytest.importorskip("submitit")
    if shutil.which("srun"):
        pytest.skip("needs a machine without SLURM")
    told = tiny.sweep("lr=1e-3,1e-2", "hydra/launcher=slurm", status=1)
    assert 'hydra/launcher=slurm does not work here: Could not detect "srun"' in told
    assert "Traceback" not in told
