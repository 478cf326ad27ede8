"""``python train.py -m hparams_search=optuna``: Optuna proposes the runs, as many as it takes to reach a total."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from jacoscope.errors import UserError
from jacoscope.runs.targets import check_targets


class SearchSweeper(Sweeper):
    """Hydra's Optuna sweeper, in a sweep that the same command goes on with.

    Hydra's own starts as many new trials again when it is called again, and leaves those that were running as they
    are. Its search spaces and samplers are used here; optuna is imported when a search begins, not at every start.

    Args:
        settings: those of :class:`jacoscope.sweeps.study.Search`.
    """

    hydra_context: HydraContext
    config: DictConfig

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self.launcher = None

    def sweep(self, arguments: list[str]) -> None:
        try:
            from jacoscope.sweeps.study import Search
        except ImportError as error:
            raise UserError(f"A search needs Optuna ({error}): pip install -e '.[sweep]'") from error

        settings = {k: _plain(v) for k, v in self.settings.items()}
        check_targets({"_target_": f"{Search.__module__}.{Search.__name__}", **settings}, "hydra.sweeper")
        folder = str(self.config.hydra.sweep.dir)
        if folder in str(settings.get("storage")) and set(folder) & set("?#%"):
            raise UserError(f"A study cannot lie in {folder}: name the sweep and its folders without ?, # and %")
        search = Search(**settings)
        search.setup(hydra_context=self.hydra_context, task_function=self.task_function, config=self.config)
        search.sweep(arguments)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def register(show: Callable[[Path], None]) -> None:
    """Make the sweepers known to Hydra.

    Args:
        show: shows the runs of a sweep at its end, given its directory.
    """
    from jacoscope.sweeps import session
    from jacoscope.sweeps.grid import GridSweeper

    session.show_at_end = show
    for sweeper in (GridSweeper, SearchSweeper):
        Plugins.instance().register(sweeper)
