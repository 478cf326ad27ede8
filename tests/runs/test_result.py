import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning.utilities.exceptions import SIGTERMException

from jacoscope.errors import UserError
from jacoscope.files import write_whole
from jacoscope.runs.directory import RunDirectory, latest_run
from jacoscope.runs.result import Result, differences

CONFIG = {"seed": 1, "run_name": "a", "optimizer": {"lr": 0.1}, "paths": {"output_dir": "x"}}


def result(**changed: object) -> Result:
    return Result(
        **{"status": "finished", "config": CONFIG, "seed": 1, "started": "2026-01-01T00:00:00+00:00", **changed}
    )  # type: ignore[arg-type]


metrics = st.dictionaries(st.text(min_size=1), st.floats(allow_nan=False, allow_infinity=False))


@given(metrics=metrics)
def test_is_read_back_as_it_was_written(metrics: dict[str, float], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("run") / "result.json"
    written = result(metrics=metrics)
    written.write(path)
    assert Result.read(path) == written


def test_is_json_that_any_tool_reads_even_with_metrics_that_are_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    result(metrics={"a": math.nan, "b": math.inf, "c": 1.0}).write(path)
    assert json.loads(path.read_text(), parse_constant=pytest.fail)["metrics"] == {"a": None, "b": None, "c": 1.0}
    assert math.isnan(Result.read(path).metrics["a"])


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"metrics": 1}', '{"metrics": {}, "strange": 1}', "\x00"])
def test_what_is_not_a_record_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"result\.json is not the record of a run"):
        Result.read(path)


def test_names_every_difference_of_config_but_not_where_the_run_lies() -> None:
    other = {"seed": 2, "run_name": "b", "optimizer": {"lr": 0.1, "eps": 0}, "paths": {"output_dir": "y"}}
    assert differences(CONFIG, CONFIG) == []
    assert differences(CONFIG, other) == ["optimizer.eps: absent then, 0 now", "seed: 1 then, 2 now"]


def test_a_run_may_be_moved() -> None:
    def at(folder: str, data: str) -> dict[str, Any]:
        paths = {"output_dir": f"{folder}/run", "data_dir": data}
        return {"paths": paths, "dirpath": f"{folder}/run/checkpoints", "root": data, "near": f"{folder}/running"}

    assert differences(at("/a", "data"), at("/a", "/elsewhere/data")) == []
    assert differences(at("/a", "data"), at("/b", "data")) == ["near: /a/running then, /b/running now"]


def interrupted_by_lightning() -> BaseException:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        try:
            sys.exit(1)
        except SystemExit as stop:
            return stop


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (None, "finished"),
        (KeyboardInterrupt(), "interrupted"),
        (interrupted_by_lightning(), "interrupted"),
        (OSError("disk"), "failed"),
    ],
)
def test_records_what_became_of_a_run(tmp_path: Path, raised: BaseException | None, status: str) -> None:
    run = RunDirectory(tmp_path)

    def body() -> None:
        with run.recording(CONFIG, None) as record:
            assert Result.read(run.result_file).status == "running"
            record.metrics["val/loss"] = 0.5
            if raised is not None:
                raise raised

    if raised is None:
        body()
    else:
        with pytest.raises(OSError if status == "failed" else KeyboardInterrupt):
            body()
    recorded = Result.read(run.result_file)
    assert recorded.status == status
    assert recorded.metrics == {"val/loss": 0.5}
    assert recorded.error == ("OSError: disk" if status == "failed" else None)


@pytest.mark.parametrize(
    ("raised", "status"), [(SystemExit(143), 143), (SIGTERMException(), 143), (SystemExit(128 + signal.SIGHUP), 129)]
)
def test_a_run_that_is_terminated_leaves_with_that_status_and_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], raised: BaseException, status: int
) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(SystemExit) as left, run.recording(CONFIG, None):
        raise raised
    assert left.value.code == status
    assert "run_name=a resumes" in capsys.readouterr().err
    assert Result.read(run.result_file).status == "interrupted"


@pytest.mark.parametrize(("code", "status"), [(3, 3), ("no GPU", "no GPU"), (0, 1), (None, 1)])
def test_a_model_that_calls_sys_exit_has_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int | str | None, status: int | str
) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(SystemExit) as left, run.recording(CONFIG, None):
        sys.exit(code)
    assert left.value.code == status
    recorded = Result.read(run.result_file)
    assert (recorded.status, recorded.error) == ("failed", f"sys.exit({code!r}) was called")
    assert "The run has failed: sys.exit" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_or_sigterm_interrupts_a_run_before_and_after_its_training(
    number: signal.Signals, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path)
    before = signal.signal(number, signal.SIG_DFL)

    def raise_twice() -> None:
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)  # a second one does not stop what the first one began

    try:
        with pytest.raises(SystemExit) as left, run.recording(CONFIG, None):
            raise_twice()
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert left.value.code == 128 + number
    assert Result.read(run.result_file).status == "interrupted"


def test_a_run_that_failed_before_its_first_checkpoint_may_be_corrected(tmp_path: Path) -> None:
    run, other = RunDirectory(tmp_path), {**CONFIG, "optimizer": {"lr": 0.2}}
    result(status="failed").write(run.result_file)
    assert run.recorded_result(other) is None
    run.last_checkpoint.parent.mkdir()
    run.last_checkpoint.touch()
    with pytest.raises(UserError, match="another configuration"):
        run.recorded_result(other)


def test_going_on_keeps_the_start_and_adds_up_the_time(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with run.recording(CONFIG, result(status="interrupted", wall_seconds=100.0)):
        pass
    recorded = Result.read(run.result_file)
    assert recorded.started == "2026-01-01T00:00:00+00:00"
    assert recorded.wall_seconds >= 100


def test_an_earlier_run_with_another_config_is_not_gone_on_with(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.recorded_result(CONFIG) is None
    result().write(run.result_file)
    assert run.recorded_result(CONFIG) == result()
    with pytest.raises(UserError, match=r"(?s)another configuration.*optimizer\.lr: 0\.1 then, 0\.2 now"):
        run.recorded_result({**CONFIG, "optimizer": {"lr": 0.2}})


def test_the_latest_run_is_the_finished_one_that_started_last(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"python train\.py"):
        latest_run(tmp_path)
    for name, started, status in (
        ("runs/b", "2026-01-02T00:00:00+00:00", "finished"),
        ("sweeps/x/0", "2026-01-02T00:30:00+01:00", "finished"),  # earlier, though its clock reads later
        ("runs/c", "2026-01-03T00:00:00+00:00", "failed"),
    ):
        result(started=started, status=status).write(tmp_path / "train" / name / "result.json")
    assert latest_run(tmp_path).path == tmp_path / "train" / "runs" / "b"


def test_a_file_is_written_whole_or_the_old_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "file"
    write_whole(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="No space left on device"):
            write_whole(path, b"new, and longer")
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("/proc/x", r"No such file or directory\. Choose a folder that you may write to"),
        ("/dev/null/x", r"Not a directory\. Choose a folder that you may write to"),
        ("/dev/full", r"Choose a folder that you may write to"),
    ],
)
def test_where_no_folder_can_be_made_another_is_asked_for_not_space(place: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        write_whole(Path(place) / "file", b"content")
