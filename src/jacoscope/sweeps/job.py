"""One job of a sweep, in the process that runs it: its output, its GPU, and its record if it fails."""

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from jacoscope.errors import UserError
from jacoscope.runs.directory import RunDirectory
from jacoscope.runs.keys import quoted
from jacoscope.runs.lock import take_lock
from jacoscope.runs.processes import DISTRIBUTED, SWEEP_PROCESS, end_with_parent
from jacoscope.runs.result import Result, now
from jacoscope.signals import TERMINATED
from jacoscope.sweeps.directory import LOG, result_of


def run_job(task: Callable[[DictConfig], Any], cfg: DictConfig, script: Path) -> Any:
    """Run one job. Its output goes to ``output.log`` in its run directory, a failure into its record.

    If the job trains in several processes, ``script``, which defines ``task``, is started as one, and None is returned.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    before = result_of(folder)
    end_with_parent()
    with output_to(folder / LOG):
        try:
            RunDirectory(folder).write_config(cfg)
            if _needs_processes(cfg):
                return _run_script(script, folder)
            choose_gpu(cfg, folder.parent)
            return _without_exit(task, cfg)
        except Exception as error:
            with suppress(OSError):  # the disk is full
                traceback.print_exc()
            after = result_of(folder)
            if after is None or after.status != "failed" or after == before:  # the task has not recorded it
                _record_failure(folder, cfg, error)
            raise
        finally:
            if wandb := sys.modules.get("wandb"):  # it logs all of a process into one run, also the next job
                wandb.finish()


def _without_exit(task: Callable[[DictConfig], Any], cfg: DictConfig) -> Any:
    """Run a task. Raise UserError if it exits, which would end the other jobs of this process, or of its launcher, too.

    If the process of the sweep itself was terminated, it exits.
    """
    try:
        return task(cfg)
    except SystemExit as stop:
        if stop.code not in TERMINATED:
            raise UserError(f"sys.exit({stop.code!r}) was called") from stop
        if os.environ.get(SWEEP_PROCESS) == str(os.getpid()):
            raise
        raise UserError("The process of this run was terminated") from stop


@contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Send everything that this process and its libraries print to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    path.touch()  # its time of change shows that the job has begun, even if nothing is printed
    with path.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number, (stream, descriptor) in enumerate(zip((sys.stdout, sys.stderr), kept, strict=True), start=1):
            try:
                stream.flush()
            except OSError:  # the disk is full: what is left in the buffer goes nowhere
                os.dup2(nowhere, number)
                stream.flush()
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(nowhere)


def _needs_processes(cfg: DictConfig) -> bool:
    devices, nodes = (OmegaConf.select(cfg, f"trainer.{key}", default=1) for key in ("devices", "num_nodes"))
    return str(OmegaConf.select(cfg, "trainer.strategy", default="auto")) not in ("auto", "None") and (
        (str(devices), str(nodes)) != ("1", "1")
    )


def _run_script(script: Path, folder: Path) -> None:
    """Run the job as a single run of the script.

    Lightning starts the other processes of a training with the command line of the first. Here that is the command
    line of the sweep, which would start the whole sweep again.
    """
    words: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    environment = {k: v for k, v in os.environ.items() if k not in DISTRIBUTED} | {SWEEP_PROCESS: str(os.getpid())}
    command = [sys.executable, str(script), *words, f"hydra.run.dir={quoted(str(folder))}"]
    process = subprocess.Popen(command, env=environment)
    try:
        status = process.wait()
    finally:
        process.kill()
    if status != 0:
        raise UserError(f"The processes of this run ended with status {status}; see {folder / LOG}")


def _record_failure(path: Path, cfg: DictConfig, error: Exception) -> None:
    """Record a run that failed before its own record was begun, or that was killed before it could write it."""
    result = result_of(path)
    if result is None:
        if RunDirectory(path).has_checkpoints:  # a record must not say that they were trained with this config
            return
        try:
            config = OmegaConf.to_container(cfg, resolve=True)
        except Exception:  # this may be the very mistake that the job failed by
            config = OmegaConf.to_container(cfg, resolve=False)
        config = json.loads(json.dumps(config), parse_constant=str)  # JSON has no NaN or infinity
        seed = config.get("seed")
        result = Result("failed", config, seed if isinstance(seed, int) else 0, started=now())
    result.status, result.error = "failed", f"{type(error).__name__}: {error}"
    result.write(path / "result.json")


_kept_open: list[IO[str]] = []  # files that stay open, and therefore locked, as long as this process lives


def choose_gpu(cfg: DictConfig, sweep: Path) -> None:
    """Make one GPU alone visible to this process, if its run needs one, so that runs do not all use the first.

    The n-th process of a sweep gets the n-th GPU, and after the last GPU the first again. ``CUDA_VISIBLE_DEVICES``
    says which GPUs there are; without it torch counts them, without starting CUDA. A process keeps its GPU for all
    its runs, since CUDA reads the variable only once.
    """
    accelerator, devices = (str(OmegaConf.select(cfg, f"trainer.{key}")) for key in ("accelerator", "devices"))
    if accelerator in ("auto", "gpu", "cuda") and devices == "1":
        _choose_gpu_once(sweep)


@cache
def _choose_gpu_once(sweep: Path) -> None:
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count())))).split(",")
    if len(visible) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[take_number(sweep) % len(visible)]


def take_number(folder: Path) -> int:
    """Return the lowest number that no other living process has taken in ``folder``, and keep it from now on."""
    number = 0
    while True:
        file = (folder / f".place-{number}").open("a")
        if take_lock(file.fileno()):
            _kept_open.append(file)
            return number
        file.close()
        number += 1
