"""``python train.py -m model=a,b seed=0,1``: one run for every combination of the values."""

import math
from collections.abc import Collection, Sequence
from itertools import product

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep

from jacoscope.commands import typed as command
from jacoscope.errors import UserError
from jacoscope.sweeps.directory import Job, changed_words
from jacoscope.sweeps.progress import show_progress
from jacoscope.sweeps.sweeper import ResumableSweeper

MOST_RUNS = 10_000  # of a sweep


class GridSweeper(ResumableSweeper):
    """All combinations of the values, in the order of Hydra's own sweeper."""

    def parse(self, words: Sequence[str], typed: Collection[str]) -> Sequence[str]:  # noqa: ARG002
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides(list(words))
        swept = [override.key_or_group for override in overrides if override.is_sweep_override()]
        if "run_name" not in self.config:
            raise UserError(f"-m is for sweeps of trainings, {command('train')} -m …; leave it out here")
        require_few(overrides)
        choices = {override.get_key_element(): _choices(override) for override in overrides}
        self.planned = [Job(number, words) for number, words in enumerate(product(*choices.values()))]
        return swept

    def run_jobs(self) -> Collection[int]:
        sweep = self.directory
        if sweep.jobs and sweep.jobs != self.planned:
            before, now = ([word for job in jobs for word in job.overrides] for jobs in (sweep.jobs, self.planned))
            sweep.refuse(changed_words(before, now))
        sweep.jobs = list(self.planned)
        sweep.write()
        with show_progress(sweep, sweep.jobs):
            self.launching.launch(sweep.jobs)
        return ()


def require_few(overrides: Sequence[Override]) -> None:
    """Check that there are not more combinations than anybody can run, before they are listed.

    Raises:
        UserError: naming how many there are.
    """
    runs = math.prod(map(_how_many, overrides))
    if runs > MOST_RUNS:
        raise UserError(
            f"{' '.join(str(override.input_line) for override in overrides if override.is_sweep_override())} are "
            f"{runs:,} runs; a sweep has {MOST_RUNS:,} at most. List fewer values, or let Optuna choose: "
            "-m hparams_search=optuna"
        )


def _how_many(override: Override) -> int:
    """Return the number of values that an override stands for."""
    value = override.value()
    if isinstance(value, RangeSweep) and value.start is not None and value.stop is not None:
        return max(1, math.ceil((float(value.stop) - float(value.start)) / float(value.step))) if value.step else 1
    return len(value.list) if isinstance(value, ChoiceSweep) else 1


def _choices(override: Override) -> list[str]:
    """Return the words that an override stands for, one for each of its values.

    Raises:
        UserError: for an interval.
    """
    if override.is_delete():
        return [str(override.input_line)]
    if override.is_interval_sweep():
        raise UserError(f"{override.input_line} is an interval, for -m hparams_search=optuna. List values: KEY=A,B,C")
    swept = override.is_sweep_override()
    values = override.sweep_string_iterator() if swept else [override.get_value_element_as_str()]
    return [f"{override.get_key_element()}={value}" for value in values]
