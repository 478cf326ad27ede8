"""The launcher of ``hydra/launcher``: jobs are given to it, and given to it again if one of its processes is killed."""

import os
import pkgutil
import sys
from collections import Counter
from collections.abc import Sequence
from multiprocessing import active_children

from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from typing_extensions import Self

from jacoscope.errors import UserError
from jacoscope.runs.keys import quoted
from jacoscope.runs.processes import SWEEP_PROCESS
from jacoscope.sweeps.directory import DONE, LAUNCHER_LOG, LOG, Job, SweepDirectory
from jacoscope.sweeps.job import output_to

CRASHES_IN_COMPANY = 2  # a job that was running in so many crashes of the launcher is launched alone from then on
CRASHES_AT_MOST = 3  # and after so many it is not launched again


class Launching:
    """Launches the jobs of one sweep. At the end of a ``with`` block, all that it launched ends too.

    What became of a job is read from its run directory, never from the launcher. So a job counts as finished whether
    this start ran it, an earlier one, or a launcher that crashed afterwards.

    Args:
        directory: of the sweep.
        context: Hydra's.
        task: what a job does.
        config: the composed config, whose ``hydra.sweep.dir`` is the directory.

    Raises:
        UserError: if the launcher is not installed, or its config does not fit it.
    """

    def __init__(
        self, directory: SweepDirectory, context: HydraContext, task: TaskFunction, config: DictConfig
    ) -> None:
        self.directory = directory
        self._config = config.hydra.launcher
        self._choice = config.hydra.runtime.choices["hydra/launcher"]
        plugins = Plugins.instance()
        try:
            plugins.register(pkgutil.resolve_name(self._config["_target_"]))  # may be the user's own
            self._launcher = plugins.instantiate_launcher(context, task, config)
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"hydra/launcher={self._choice} cannot be used: {error}. "
                "Install its plugin with pip install 'jacoscope[sweep]'; hydra/launcher=basic needs none"
            ) from error
        except (TypeError, ValueError, RuntimeError) as error:
            file = f"configs/hydra/launcher/{self._choice}.yaml"
            raise UserError(f"hydra/launcher={self._choice} cannot be used: {error}. Its keys are in {file}") from error

    @property
    def at_a_time(self) -> int:
        """How many jobs run at a time, as the launcher's config says: ``n_jobs``, which −1 sets to the number of
        cores, or ``array_parallelism``. Without these it is one for each core, and one in all for ``basic``."""
        if (n_jobs := self._config.get("n_jobs")) is not None:
            from joblib import effective_n_jobs  # which most starts of train.py do not need

            return int(effective_n_jobs(n_jobs))
        return 1 if self._choice == "basic" else int(self._config.get("array_parallelism") or os.cpu_count() or 1)

    def launch(self, jobs: Sequence[Job]) -> None:
        """Run the jobs that are not done, and return when nothing more can be done.

        A job that fails does not affect the others. If the launcher crashes, because one of its processes was killed,
        the unfinished jobs are launched again. Which of the running jobs was the cause is not known, so those that
        were running in several crashes are launched one by one, and then given up.

        Raises:
            UserError: if the launcher does not work at all.
        """
        crashes: Counter[int] = Counter()
        left = [job for job in jobs if self.directory.state(job) not in DONE]
        for job in left:
            self.directory.forget_failure(job)
        while left:
            batch = [job for job in left if crashes[job.number] < CRASHES_IN_COMPANY] or left[:1]
            crashed = self._launch_once(batch)
            crashes.update(job.number for job in crashed)
            if crashed:
                left = [job for job in left if self.directory.state(job) in ("waiting", "interrupted")]
                left = [job for job in left if crashes[job.number] < CRASHES_AT_MOST]
            else:
                left = [job for job in left if job not in batch]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End what is still running, and remove the launcher's log if it is empty."""
        _end_joblib()
        log = self.directory.path / LAUNCHER_LOG
        if log.exists() and log.stat().st_size == 0:
            log.unlink()

    def _launch_once(self, jobs: Sequence[Job]) -> list[Job]:
        """Launch some jobs. If the launcher crashes, return the jobs that had begun; otherwise none."""
        log = self.directory.path / LAUNCHER_LOG
        before = [self._time_of_start(job) for job in jobs]
        os.environ[SWEEP_PROCESS] = str(os.getpid())
        try:
            with output_to(log):
                self._launcher.launch([overrides_of(job, self.directory) for job in jobs], jobs[0].number)
        except (HydraException, OmegaConfBaseException):  # a mistake in the configuration
            raise
        except Exception as error:  # whatever a launcher raises when one of its processes dies
            begun = [job for job, time in zip(jobs, before, strict=True) if self._time_of_start(job) != time]
            if not begun:
                printed = f"\nWhat it printed is in {log}" if log.stat().st_size > 0 else ""
                raise UserError(f"hydra/launcher={self._choice} does not work here: {error}{printed}") from error
            return begun
        finally:
            os.environ.pop(SWEEP_PROCESS, None)
        return []

    def _time_of_start(self, job: Job) -> int:
        log = self.directory.run_path(job) / LOG
        return log.stat().st_mtime_ns if log.exists() else 0


def overrides_of(job: Job, directory: SweepDirectory) -> list[str]:
    """Return the words that a job is run with: its own, its name and its place."""
    name = quoted(f"{directory.path.name}-{job.number}")
    return [*job.overrides, f"run_name={name}", f"hydra.sweep.subdir={job.number}"]


def _end_joblib() -> None:
    """End the processes of joblib, if there are any, since Hydra's launcher does not: other launchers end their own.

    Otherwise this process would wait for them when it exits: some seconds for idle ones, and until their runs are done
    for those that joblib could not end.
    """
    if loky := sys.modules.get("joblib.externals.loky"):
        for process in active_children():
            loky.backend.utils.kill_process_tree(process)
        loky.get_reusable_executor(reuse=True, kill_workers=True).shutdown(wait=False, kill_workers=True)
