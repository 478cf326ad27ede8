"""Several processes that train together, started by Lightning and by torchrun, in single runs and in sweeps."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lightning_fabric.strategies.launchers.subprocess_script import _ChildProcessObserver

from jacoscope.runs.directory import RunDirectory
from jacoscope.runs.processes import on_forced_end, print_unbuffered
from jacoscope.runs.result import Result

from .commands import ROOT, run
from .records import metrics
from .tiny import write

COMMON = (
    "data=fashion_mnist",
    "paths.data_dir=data",
    "data.val_size=64",
    "data.eval_batch_size=8",
    "augmentation=none",
    "callbacks=no_jacobian",
    "optimizer=sgd",
    "trainer.log_every_n_steps=4",
)
PENALISED = ("penalty=jacobian", "penalty.weight=0.01")
TOGETHER = 32  # samples in a batch of all processes
PYTHON = [sys.executable]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node={processes}"]


def started(by: list[str], folder: Path, processes: int, *words: str) -> "subprocess.Popen[str]":
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={processes}"]
    return subprocess.Popen(
        [
            *(word.format(processes=processes) for word in by),
            *(str(ROOT / "train.py"), *COMMON, *ddp, f"data.batch_size={TOGETHER // processes}", *words),
        ],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distributed")
    write(folder, train=320)  # 256 to train on: both processes get as many
    return folder


@pytest.fixture(scope="module")
def of_one_process(shared: Path) -> dict[str, float]:
    words = (*PENALISED, "trainer=cpu", f"data.batch_size={TOGETHER}", "trainer.max_epochs=2", "run_name=one")
    alone = run(shared, "train.py", *COMMON, *words)
    assert alone.process.exitcode == 0, alone.told
    return metrics(shared / "logs" / "train" / "runs" / "one")


def test_four_processes_measure_what_one_does_on_the_same_batches(
    shared: Path, of_one_process: dict[str, float]
) -> None:
    process = started(TORCHRUN, shared, 4, *PENALISED, "trainer.max_epochs=2", "run_name=four")
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert_alike(metrics(shared / "logs" / "train" / "runs" / "four"), of_one_process)


def assert_alike(of_many: dict[str, float], of_one_process: dict[str, float]) -> None:
    estimate = of_many.pop("test/penalty")  # by other directions, since its batches are others
    assert of_many == pytest.approx({name: of_one_process[name] for name in of_many}, rel=1e-4)
    assert estimate == pytest.approx(of_one_process["test/penalty"], rel=0.5)
    assert of_many.keys() | {"test/penalty"} == of_one_process.keys()


def test_where_the_first_is_killed_before_they_have_met_the_second_does_not_wait_for_it(shared: Path) -> None:
    process = started(PYTHON, shared, 2, "run_name=early")
    deadline = time.monotonic() + 600
    while "1" not in ranks("early").values():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.communicate(timeout=60)  # both write there
    assert not ranks("early")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGKILL, "failed"), (signal.SIGTERM, "interrupted"), (signal.SIGHUP, "interrupted")]
)
def test_the_watch_that_ends_the_first_says_and_records_why(
    number: signal.Signals,
    status: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_ChildProcessObserver, "_terminate_all", lambda _: None)
    caplog.set_level(logging.INFO, "lightning_fabric")
    recorded = RunDirectory(tmp_path).recording({"seed": 0}, None)
    with (
        subprocess.Popen(["sleep", "60"]) as second,
        on_forced_end(lambda reason, _: print_unbuffered(reason)),
        recorded,
    ):
        watch = _ChildProcessObserver(os.getpid(), [second])
        assert not watch._run()
        second.send_signal(number)
        second.wait()
        assert capfd.readouterr().err == ""
        watch._run()  # it would end this process here
        result = Result.read(RunDirectory(tmp_path).result_file)
    expected = f"Another process of this run has ended, or cannot be reached: it left with status {-number}\n"
    assert expected in capfd.readouterr().err
    assert result.status == status
    assert (result.error or "").startswith(expected if status == "failed" else "")
    assert (result.error is None) == (status == "interrupted")


def test_a_killed_process_of_a_run_ends_it_within_a_minute_and_leaves_the_other_runs_of_its_sweep_alone(
    shared: Path, of_one_process: dict[str, float]
) -> None:
    sweep = shared / "logs" / "train" / "sweeps" / "swept"
    words = ("-m", "trainer.max_epochs=10000,2", "hydra/launcher=basic", "run_name=swept")  # one after the other
    process = started(TORCHRUN, shared, 2, *PENALISED, *words)
    kill_the_second(process, "swept-0", sweep / "0")
    deadline = time.monotonic() + 60
    while ranks("swept-0"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    told, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "1 of 2 runs failed: 0" in told
    assert "Another process of this run has ended" in told
    assert_alike(metrics(sweep / "1"), of_one_process)
    assert list((sweep / "1").glob("*process_1.log")), "the second process was there"
    assert {path.name for path in sweep.iterdir() if path.is_dir()} == {"0", "1"}
    assert list(sweep.parent.iterdir()) == [sweep]
    deadline = time.monotonic() + 60
    while any(ranks(name) for name in ("swept", "swept-0", "swept-1")):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def kill_the_second(process: "subprocess.Popen[str]", name: str, folder: Path) -> None:
    """Wait until a run is training, and kill its second process."""
    deadline = time.monotonic() + 600
    try:
        while not (folder / "checkpoints" / "last.ckpt").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        victim = next(pid for pid, rank in ranks(name).items() if rank == "1")
    except BaseException:
        process.kill()  # it would train for hours
        raise
    os.kill(victim, signal.SIGKILL)


def ranks(name: str) -> dict[int, str]:
    """Return the processes of a run, each with its rank (of the first of Lightning's, none)."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            variables = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
            alive = (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            continue
        if f"run_name={name}" in words and alive:
            values = dict(variable.partition("=")[::2] for variable in variables)
            found[int(folder.name)] = values.get("LOCAL_RANK", "")
    return found
