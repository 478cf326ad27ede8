"""A folder `configs` where a command is typed is read before jacoscope's own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def composed(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "train.py"), "--cfg", "job", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_a_file_of_the_same_name_replaces_and_a_new_one_is_a_new_choice(tmp_path: Path) -> None:
    group = tmp_path / "configs" / "model"
    group.mkdir(parents=True)
    (group / "mlp.yaml").write_text("_target_: torch.nn.Flatten\n")
    (group / "mine.yaml").write_text("_target_: torch.nn.Identity\n")
    assert "torch.nn.Flatten" in composed(tmp_path, "model=mlp").stdout
    assert "torch.nn.Identity" in composed(tmp_path, "model=mine").stdout
    assert "jacoscope.models.LeNet5" in composed(tmp_path, "model=lenet5").stdout


def test_a_config_that_cannot_be_composed_names_the_folder_that_was_read_first(tmp_path: Path) -> None:
    """As in the folder of another Hydra project, whose train.yaml names groups that jacoscope has not."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.yaml").write_text("defaults:\n  - _self_\n  - strategy: ddp\n")
    done = composed(tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path / 'configs'} is read before jacoscope's own configs" in done.stderr
    assert "Traceback" not in done.stderr
