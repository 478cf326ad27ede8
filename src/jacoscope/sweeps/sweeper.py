"""What all sweeps have in common: open the directory, launch the jobs, show the result."""

import copy
import sys
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any, ClassVar

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from jacoscope.commands import typed
from jacoscope.errors import UserError
from jacoscope.runs.keys import check_keys, quoted
from jacoscope.runs.lock import alone_in
from jacoscope.runs.new_folders import announce, note_missing, remove_empty
from jacoscope.runs.processes import leave_torchrun
from jacoscope.runs.targets import check_targets
from jacoscope.signals import one_interrupt
from jacoscope.sweeps.directory import DONE, LOG, Job, SweepDirectory, name_of_sweep
from jacoscope.sweeps.launching import Launching, overrides_of


class ResumableSweeper(Sweeper):
    """A sweep that the same command continues. Subclasses choose the jobs.

    Args:
        params: values of keys, as on a command line; what is typed there replaces them.

    Attributes:
        show: shows the runs of a sweep, given its directory. It belongs to the class, as Hydra makes the sweepers.
        check_config: checks the composed config of a job.
        planned: jobs whose configs are checked before anything is made; set by ``parse``.
        directory: of the sweep.
        launching: launches its jobs.
    """

    show: ClassVar[Callable[[Path], None]]
    check_config: ClassVar[Callable[[DictConfig], object]]
    planned: Sequence[Job] = ()
    hydra_context: HydraContext
    task_function: TaskFunction
    config: DictConfig
    directory: SweepDirectory
    launching: Launching

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        self.params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    @abstractmethod
    def parse(self, words: Sequence[str], typed: Collection[str]) -> Sequence[str]:
        """Read what is to be swept, set :attr:`planned`, and return the keys that the sweep is named after.

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
            config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides_of(job, self.directory))
            with read_write(config), open_dict(config):
                config.hydra.runtime.output_dir = str(self.directory.run_path(job))
            HydraConfig.instance().set_config(config)  # which the config interpolates
            config = copy.deepcopy(config)  # HydraConfig interpolates in the original
            with read_write(config), open_dict(config):
                del config["hydra"]
            self.directory.check_unchanged(job, config)
            type(self).check_config(config)

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
        with alone_in(path), one_interrupt():
            self.directory = SweepDirectory.open(path, command)
            try:
                self._set_sweep_dir()
                with Launching(self.directory, self.hydra_context, self.task_function, self.config) as self.launching:
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

    def _set_sweep_dir(self) -> None:
        """Let the launcher and all jobs know the directory of the sweep."""
        path = str(self.directory.path.absolute())
        with read_write(self.config.hydra), open_dict(self.config.hydra):
            self.config.hydra.sweep.dir = path
            self.config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(path)}")

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
