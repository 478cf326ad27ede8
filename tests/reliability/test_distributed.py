"""Two processes that train together, as Lightning and as torchrun start them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
TWO = ("trainer=ddp", "trainer.accelerator=cpu", "data.batch_size=16")
STARTERS = {
    "lightning": [sys.executable],
    "torchrun": [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"],
}


def started(folder: Path, starter: str, *words: str) -> "subprocess.Popen[str]":
    command = [*STARTERS[starter], str(ROOT / "train.py"), *COMMON, *TWO, *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distributed")
    write(folder, train=320)  # 256 to train on: both processes get as many
    return folder


@pytest.mark.parametrize("starter", STARTERS)
def test_two_processes_measure_what_one_does_on_the_same_batches(shared: Path, starter: str) -> None:
    runs = shared / "logs" / "train" / "runs"
    if not (runs / "one").exists():
        alone = run(
            shared, "train.py", *COMMON, "trainer=cpu", "data.batch_size=32", "trainer.max_epochs=2", "run_name=one"
        )
        assert alone.process.exitcode == 0, alone.told
    process = started(shared, starter, "trainer.max_epochs=2", f"run_name={starter}")
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert metrics(runs / starter) == pytest.approx(metrics(runs / "one"), rel=1e-4)


@pytest.mark.parametrize("starter", STARTERS)
def test_a_killed_process_ends_the_others_within_a_minute(shared: Path, starter: str) -> None:
    name = f"killed_{starter}"
    process = started(shared, starter, "trainer.max_epochs=10000", f"run_name={name}")
    last = shared / "logs" / "train" / "runs" / name / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 200
    while not last.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    processes = ranks(name)
    victim = next(pid for pid, rank in processes.items() if rank == "1")
    os.kill(victim, signal.SIGKILL)
    told, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert {"lightning": "Another process of this run has ended", "torchrun": str(victim)}[starter] in told
    assert not ranks(name)


def ranks(name: str) -> dict[int, str]:
    """Give the processes of a run, each with its rank (of the first of Lightning's, none)."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            variables = (folder / "environ").read_bytes().decode().split("\0")
            alive = (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            continue
        if f"run_name={name}" in words and alive:
            values = dict(variable.partition("=")[::2] for variable in variables)
            found[int(folder.name)] = values.get("LOCAL_RANK", "")
    return found
