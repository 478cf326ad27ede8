"""Whatever happens to a sweep, the same command completes it with the same results."""

import os
import random
import signal
import time
from collections import Counter

import pytest

from .conftest import Tiny

GRID = ("lr=1e-3,1e-2,1e-1", "seed=0,1,2,3")


def test_a_sweep_killed_three_times_ends_as_one_left_alone(
    tiny: Tiny, tmp_path_factory: pytest.TempPathFactory
) -> None:
    words = (*GRID, "seconds=0.15", "hydra.launcher.n_jobs=2")
    random.seed(6)
    for _ in range(3):
        process = tiny.start(*words)
        ledgers = len(list(tiny.folder.rglob("ledger")) and tiny.ledger())
        deadline = time.monotonic() + 400
        while not (list(tiny.folder.rglob("ledger")) and len(tiny.ledger()) > ledgers):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(random.uniform(0, 0.8))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    tiny.sweep(*words)

    alone = Tiny(tmp_path_factory.mktemp("alone"))
    alone.sweep(*GRID, "hydra.launcher.n_jobs=2", "seconds=0", "run_name=alone")
    disturbed, undisturbed = tiny.results(), alone.results()
    assert list(disturbed) == list(undisturbed) == [str(number) for number in range(12)]
    for number, result in disturbed.items():
        assert result["status"] == "finished"
        assert result["metrics"] == undisturbed[number]["metrics"]
        assert all(result["config"][key] == undisturbed[number]["config"][key] for key in ("lr", "seed"))
    # A kill may fall between an epoch and its checkpoint: at most so many epochs were done twice, and none was lost.
    times = Counter(tiny.ledger())
    assert len(times) == 12 * 4
    assert sum(times.values()) <= 12 * 4 + 3 * 2


def test_finished_runs_answer_at_once_and_nothing_is_written(tiny: Tiny) -> None:
    words = ("lr=1e-3,1e-2", "hydra/launcher=basic")
    tiny.sweep(*words)
    before = {file: file.read_bytes() for file in tiny.path().rglob("*") if file.is_file() and "sweep" not in file.name}
    tiny.sweep(*words)
    after = {file: file.read_bytes() for file in tiny.path().rglob("*") if file.is_file() and "sweep" not in file.name}
    before.pop(tiny.path() / ".lock")
    after.pop(tiny.path() / ".lock")
    assert after == before


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_failing_run_fails_alone_and_runs_again(tiny: Tiny, launcher: str) -> None:
    words = ("model=good,faulty", "seed=0,1", f"hydra/launcher={launcher}")
    told = tiny.sweep(*words, status=1)
    assert "2 of 4 runs failed: 2, 3" in told
    assert {n: r["status"] for n, r in tiny.results().items()} == {
        "0": "finished", "1": "finished", "2": "failed", "3": "failed",
    }  # fmt: skip
    assert "this model is faulty" in (tiny.path() / "2" / "output.log").read_text()
    (tiny.folder / "mended").touch()
    tiny.sweep(*words)
    assert all(result["status"] == "finished" for result in tiny.results().values())
    assert Counter(tiny.ledger()) == {f"{job} {epoch}": 1 for job in range(4) for epoch in range(4)}


@pytest.mark.parametrize("seconds", [0, 0.3])
def test_a_worker_that_is_killed_takes_no_other_run_with_it(tiny: Tiny, seconds: float) -> None:
    words = ("model=good,deadly", "seed=0,1,2", "hydra.launcher.n_jobs=2", f"seconds={seconds}")
    told = tiny.sweep(*words, status=1)
    assert "3 of 6 runs failed: 3, 4, 5" in told
    assert [r["status"] for r in tiny.results().values()][:3] == ["finished"] * 3
    (tiny.folder / "mended").touch()
    tiny.sweep(*words)
    times = Counter(tiny.ledger())
    assert set(times) == {f"{job} {epoch}" for job in range(6) for epoch in range(4)}
    assert sum(times.values()) <= 6 * 4 + 9, "a neighbour may be ended between an epoch and its checkpoint"


def test_a_changed_configuration_is_refused_with_what_differs(tiny: Tiny) -> None:
    tiny.sweep("lr=1e-3,1e-2", "hydra/launcher=basic", "run_name=mine")
    told = tiny.sweep("lr=1e-3,1e-1", "hydra/launcher=basic", "run_name=mine", status=1)
    assert "lr=1e-3,1e-2: in the earlier command only" in told
    assert "lr=1e-3,1e-1: in this command only" in told
    assert "run_name=A_NEW_NAME" in told
    config = tiny.folder / "configs" / "train.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 5"))
    told = tiny.sweep("lr=1e-3,1e-2", "hydra/launcher=basic", "run_name=mine", status=1)
    assert "run 0: seed: 0 then, 5 now" in told
    assert "Traceback" not in told
    assert len(tiny.ledger("mine")) == 8


