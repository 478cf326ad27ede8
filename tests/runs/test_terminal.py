"""The commands that a training ends with."""

from pathlib import Path

import pytest

from jacoscope.runs.directory import RunDirectory
from jacoscope.runs.result import Result
from jacoscope.runs.terminal import show_summary


def test_they_fit_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {"model": {"_target_": "my_file.Net"}, "data": {"_target_": "jacoscope.data.ImageDataModule"}}
    result = Result("finished", config, 0, started="2026-11-23T12:00:00+00:00")
    show_summary(RunDirectory(tmp_path), result)
    told = capsys.readouterr().out
    assert f"analyze.py 'checkpoint='\"'\"'{tmp_path}" in told or f"analyze.py checkpoint={tmp_path}" in told
    assert "'trust=[my_file]'" in told, "of a network of one's own"
    assert "tensorboard" not in told, "where nothing was logged for it"
    (tmp_path / "tensorboard").mkdir()
    config["model"]["_target_"] = "jacoscope.models.LeNet5"
    show_summary(RunDirectory(tmp_path), result)
    told = capsys.readouterr().out
    assert "tensorboard --logdir" in told
    assert "trust" not in told
