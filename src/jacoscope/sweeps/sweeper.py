"""What all sweeps have in common: open the directory, launch the jobs, show the result."""

import copy
import os
import pkgutil
import signal
import sys
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import active_children
from pathlib import Path
from shlex import quote
from types import FrameType
from typing import Any, ClassVar

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from jacoscope.commands import typed
from jacoscope.errors import UserError
from jacoscope.files import HANGUP, forget_terminal
from jacoscope.runs.keys import check_keys, quoted
from jacoscope.runs.lock import alone_in
from jacoscope.runs.new_folders import announce, note_missing, remove_empty
from jacoscope.runs.processes import SWEEP_PROCESS
from jacoscope.runs.targets import check_targets
from jacoscope.sweeps.directory import DONE, LAUNCHER_LOG, LOG, Job, SweepDirectory, name_of_sweep
from jacoscope.sweeps.job import DISTRIBUTED, output_to

CRASHES_IN_COMPANY = 2  # a job that was running in so many crashes of the launcher is launched alone from then on
CRASHES_AT_MOST = 3  # and after so many it is not launched again
TORCHRUN = "TORCHELASTIC_"  # the environment variables that only torchrun sets begin with this


class ResumableSweeper(Sweeper):
    """A sweep that the same command continues. Subclasses choose the jobs.

    What became of a job is read from its run directory, never from the process that ran it. So a job counts as
    finished whether this start ran it, an earlier one, or a launcher that crashed afterwards.

    Args:
        params: values of keys, as on a command line; what is typed there replaces them.

    Attributes:
        show: shows the runs of a sweep, given its directory. It belongs to the class, as Hydra makes the sweepers.
        check_config: checks the composed config of a job.
        planned: jobs whose configs are checked before anything is made.
    """

    show: ClassVar[Callable[[Path], None]]
    check_config: ClassVar[Callable[[DictConfig], object]]
    planned: Sequence[Job] = ()
    hydra_context: HydraContext
    task_function: TaskFunction
    config: DictConfig
    directory: SweepDirectory

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        self.params = params or {}
        self.launcher: Launcher | None = None  # made by `sweep`, when the directory is known

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    @abstractmethod
    def parse(self, words: Sequence[str], typed: Collection[str]) -> Sequence[str]:
        """Read what is to be swept and return the keys that the sweep is named after.

        Args:
            words: ``params`` and then the command line, without ``run_name``.
            typed: the keys on the command line.

        Raises:
            UserError: if a word cannot be swept.
        """

    @abstractmethod
    def run_jobs(self) -> Collection[int]:
        """Run the jobs and return the numbers of those whose failure does not count."""

    def sweep(self, arguments: list[str]) -> None:
        check_targets(OmegaConf.to_container(self.config.hydra.sweeper, resolve=True), "hydra.sweeper")
        names = [word for word in arguments if word.lstrip("+").startswith("run_name=")]
        if any(OverridesParser.create().parse_override(word).is_sweep_override() for word in names):
            raise UserError("run_name is the name of the whole sweep: type one name, run_name=NAME")
        command = [word for word in arguments if word not in names]  # without the name, so that it may be changed
        typed = [word.partition("=")[0] for word in command]
        if self.config.get("extend"):
            raise UserError("extend=true extends a single run: leave out -m, and type the run_name= of the run")
        keys = self.parse([*(f"{k}={v}" for k, v in self.params.items() if k not in typed), *command], typed)
        check_keys(self.config, self.config.hydra)
        leave_torchrun()
        path = Path(self.config.hydra.sweep.dir)
        path = path if names else path.parent / name_of_sweep(command, keys)
        self.directory = SweepDirectory.open(path, command)
        self.check(self.planned)
        announce(self.config.paths, self.config.get("data"))
        note_missing(path)
        try:
            with self._open(path, command):
                ignored = self.run_jobs()
        finally:
            remove_empty()
        self._conclude(ignored)

    def check(self, jobs: Sequence[Job]) -> None:
        """Compose and check the config of every job before any is launched.

        Raises:
            UserError: if a config has a mistake, or a job was started before with another one.
            HydraException: if a config cannot be composed.
        """
        for job in jobs:
            config = self.hydra_context.config_loader.load_sweep_config(self.config, self._overrides(job))
            with read_write(config), open_dict(config):
                config.hydra.runtime.output_dir = str(self.directory.run_path(job))
            HydraConfig.instance().set_config(config)  # which the config interpolates
            config = copy.deepcopy(config)  # HydraConfig interpolates in the original
            with read_write(config), open_dict(config):
                del config["hydra"]
            self.directory.check_unchanged(job, config)
            type(self).check_config(config)

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

    def _launch_once(self, jobs: Sequence[Job]) -> list[Job]:
        """Launch some jobs. If the launcher crashes, return the jobs that had begun; otherwise none."""
        assert self.launcher is not None
        log = self.directory.path / LAUNCHER_LOG
        before = [self._time_of_start(job) for job in jobs]
        os.environ[SWEEP_PROCESS] = str(os.getpid())
        try:
            with output_to(log):
                self.launcher.launch([self._overrides(job) for job in jobs], jobs[0].number)
        except (HydraException, OmegaConfBaseException):  # a mistake in the configuration
            raise
        except Exception as error:  # whatever a launcher raises when one of its processes dies
            begun = [job for job, time in zip(jobs, before, strict=True) if self._time_of_start(job) != time]
            if not begun:
                printed = f"\nWhat it printed is in {log}" if log.stat().st_size > 0 else ""
                raise UserError(f"{_launcher_name(self.config)} does not work here: {error}{printed}") from error
            return begun
        finally:
            os.environ.pop(SWEEP_PROCESS, None)
        return []

    def _time_of_start(self, job: Job) -> int:
        log = self.directory.run_path(job) / LOG
        return log.stat().st_mtime_ns if log.exists() else 0

    def _overrides(self, job: Job) -> list[str]:
        name = quoted(f"{self.directory.path.name}-{job.number}")
        return [*job.overrides, f"run_name={name}", f"hydra.sweep.subdir={job.number}"]

    @contextmanager
    def _open(self, path: Path, command: Sequence[str]) -> Iterator[None]:
        """Lock the directory of the sweep and make the launcher for its jobs; after Ctrl-C, end what was launched.

        Raises:
            UserError: if another process works on it, it holds the sweep of another command, or the launcher is not
                installed.
        """
        if any(word.lstrip("+").startswith("hydra.sweep.dir=") for word in self.config.hydra.overrides.hydra):
            raise UserError(
                "hydra.sweep.dir cannot be set: run_name=NAME names a sweep, paths.log_dir=FOLDER places it"
            )
        with alone_in(path), _one_interrupt():
            self.directory = SweepDirectory.open(path, command)
            try:
                self.launcher = self._make_launcher()
                yield
            except (KeyboardInterrupt, SystemExit) as stop:
                done = sum(self.directory.state(job) in DONE for job in self.directory.jobs)
                advice = (
                    f"Stopped, with {done} of {len(self.directory.jobs)} runs done. The same command continues with "
                    f"the others; to see their state: {typed('runs')} {quote(str(path))}"
                )
                if isinstance(stop, SystemExit):  # a run in this process was terminated
                    print(f"\n{advice}", file=sys.stderr)
                    raise
                raise KeyboardInterrupt(advice) from stop
            finally:
                _end_workers()
                log = path / LAUNCHER_LOG
                if log.exists() and log.stat().st_size == 0:
                    log.unlink()

    def _make_launcher(self) -> Launcher:
        """Make the launcher of ``hydra/launcher``, and let it and all jobs know the directory of the sweep."""
        path = str(self.directory.path.absolute())
        with read_write(self.config.hydra), open_dict(self.config.hydra):
            self.config.hydra.sweep.dir = path
            self.config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(path)}")
        plugins = Plugins.instance()
        try:
            plugins.register(pkgutil.resolve_name(self.config.hydra.launcher["_target_"]))  # may be the user's own
            return plugins.instantiate_launcher(self.hydra_context, self.task_function, self.config)
        except (ImportError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{_launcher_name(self.config)} cannot be used: {error}. "
                "Install its plugin with pip install 'jacoscope[sweep]'; hydra/launcher=basic needs none"
            ) from error

    def _conclude(self, ignored: Collection[int]) -> None:
        """Show the runs.

        Args:
            ignored: jobs whose failure does not count.

        Raises:
            UserError: if other runs failed, so that the exit status is not 0, or the disk is full.
        """
        sweep = self.directory
        if not sweep.jobs:
            print("There is nothing to do: the study has all the trials that were asked for")
            return
        type(self).show(sweep.path)
        failed = [job for job in sweep.jobs if sweep.state(job) not in DONE and job.number not in ignored]
        if failed:
            sweep.write()  # raises if the disk is full, which may be the reason
            raise UserError(
                f"{len(failed)} of {len(sweep.jobs)} runs failed: {', '.join(str(job.number) for job in failed)}. "
                "The same command runs them again, and only them; what they printed is in "
                f"{sweep.run_path(failed[0]) / LOG}"
            )


