"""What surrounds one job of a sweep, in the process that carries it out."""

import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from jacoscope.errors import UserError
from jacoscope.runs.keys import quoted
from jacoscope.runs.processes import SWEEP_PROCESS, end_with_parent
from jacoscope.sweeps.directory import LOG, record_failure, result_of
from jacoscope.sweeps.gpus import spread_over_gpus

DISTRIBUTED = ("LOCAL_RANK", "NODE_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED")


def run_job(task: Callable[[DictConfig], Any], cfg: DictConfig, script: Path) -> Any:
    """Carry out one job: its output goes to ``output.log`` in its directory, a failure into its record.

    Args:
        task: takes the config, gives what is optimised.
        cfg: the composed config of the job.
        script: the file that defines ``task``, to be started for jobs that need several processes.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    before = result_of(folder)
    end_with_parent()
    with output_to(folder / LOG):
        try:
            if _needs_processes(cfg):
                return _in_own_process(script, folder)
            spread_over_gpus(cfg, folder.parent)
            return task(cfg)
        except Exception as error:
            traceback.print_exc()
            after = result_of(folder)
            if after is None or after.status != "failed" or after == before:  # it has not said so itself
                record_failure(folder, _plain(cfg), error)
            raise
        finally:
            if wandb := sys.modules.get("wandb"):  # its run is the process's, and would take the next job's numbers
                wandb.finish()


@contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Send all that this process prints, by whatever library, to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    path.touch()  # that it has begun shows though nothing be printed
    with path.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def _needs_processes(cfg: DictConfig) -> bool:
    devices, nodes = (OmegaConf.select(cfg, f"trainer.{key}", default=1) for key in ("devices", "num_nodes"))
    return str(OmegaConf.select(cfg, "trainer.strategy", default="auto")) not in ("auto", "None") and (
        (str(devices), str(nodes)) != ("1", "1")
    )


def _in_own_process(script: Path, folder: Path) -> None:
    """Carry out the job as a single run: several processes that train one network are started by the script's own
    command line, and would otherwise start the whole sweep again, or wait for each other for ever."""
    words = list(HydraConfig.get().overrides.task)
    environment = {k: v for k, v in os.environ.items() if k not in DISTRIBUTED} | {SWEEP_PROCESS: str(os.getpid())}
    command = [sys.executable, str(script), *words, f"hydra.run.dir={quoted(str(folder))}"]
    process = subprocess.Popen(command, env=environment)
    try:
        status = process.wait()
    finally:
        process.kill()
    if status != 0:
        raise UserError(f"The processes of this run ended with status {status}; see {folder / LOG}")


def _plain(cfg: DictConfig) -> Any:
    try:
        return OmegaConf.to_container(cfg, resolve=True)
    except Exception:  # the very mistake that the job failed by
        return OmegaConf.to_container(cfg, resolve=False)
