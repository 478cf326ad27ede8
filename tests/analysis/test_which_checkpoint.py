"""Which checkpoint of a run is analysed: the best one; another one is named, never taken without a word."""

from pathlib import Path

import pytest

from jacoscope.analysis.network import find_checkpoint
from jacoscope.errors import UserError


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    (tmp_path / "result.json").touch()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    return tmp_path / "checkpoints"


def test_last_weights_in_the_place_of_the_best_are_told(checkpoints: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert find_checkpoint(str(checkpoints.parent), "logs").path == checkpoints / "last.ckpt"
    assert f"There is no {checkpoints / 'best.ckpt'}: this is about the last weights" in capsys.readouterr().err
    (checkpoints / "best.ckpt").touch()
    assert find_checkpoint(str(checkpoints.parent), "logs").path == checkpoints / "best.ckpt"
    assert not capsys.readouterr().err


@pytest.mark.parametrize("kind", ["folder", "circle", "link to nowhere"])
def test_what_is_no_file_in_the_place_of_the_best_is_refused(checkpoints: Path, kind: str) -> None:
    best = checkpoints / "best.ckpt"
    if kind == "folder":
        best.mkdir()
    else:
        best.symlink_to("best.ckpt" if kind == "circle" else "nowhere")
    with pytest.raises(UserError, match=r"best\.ckpt is not a checkpoint: .* name another checkpoint of the run"):
        find_checkpoint(str(checkpoints.parent), "logs")
