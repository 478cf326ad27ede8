"""Carry out the jobs of a sweep by one of Hydra's launchers, each once, whatever dies on the way."""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from multiprocessing import active_children

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from jacoscope.errors import UserError
from jacoscope.runs.keys import quoted
from jacoscope.runs.processes import SWEEP_PROCESS
from jacoscope.sweeps.directory import DONE, LAUNCHER_LOG, LOG, Job, SweepDirectory, result_of
from jacoscope.sweeps.job import output_to


class Jobs:
    """The jobs of one sweep, as its launcher carries them out.

    What became of a job is read from its run directory, never from the process that ran it: so a finished job of an
    earlier start answers as one of this start does, and so does one that ended while its launcher died.

    Args:
        hydra_context: as Hydra gives it to a sweeper.
        task_function: likewise.
        config: the composed config of the command, with ``hydra``.
        sweep: where the jobs lie.

    Raises:
        UserError: if the launcher's plugin is not installed.
    """

    def __init__(
        self, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig, sweep: SweepDirectory
    ) -> None:
        self.hydra_context, self.config, self.sweep = hydra_context, config, sweep
        _pin(config, sweep)
        try:
            self.launcher = Plugins.instance().instantiate_launcher(
                hydra_context=hydra_context, task_function=task_function, config=config
            )
        except (RuntimeError, ImportError) as error:
            raise UserError(
                f"{self._launcher_choice} cannot be used: {error}. "
                "Its plugin comes with pip install -e '.[sweep]'; hydra/launcher=basic needs none"
            ) from error

    def check(self, jobs: Sequence[Job]) -> None:
        """Compose the config of every job, before any is started.

        Raises:
            UserError: if one was started earlier with another config.
            HydraException: if one cannot be composed.
        """
        for job in jobs:
            config = self.hydra_context.config_loader.load_sweep_config(self.config, self._overrides(job))
            with read_write(config), open_dict(config):
                del config["hydra"]
            self.sweep.check_unchanged(job, config)

    def run(self, jobs: Sequence[Job]) -> None:
        """Carry out those jobs that are not finished; return when all that can be done is.

        A job that fails leaves the others alone. Where the launcher itself breaks, since a process of its was killed,
        the jobs that were not done are launched again. Which of those under way was the cause cannot be seen: jobs
        that were under way twice are launched one by one in the end, and then no more.

        Raises:
            UserError: if the launcher does not even begin.
        """
        begun: Counter[int] = Counter()
        log = self.sweep.path / LAUNCHER_LOG
        left = [job for job in jobs if self.sweep.state(job) not in DONE]
        for job in left:
            self._make_room(job)
        while left:
            batch = [job for job in left if begun[job.number] < 2] or left[:1]
            before = [self._begun_at(job) for job in batch]
            os.environ[SWEEP_PROCESS] = str(os.getpid())
            try:
                with output_to(log):
                    returns = self.launcher.launch([self._overrides(job) for job in batch], batch[0].number)
            except (HydraException, OmegaConfBaseException):  # a mistake in the configuration, told as such
                raise
            except Exception as error:
                at_it = [job for job, then in zip(batch, before, strict=True) if self._begun_at(job) != then]
                begun.update(job.number for job in at_it)
                if not at_it:
                    printed = log.stat().st_size > 0
                    raise UserError(
                        f"{self._launcher_choice} does not work here: {error}"
                        + (f"\nWhat it printed is in {log}" if printed else "")
                    ) from error
                left = [job for job in left if self.sweep.state(job) in ("waiting", "interrupted")]
                left = [job for job in left if begun[job.number] < 3]
            else:
                _raise_stop(returns)
                left = [job for job in left if job not in batch]
            finally:
                os.environ.pop(SWEEP_PROCESS, None)

    @property
    def _launcher_choice(self) -> str:
        return f"hydra/launcher={self.config.hydra.runtime.choices['hydra/launcher']}"

    def _overrides(self, job: Job) -> list[str]:
        name = quoted(f"{self.sweep.path.name}-{job.number}")
        return [*job.overrides, f"run_name={name}", f"hydra.sweep.subdir={job.number}"]

    def _begun_at(self, job: Job) -> int:
        """Give a mark that is another one after each time that the job has begun."""
        log = self.sweep.run_path(job) / LOG
        return log.stat().st_mtime_ns if log.exists() else 0

    def _make_room(self, job: Job) -> None:
        """Forget that a job failed, so that it is waiting or interrupted, and the log of its earlier start."""
        run = self.sweep.run_path(job)
        (run / LOG).unlink(missing_ok=True)
        result = result_of(run)
        if result is None or result.status != "failed":
            return
        if (run / "checkpoints" / "last.ckpt").exists():
            result.status, result.error = "interrupted", None
            result.write(run / "result.json")
        else:
            (run / "result.json").unlink()


def dismiss_workers() -> None:
    """End the processes of the joblib launcher, if there are any left.

    This process would wait for them at its end: for idle ones some seconds, until they have taken apart what torch set
    up; for those that joblib was kept from ending, until their runs are done.
    """
    if loky := sys.modules.get("joblib.externals.loky"):
        for process in active_children():
            loky.backend.utils.kill_process_tree(process)
        loky.get_reusable_executor(reuse=True, kill_workers=True).shutdown(wait=False, kill_workers=True)


def _pin(config: DictConfig, sweep: SweepDirectory) -> None:
    """Tell the launcher and the config of every job where the sweep lies."""
    path = str(sweep.path.absolute())
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.sweep.dir = path
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(path)}")


def _raise_stop(returns: Sequence[JobReturn]) -> None:
    """Pass on that a job was stopped by Ctrl-C."""
    for each in returns:
        if isinstance(each._return_value, KeyboardInterrupt):
            raise each._return_value
