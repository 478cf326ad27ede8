"""``python train.py -m model=a,b seed=0,1``: every combination of the values, each a run."""

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from jacoscope.errors import UserError
from jacoscope.sweeps.directory import Job
from jacoscope.sweeps.jobs import Jobs
from jacoscope.sweeps.progress import progress
from jacoscope.sweeps.session import conclude, session


class GridSweeper(Sweeper):
    """All combinations, as Hydra's own sweeper makes them, in a sweep that the same command goes on with.

    Args:
        params: values of keys, as on the command line, which goes before them.
    """

    hydra_context: HydraContext
    config: DictConfig

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        self.params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self.launcher = None

    def sweep(self, arguments: list[str]) -> None:
        typed = {word.partition("=")[0] for word in arguments}
        words = [*(f"{k}={v}" for k, v in self.params.items() if k not in typed), *arguments]
        overrides = OverridesParser.create(config_loader=self.hydra_context.config_loader).parse_overrides(words)
        swept = [override.key_or_group for override in overrides if override.is_sweep_override()]
        if "run_name" not in self.config:
            raise UserError("-m is for sweeps of trainings, python train.py -m …; here, leave it out")
        if "run_name" in swept:
            raise UserError("run_name is the name of the whole sweep: give it one, run_name=NAME")
        deleted = [str(each.input_line) for each in overrides if each.is_delete()]  # Hydra's splitter spoils these
        (combinations,) = BasicSweeper.split_arguments([each for each in overrides if not each.is_delete()], None)
        jobs = [Job.of(number, [*combination, *deleted]) for number, combination in enumerate(combinations)]
        with session(self.config, arguments, swept) as sweep:
            runner = Jobs(self.hydra_context, self.task_function, self.config, sweep)
            if sweep.jobs and sweep.jobs != jobs:
                sweep.refuse(_changes(sweep.jobs, jobs))
            runner.check(jobs)
            sweep.jobs = jobs
            sweep.write()
            with progress(sweep, jobs):
                runner.run(jobs)
        conclude(sweep)


def _changes(then: list[Job], now: list[Job]) -> list[str]:
    words_then, words_now = ({word for job in jobs for word in job.overrides} for jobs in (then, now))
    return [f"{word}: then, not now" for word in sorted(words_then - words_now)] + [
        f"{word}: now, not then" for word in sorted(words_now - words_then)
    ]
