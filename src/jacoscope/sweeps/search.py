"""``python train.py -m hparams_search=optuna``: Optuna chooses the runs, until there are enough."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from jacoscope.errors import UserError
from jacoscope.sweeps.directory import Job
from jacoscope.sweeps.grid import GridSweeper
from jacoscope.sweeps.progress import show_progress
from jacoscope.sweeps.sweeper import ResumableSweeper

if TYPE_CHECKING:  # at every start of train.py, most of which are no searches, Optuna would take a fifth of a second
    from jacoscope.sweeps.study import Space, Study

Direction = Literal["maximize", "minimize"]


class SearchSweeper(ResumableSweeper):
    """A search by Optuna for a total number of trials, in as many starts as that takes. A trial is a run.

    In a new start, the trials of a killed process are continued from their checkpoints and failed trials are run again
    under new numbers. Hydra's own sweeper would run as many new trials again.

    Args:
        sampler: config of an Optuna sampler.
        direction: ``maximize`` or ``minimize``; a list of them for several objectives.
        storage: URL of the study's database. Several machines can share one, each with a ``run_name`` of its own.
        study_name: name of the study there.
        n_trials: how many complete or pruned trials there will be in the end.
        params: the search space, as overrides.
        n_jobs: trials at a time; by default as many as the launcher runs.
        pruner: config of an Optuna pruner, for runs with :class:`jacoscope.callbacks.pruning.Pruning`.
        custom_search_space: dotted path of a function of a config and a trial that adds to the search space.

    Raises:
        UserError: if ``n_trials`` or ``n_jobs`` is not positive.
    """

    space: "Space"

    def __init__(
        self,
        sampler: dict[str, Any],
        storage: str,
        study_name: str,
        direction: Direction | list[Direction],
        n_trials: int,
        params: dict[str, Any],
        n_jobs: int | None = None,
        pruner: dict[str, Any] | None = None,
        custom_search_space: str | None = None,
    ) -> None:
        super().__init__(params)
        self.sampler, self.pruner, self.storage, self.study_name = sampler, pruner, storage, study_name
        self.directions = [direction] if isinstance(direction, str) else list(direction)
        self.n_trials, self.n_jobs, self.custom_search_space = n_trials, n_jobs, custom_search_space

    def parse(self, words: Sequence[str], typed: Collection[str]) -> Sequence[str]:
        try:
            from jacoscope.sweeps.study import Space
        except ImportError as error:
            raise UserError(f"A search needs Optuna ({error}): pip install 'jacoscope[sweep]'") from error

        for name, value in (("n_trials", self.n_trials), ("n_jobs", self.n_jobs)):
            if value is not None and value < 1:
                raise UserError(f"hydra.sweeper.{name}={value} is not allowed; it is 1 or more")
        folder = str(self.config.hydra.sweep.dir)
        if folder in self.storage and set(folder) & set("?#%"):
            raise UserError(f"A study cannot lie in {folder}: name the sweep and its folders without ?, # and %")
        if len(self.directions) != len(self._objectives):
            raise UserError(
                f"objective={self._objectives} needs as many directions, but hydra.sweeper.direction={self.directions}"
            )
        self.space = Space.parse(words, self.custom_search_space)
        fixed = (*(f"{key}={value}" for key, value in self.space.fixed.items()), *self.space.deleted)
        self.planned = [Job(-1, fixed)]  # what all runs have in common; no run has that number
        choice = self.config.hydra.runtime.choices.get("hparams_search") or "search"
        return [str(choice), *(key for key in typed if key in self.space.distributions)]

    def run_jobs(self) -> Collection[int]:
        from jacoscope.sweeps.study import Study

        sweep = self.directory
        self.storage = str(self.config.hydra.sweeper.storage)  # again, as the directory of the sweep is known now
        study = Study(self.storage, self.study_name, self.directions, self.sampler, self.pruner, sweep)
        sweep.study = {"storage": self.storage, "name": self.study_name, "objectives": self._objectives}
        sweep.write()
        self.check(sweep.jobs)
        jobs = study.unfinished()
        left = self.n_trials - study.done()
        with show_progress(sweep, sweep.jobs, self.n_trials):
            while left > 0:
                at_a_time = min(left, self.n_jobs or self.launching.at_a_time)
                jobs += [self._ask(study) for _ in range(at_a_time - len(jobs))]
                self.launching.launch(jobs)
                succeeded = [study.tell(job, self._objectives) for job in jobs]
                if not any(succeeded):
                    break  # others would fail too
                left -= len(jobs)
                jobs = []
        return study.repeated()

    def _ask(self, study: "Study") -> Job:
        job = study.ask(self.space, self.config)
        self.directory.jobs.append(job)
        self.directory.write()
        return job

    @property
    def _objectives(self) -> list[str]:
        objective = self.config.objective
        return [objective] if isinstance(objective, str) else list(objective)


def register(show: Callable[[Path], None], check_config: Callable[[DictConfig], object]) -> None:
    """Make the sweepers known to Hydra.

    Args:
        show: shows the runs of a sweep at its end, given its directory.
        check_config: checks the composed config of a job.
    """
    ResumableSweeper.show, ResumableSweeper.check_config = show, check_config
    for sweeper in (GridSweeper, SearchSweeper):
        Plugins.instance().register(sweeper)
