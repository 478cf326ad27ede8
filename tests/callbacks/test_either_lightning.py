"""The callbacks do the same with `pytorch_lightning` and with `lightning.pytorch`, each where the other is missing."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

TRAINING = Path(__file__).with_name("train_with.py")
PACKAGES = ("pytorch_lightning", "lightning.pytorch")


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each of the installed packages logs, by package."""
    found = {}
    for package in PACKAGES:
        if find_spec(package.partition(".")[0]) is None:
            continue
        folder = tmp_path_factory.mktemp("training")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_SILENT": "true", "WANDB_MODE": "offline"}
        command = [sys.executable, "-W", "always", str(TRAINING), package, *set(PACKAGES) - {package}, str(folder)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        found[package] = {"said": done.stderr, **json.loads(done.stdout.splitlines()[-1])}
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_every_logger_gets_all_it_can_take(package: str, logged: dict[str, Any]) -> None:
    if package not in logged:
        pytest.skip(f"{package} is not installed: pip install jacoscope[lightning]")
    found = logged[package]
    for kind in ("scalars", "images", "histograms", "texts", "layouts", "hparams"):
        assert found["tensorboard"][kind] > 0, kind
    assert found["csv"] > 100
    assert found["mlflow"] is None or all(found["mlflow"].values())
    assert found["wandb"] is None or all(found["wandb"].values())
    assert found["said"].count("CSVLogger takes no pictures") == 1
    assert found["is_callback"], "isinstance(JacobianCallback(), Callback) of the package that trains"


def test_both_packages_log_the_same(logged: dict[str, Any]) -> None:
    if len(logged) < 2:
        pytest.skip("needs both packages: pip install jacoscope[lightning]")
    one, other = logged.values()
    assert one["tensorboard"] == other["tensorboard"]
    assert one["norms"] == other["norms"]