def _launcher_name(config: DictConfig) -> str:
    return f"hydra/launcher={config.hydra.runtime.choices['hydra/launcher']}"


@contextmanager
def _one_interrupt() -> Iterator[None]:
    """Handle SIGTERM and SIGHUP like Ctrl-C, and ignore all of them after the first.

    Another one would stop the cleaning up, and leave processes that go on training.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, HANGUP)}
    of_ctrl_c = before[signal.SIGINT]
    # Those that are ignored stay ignored, as Ctrl-C is in a process in the background.
    handled = [number for number, current in before.items() if callable(current) or current == signal.SIG_DFL]

    def handle_once(number: int, frame: FrameType | None) -> None:
        for each in handled:
            signal.signal(each, lambda *_: None)  # Python prints an error where one is ignored that has just come
        if number == HANGUP:
            forget_terminal()
        if callable(of_ctrl_c):
            of_ctrl_c(number, frame)
        raise KeyboardInterrupt

    for number in handled:
        signal.signal(number, handle_once)
    yield
    for number in handled:  # not in a finally: after the first they stay ignored to the end
        signal.signal(number, before[number])


def _end_workers() -> None:
    """End the processes of the joblib launcher, if there are any.

    Otherwise this process would wait for them when it exits: some seconds for idle ones, and until their runs are done
    for those that joblib could not end.
    """
    if loky := sys.modules.get("joblib.externals.loky"):
        for process in active_children():
            loky.backend.utils.kill_process_tree(process)
        loky.get_reusable_executor(reuse=True, kill_workers=True).shutdown(wait=False, kill_workers=True)


def leave_torchrun() -> None:
    """If torchrun started this process, continue as an ordinary process, or exit if it is not the first one.

    One process launches a sweep. Its runs train in as many processes as ``trainer.devices`` says, which Lightning
    starts.

    Raises:
        UserError: if torchrun works on several machines, which those runs would not reach.
    """
    if not any(name.startswith(TORCHRUN) for name in os.environ):
        return
    if os.environ["LOCAL_WORLD_SIZE"] != os.environ["WORLD_SIZE"]:
        raise UserError(
            "torchrun on several machines can only start single runs. For a sweep on several machines start one "
            "process, with hydra/launcher=slurm or hydra/launcher=ray"
        )
    if os.environ["RANK"] != "0":
        sys.exit()
    for name in list(os.environ):
        if name in DISTRIBUTED or name.startswith(TORCHRUN):
            del os.environ[name]