def test_a_sweep_may_be_called_anything_and_leave_keys_out(tiny: Tiny) -> None:
    name = "wei rd [x], ä=q#"
    tiny.sweep("hydra/launcher=basic", f"++run_name='{name}'", "seed=0,1", "~note")
    assert tiny.path("wei*").name == name
    results = tiny.results("wei*")
    assert [result["status"] for result in results.values()] == ["finished", "finished"]
    assert all("note" not in result["config"] for result in results.values())


def test_a_run_that_fails_before_its_record_is_told_with_the_reason(tiny: Tiny) -> None:
    told = tiny.sweep("hydra/launcher=basic", "seed=0,x", "seconds=nan", status=1)
    assert "run 0 failed" in told
    assert "run 1 failed" in told


def test_a_sweep_may_be_moved_and_renamed(tiny: Tiny) -> None:
    words = ("lr=1e-3,1e-2", "hydra/launcher=basic")
    tiny.sweep(*words, "run_name=mine")
    tiny.path("mine").rename(tiny.folder / "logs" / "train" / "sweeps" / "yours")
    tiny.sweep(*words, "run_name=yours")
    assert len(tiny.ledger("yours")) == 8


def test_a_sweep_is_carried_out_by_one_process_at_a_time(tiny: Tiny) -> None:
    words = ("lr=1e-3,1e-2", "seconds=100", "hydra/launcher=basic", "run_name=mine")
    first = tiny.start(*words)
    while not list(tiny.folder.rglob("result.json")):
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    told = tiny.sweep(*words, status=1)
    assert "is being worked on by process" in told
    first.kill()
    first.communicate()


def test_a_kill_while_hydra_writes_a_config_does_not_end_the_sweep(tiny: Tiny) -> None:
    words = ("lr=1e-3,1e-2", "hydra/launcher=basic", "run_name=mine")
    tiny.sweep(*words)
    for file, left in zip(sorted(tiny.path().rglob("config.yaml")), ("", "lr: ["), strict=True):
        file.write_text(left)
    assert "2 finished" in tiny.sweep(*words)


def test_checkpoints_of_unknown_or_other_settings_are_refused(tiny: Tiny) -> None:
    words = ("lr=1e-3,1e-2", "hydra/launcher=basic", "run_name=mine")
    tiny.sweep(*words)
    run = tiny.path() / "0"
    (run / "result.json").unlink()
    checkpoint = run / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(exist_ok=True)
    checkpoint.touch()
    (run / ".hydra" / "config.yaml").unlink()
    told = tiny.sweep(*words, status=1)
    assert "run 0: its checkpoints are there, but neither result.json nor" in told
    assert not (run / "result.json").exists()
    (run / ".hydra" / "config.yaml").write_text("lr: 5")
    assert "run 0: lr: 5 then, 0.001 now" in tiny.sweep(*words, status=1)
    assert not (run / "result.json").exists()


def test_however_often_ctrl_c_is_pressed_it_stops_at_once_and_leaves_no_process(tiny: Tiny) -> None:
    words = ("lr=1e-3,1e-2,1e-1", "seconds=30", "hydra.launcher.n_jobs=2", "run_name=mine")
    process = tiny.start(*words, start_new_session=True)
    while len(list(tiny.folder.rglob("result.json"))) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    for _ in range(3):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.3)
    _, err = process.communicate(timeout=60)  # returns when the last of the group lets go of its output
    assert process.returncode == 130
    assert "Stopped, with 0 of 3 runs done. The same command continues" in err
    assert "Traceback" not in err
    assert len(tiny.ledger("mine") if list(tiny.folder.rglob("ledger")) else []) <= 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_sweep_that_is_terminated_says_how_to_go_on(tiny: Tiny, launcher: str, number: signal.Signals) -> None:
    words = ("lr=1e-3,1e-2", "seconds=30", f"hydra/launcher={launcher}", "run_name=mine")
    process = tiny.start(*words)
    while not list(tiny.folder.rglob("result.json")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Stopped, with 0 of 2 runs done. The same command continues" in err
    assert "Traceback" not in err


def test_two_processes_never_work_on_one_run(tiny: Tiny) -> None:
    """A worker of a sweep that was killed, and one of the next start: the second waits, and finds the run done."""
    words = ("seconds=0.4", "run_name=mine", "hydra/launcher=basic", "lr=1e-2,1e-1")
    first = tiny.start(*words)
    run = tiny.folder / "logs" / "train" / "sweeps" / "mine" / "0"
    while not (run / "result.json").exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    import subprocess
    import sys

    single = [sys.executable, "tiny.py", "lr=1e-2", "seconds=0.4", f"hydra.run.dir={run}"]
    subprocess.run(single, cwd=tiny.folder, check=True, timeout=60, capture_output=True)
    assert first.wait(timeout=60) == 0
    first.communicate()
    assert Counter(tiny.ledger("mine")) == {f"{job} {epoch}": 1 for job in range(2) for epoch in range(4)}
