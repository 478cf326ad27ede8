"""A search by Optuna that works towards a total number of trials, over as many starts as that takes."""

import os
from collections.abc import Sequence
from typing import Any, Literal

import optuna
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl, create_params_from_overrides
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial, Trial, TrialState

from jacoscope.errors import UserError
from jacoscope.sweeps.directory import Job, SweepDirectory, metrics_of
from jacoscope.sweeps.jobs import Jobs
from jacoscope.sweeps.progress import progress
from jacoscope.sweeps.session import conclude, session

Direction = Literal["maximize", "minimize"]
SWEEP, RETRY_OF = "sweep", "retry_of"  # attributes of a trial: whose it is, and which failed one it repeats


class Search(OptunaSweeperImpl):
    """The search behind :class:`jacoscope.sweeps.search.SearchSweeper`.

    A trial is a run, by the same number. On a new start, trials that the dead process left running are gone on with
    from their checkpoints, failed ones are proposed again under new numbers, and the search ends when ``n_trials``
    are complete or pruned, whoever ran them.

    Args:
        sampler: config of an Optuna sampler; its seed counts on from trial to trial over all starts.
        direction: ``maximize`` or ``minimize``; a list of them for several objectives.
        storage: where the study lies, as a URL; several machines can work on one, each with a ``run_name`` of its own.
        study_name: its name there.
        n_trials: how many complete or pruned trials there are to be in the end.
        n_jobs: trials at a time; by default as many as the launcher runs.
        pruner: config of an Optuna pruner, for runs with the callback of :mod:`jacoscope.sweeps.pruning`.
        params: the search space, as overrides.
        custom_search_space: dotted path of a function that adds to it, as Hydra's sweeper takes it.
    """

    hydra_context: HydraContext
    config: DictConfig

    def __init__(
        self,
        sampler: dict[str, Any],
        direction: Direction | list[Direction],
        storage: str,
        study_name: str,
        n_trials: int,
        n_jobs: int | None,
        pruner: dict[str, Any] | None,
        params: dict[str, Any],
        custom_search_space: str | None = None,
    ) -> None:
        for name, value in (("n_trials", n_trials), ("n_jobs", n_jobs)):
            if value is not None and value < 1:
                raise UserError(f"hydra.sweeper.{name}={value} is not allowed; it is 1 or more")
        super().__init__(None, direction, storage, study_name, n_trials, n_jobs or 0, 0.0, custom_search_space, None)
        self.space_params = params
        self.sampler_config, self.pruner_config = sampler, pruner

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self.launcher = None  # made by Jobs, when it is known where the sweep lies

    def sweep(self, arguments: list[str]) -> None:
        typed = {word.partition("=")[0] for word in arguments}
        words = [*(f"{k}={v}" for k, v in self.space_params.items() if k not in typed), *arguments]
        self.space = _space(words)
        objective = self.config.objective
        self.objectives = [objective] if isinstance(objective, str) else list(objective)
        if len(self._get_directions()) != len(self.objectives):
            raise UserError(
                f"objective={self.objectives} needs as many directions, but hydra.sweeper.direction={self.direction}"
            )
        with session(self.config, arguments, [_choice(self.config), *_swept(arguments)]) as sweep:
            runner = Jobs(self.hydra_context, self.task_function, self.config, sweep)
            self.storage = OmegaConf.select(self.config, "hydra.sweeper.storage")  # now that the directory is known
            study = self._study(sweep)
            sweep.study = {"storage": self.storage, "name": self.study_name, "objectives": self.objectives}
            sweep.write()
            runner.check(sweep.jobs)
            trials = self._unfinished(study, sweep)
            to_go = self.n_trials - _count(study, TrialState.COMPLETE, TrialState.PRUNED)
            with progress(sweep, sweep.jobs, self.n_trials):
                while to_go > 0:
                    asked = min(to_go, self.n_jobs or _side_by_side(self.config)) - len(trials)
                    trials += [self._ask(study, sweep) for _ in range(asked)]
                    told = self._run(study, sweep, runner, trials)
                    to_go -= len(trials)
                    trials = []
                    if TrialState.COMPLETE not in told and TrialState.PRUNED not in told:
                        break  # what fails without exception will go on failing
            attributes = [trial.user_attrs for trial in study.get_trials(deepcopy=False)]
            repeated = {each[RETRY_OF] for each in attributes if RETRY_OF in each}
        conclude(sweep, repeated)

    def _study(self, sweep: SweepDirectory) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            storage = optuna.storages.get_storage(self.storage)
        except Exception as error:  # of SQLAlchemy, of the database, or of its driver
            raise UserError(
                f"hydra.sweeper.storage cannot be opened: {error}\n"
                "It is the URL of a database: sqlite:///FILE.db, postgresql://USER:PASSWORD@HOST/NAME, …"
            ) from error
        study = optuna.create_study(
            study_name=self.study_name,
            storage=storage,
            directions=[optuna.study.StudyDirection[name.upper()] for name in self._get_directions()],
            pruner=instantiate(self.pruner_config) if self.pruner_config else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        if [d.name.lower() for d in study.directions] != self._get_directions():
            sweep.refuse([f"direction: {study.directions} then, {self.direction} now"])
        sampler = dict(self.sampler_config)
        if sampler.get("seed") is not None:  # the same seed would propose again what an earlier start proposed
            sampler["seed"] += len(study.trials)
        study.sampler = instantiate(sampler)
        return study

    def _unfinished(self, study: optuna.Study, sweep: SweepDirectory) -> list[Trial]:
        """Give the trials that a dead process left running; propose again those that failed."""
        started = {job.number for job in sweep.jobs}
        own_storage = str(sweep.path.absolute()) in str(self.storage)
        trials = study.get_trials(deepcopy=False)
        repeated = {trial.user_attrs.get(RETRY_OF) for trial in trials}
        left = []
        for trial in trials:
            if trial.user_attrs.get(SWEEP, sweep.path.name if own_storage else None) != sweep.path.name:
                continue  # another machine's
            if trial.state is TrialState.RUNNING and trial.number in started:
                left.append(Trial(study, trial._trial_id))
            elif trial.state is TrialState.RUNNING:  # it died before the run was begun
                study.tell(trial.number, state=TrialState.FAIL)
            elif _failed_and_not_repeated(trial, repeated):
                study.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number})
        return left

    def _ask(self, study: optuna.Study, sweep: SweepDirectory) -> Trial:
        trial = study.ask()
        trial.set_user_attr(SWEEP, sweep.path.name)
        (overrides,) = self._configure_trials([trial], *self.space)
        sweep.jobs.append(Job.of(trial.number, overrides))
        sweep.write()
        return trial

    def _run(
        self, study: optuna.Study, sweep: SweepDirectory, runner: Jobs, trials: Sequence[Trial]
    ) -> set[TrialState]:
        """Carry out the runs of some trials and tell the study what came out."""
        jobs = {job.number: job for job in sweep.jobs}
        runner.run([jobs[trial.number] for trial in trials])
        told = set()
        for trial in trials:
            job = jobs[trial.number]
            state, values = TrialState.FAIL, None
            if sweep.state(job) == "pruned":
                state = TrialState.PRUNED
            elif sweep.state(job) == "finished":
                values = metrics_of(sweep.run_path(job), self.objectives)
                state = TrialState.COMPLETE if values is not None else TrialState.FAIL
            study.tell(trial, values, state)
            told.add(state)
        return told


