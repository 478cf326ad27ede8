"""The Optuna study behind a search: its space, and its trials from one start of the sweep to the next."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from hydra.utils import instantiate
from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides  # Hydra has no public one
from omegaconf import DictConfig
from optuna.distributions import BaseDistribution
from optuna.trial import Trial, TrialState

from jacoscope.errors import UserError
from jacoscope.runs.targets import find_target
from jacoscope.sweeps.directory import Job, SweepDirectory, result_of

SWEEP = "sweep"  # attribute of a trial: the sweep that it belongs to, in a storage that several sweeps share
RETRY_OF = "retry_of"  # attribute of a trial: the failed one that it repeats


@dataclass(frozen=True)
class Space:
    """What a search varies, and what all of its runs have in common.

    Attributes:
        distributions: what to choose from, by key.
        fixed: values by key.
        deleted: overrides that leave a key out, ``~KEY``.
        extend: adds to a trial, given the config of the sweep.
    """

    distributions: dict[str, BaseDistribution]
    fixed: dict[str, Any]
    deleted: list[str]
    extend: Callable[[DictConfig, Trial], object] | None = None

    @classmethod
    def parse(cls, words: Sequence[str], extend: str | None) -> "Space":
        """Read a search space.

        Args:
            words: overrides; those with a choice, a range or an interval are searched.
            extend: dotted path of a function.

        Raises:
            UserError: naming the first word that cannot be read.
        """
        for word in words:
            try:
                create_params_from_overrides([word])
            except (ValueError, TypeError, NotImplementedError) as error:
                raise UserError(f"{word} cannot be searched: {error}") from error
        return cls(*create_params_from_overrides(list(words)), find_target(extend) if extend else None)


class Study:
    """A study, as the sweep sees it. A trial and its run have the same number. The study is made if it does not exist.

    Args:
        storage: URL of the database.
        name: name of the study there.
        directions: ``maximize`` or ``minimize`` for each objective.
        sampler: config of an Optuna sampler.
        pruner: config of an Optuna pruner.
        sweep: the directory of the sweep.

    Raises:
        UserError: if the storage cannot be opened, or holds a study with other directions.
    """

    def __init__(
        self,
        storage: str,
        name: str,
        directions: Sequence[str],
        sampler: Mapping[str, Any],
        pruner: Mapping[str, Any] | None,
        sweep: SweepDirectory,
    ) -> None:
        self.sweep = sweep
        self.is_shared = str(sweep.path.absolute()) not in storage
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            opened = optuna.storages.get_storage(storage)
        except Exception as error:  # of SQLAlchemy, of the database, or of its driver
            raise UserError(
                f"hydra.sweeper.storage cannot be opened: {error}\n"
                "It is the URL of a database: sqlite:///FILE.db, postgresql://USER:PASSWORD@HOST/NAME, …"
            ) from error
        self.study = optuna.create_study(
            study_name=name,
            storage=opened,
            directions=[optuna.study.StudyDirection[direction.upper()] for direction in directions],
            pruner=instantiate(pruner) if pruner else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        before = [direction.name.lower() for direction in self.study.directions]
        if before != list(directions):
            sweep.refuse([f"direction: {before} before, {list(directions)} now"])
        seed = sampler.get("seed")  # the same one would choose again what it chose in an earlier start
        seeds = {} if seed is None else {"seed": seed + len(self.study.trials)}
        self.study.sampler = instantiate(sampler, **seeds)

    def done(self) -> int:
        """Return the number of trials that are complete or pruned, of all sweeps."""
        return len(self.study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.PRUNED]))

    def repeated(self) -> set[int]:
        """Return the numbers of failed trials that a later one repeats."""
        trials = self.study.get_trials(deepcopy=False)
        return {trial.user_attrs[RETRY_OF] for trial in trials if RETRY_OF in trial.user_attrs}

    def unfinished(self) -> list[Job]:
        """Return the jobs of trials that a killed process left running, and queue the failed trials again."""
        jobs, repeated = {job.number: job for job in self.sweep.jobs}, self.repeated()
        unfinished = []
        for trial in self.study.get_trials(deepcopy=False):
            if self.is_shared and trial.user_attrs.get(SWEEP) != self.sweep.path.name:
                continue
            if trial.state is TrialState.RUNNING and trial.number in jobs:
                unfinished.append(jobs[trial.number])
            elif trial.state is TrialState.RUNNING:  # the process was killed before it recorded the job
                self.study.tell(trial.number, state=TrialState.FAIL)
            elif trial.state is TrialState.FAIL and trial.params and trial.number not in repeated:
                self.study.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number})
        return unfinished

    def ask(self, space: Space, config: DictConfig) -> Job:
        """Return the job of a new trial.

        Raises:
            UserError: if the function that extends the space chooses the value of a fixed key.
        """
        trial = self.study.ask(fixed_distributions=space.distributions)
        for key, value in {SWEEP: self.sweep.path.name, **space.fixed}.items():
            trial.set_user_attr(key, value)
        if space.extend is not None:
            space.extend(config, trial)
        if both := sorted(trial.params.keys() & space.fixed.keys()):
            raise UserError(f"hydra.sweeper.custom_search_space chooses values of fixed keys: {', '.join(both)}")
        values = trial.params | space.fixed
        return Job(trial.number, (*(f"{key}={value}" for key, value in values.items()), *space.deleted))

    def tell(self, job: Job, objectives: Sequence[str]) -> bool:
        """Record the outcome of a job in the study, and return whether the trial is complete or pruned."""
        run, result = self.sweep.state(job), result_of(self.sweep.run_path(job))
        values = [result.metrics.get(name, math.nan) for name in objectives] if result and run == "finished" else []
        if run == "pruned":
            state = TrialState.PRUNED
        else:
            state = TrialState.COMPLETE if values and not any(map(math.isnan, values)) else TrialState.FAIL
        self.study.tell(job.number, values if state is TrialState.COMPLETE else None, state)
        return state is not TrialState.FAIL