def _space(words: Sequence[str]) -> Any:
    """Read a search space.

    Raises:
        UserError: naming the first word that cannot be read.
    """
    for word in words:
        try:
            create_params_from_overrides([word])
        except (ValueError, TypeError, NotImplementedError) as error:
            raise UserError(f"{word} cannot be searched: {error}") from error
    return create_params_from_overrides(list(words))


def _failed_and_not_repeated(trial: FrozenTrial, repeated: set[Any]) -> bool:
    return trial.state is TrialState.FAIL and bool(trial.params) and trial.number not in repeated


def _count(study: optuna.Study, *states: TrialState) -> int:
    return len(study.get_trials(deepcopy=False, states=states))


def _side_by_side(config: DictConfig) -> int:
    """How many runs the launcher has at a time."""
    if (n_jobs := OmegaConf.select(config, "hydra.launcher.n_jobs")) is not None:
        from joblib import effective_n_jobs

        return int(effective_n_jobs(n_jobs))
    if config.hydra.runtime.choices["hydra/launcher"] == "basic":
        return 1
    return int(OmegaConf.select(config, "hydra.launcher.array_parallelism") or os.cpu_count() or 1)


def _choice(config: DictConfig) -> str:
    return str(config.hydra.runtime.choices.get("hparams_search") or "search")


def _swept(arguments: Sequence[str]) -> list[str]:
    _, fixed, _ = create_params_from_overrides(list(arguments))
    keys = [word.partition("=")[0] for word in arguments]
    return [key for key in keys if key not in fixed and not key.startswith("~")]
