"""Fill TensorBoard's HPARAMS tab: one row for each run, with its hyperparameters and its final metrics."""

import sys
import time
from collections.abc import Collection, Mapping, Sequence
from numbers import Number
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import (
    DATA_TYPE_BOOL,
    DATA_TYPE_FLOAT64,
    DATA_TYPE_STRING,
    STATUS_FAILURE,
    STATUS_SUCCESS,
    Experiment,
    HParamInfo,
    MetricInfo,
    MetricName,
)
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)

from jacoscope.callbacks.jacobian.sinks import write_summary
from jacoscope.lightning import Callback, LightningModule, Trainer, is_a, rank_zero_info
from jacoscope.measures import shown_in

Value = bool | float | str

METRICS = {
    "test/accuracy": "test accuracy",
    "val/accuracy": "val accuracy",
    **{measure.tag(): measure.title() for measure in shown_in("hparams")},
}


class HParamsCallback(Callback):
    """Describe the run to TensorBoard's HPARAMS tab, in the run's own event file.

    ``SummaryWriter.add_hparams`` makes a new run for each call, apart from the curves, and Lightning's ``hp_metric``
    shows a column of −1. Here, the run that has the curves is the session, and the columns of metrics are its own
    scalars: TensorBoard shows the last value of each.

    In a Hydra application, everything that was typed on the command line is a hyperparameter too.

    If several runs are shown, TensorBoard takes the list of columns from one of them; names that only other runs have
    are not shown. So the runs of a sweep should have the same names, as they do if the same keys were typed for all.

    Args:
        hparams: names and values; nested mappings become dotted names, and a node with ``_target_`` gets the name of
            its class as its value. By default the module's ``hparams``.
        metrics: scalars that are columns, by tag, with the title of the column.
        changed: names that TensorBoard shows first, such as those that a sweep varies; by default what was typed.
        choices: groups of a Hydra config whose choice is a hyperparameter.
        ignore: keys of a Hydra config, with all below them, that are not hyperparameters even if they were typed.

    >>> hyperparameters({"optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.1}, "seed": 1})
    {'optimizer': 'AdamW', 'optimizer.lr': 0.1, 'seed': 1.0}
    """

    def __init__(
        self,
        hparams: Mapping[str, Any] | None = None,
        metrics: Mapping[str, str] | None = None,
        changed: Sequence[str] | None = None,
        choices: Sequence[str] = (),
        ignore: Sequence[str] = (),
    ) -> None:
        self.hparams = hparams
        self.metrics = dict(METRICS if metrics is None else metrics)
        typed = typed_overrides(ignore)
        self.changed = list(typed if changed is None else changed)
        self.asked_for = typed | chosen_configs(choices)
        self._begun = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not any(is_a(logger, "TensorBoardLogger") for logger in trainer.loggers):
            rank_zero_info("HParamsCallback: there is no TensorBoardLogger, so there is no HPARAMS tab to fill")
            return
        values = hyperparameters(self.asked_for)
        values |= hyperparameters(pl_module.hparams if self.hparams is None else self.hparams)
        infos = [
            HParamInfo(name=name, type=_type(value), differs=_differs(name, values, self.changed))
            for name, value in values.items()
        ]
        columns = [MetricInfo(name=MetricName(tag=tag), display_name=title) for tag, title in self.metrics.items()]
        now = time.time()
        start = SessionStartInfo(start_time_secs=now)
        for name, value in values.items():
            _set(start.hparams[name], value)
        experiment = Experiment(hparam_infos=infos, metric_infos=columns, time_created_secs=now)
        _write(trainer, metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment))
        _write(trainer, metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start))
        self._begun = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._end(trainer, STATUS_SUCCESS)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        self._end(trainer, STATUS_FAILURE)

    def _end(self, trainer: Trainer, status: int) -> None:
        if self._begun:
            self._begun = False
            end = SessionEndInfo(status=status, end_time_secs=time.time())
            _write(trainer, metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end))


def _differs(name: str, names: Collection[str], changed: Sequence[str]) -> bool:
    """Whether a hyperparameter was changed, or is below a changed key that is not a hyperparameter itself."""
    return any(name == key or (key not in names and name.startswith(f"{key}.")) for key in changed)


def hyperparameters(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Return nested mappings as dotted names with values that TensorBoard takes: booleans, numbers, texts.

    ``None`` is left out: a column cannot hold both nothing and numbers.
    """
    flat: dict[str, Value] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if key == "_target_":
            flat[prefix.rstrip(".") or name] = str(value).rpartition(".")[2]
        elif str(key).startswith("_") or value is None:
            continue
        elif isinstance(value, Mapping):
            flat |= hyperparameters(value, f"{name}.")
        elif isinstance(value, bool):
            flat[name] = value
        elif isinstance(value, Number):
            flat[name] = float(value)  # type: ignore[arg-type]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            flat[name] = f"[{', '.join(map(str, value))}]"
        else:
            flat[name] = str(value)
    return flat


def _type(value: Value) -> Any:
    if isinstance(value, bool):
        return DATA_TYPE_BOOL
    return DATA_TYPE_FLOAT64 if isinstance(value, float) else DATA_TYPE_STRING


def _set(place: Any, value: Value) -> None:
    if isinstance(value, bool):
        place.bool_value = value
    elif isinstance(value, float):
        place.number_value = value
    else:
        place.string_value = value


def _write(trainer: Trainer, tag: str, data: HParamsPluginData) -> None:
    if not trainer.is_global_zero:
        return
    for logger in trainer.loggers:
        if is_a(logger, "TensorBoardLogger"):
            value = Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR)
            write_summary(logger, Summary(value=[value]))
            logger.experiment.flush()  # type: ignore[attr-defined]


def typed_overrides(ignore: Collection[str] = ()) -> dict[str, Any]:
    """Return what was typed on the command line of a Hydra application, by key or group; nothing elsewhere.

    Args:
        ignore: keys that are left out, with all below them.
    """
    config = _hydra_config()
    if config is None:
        return {}
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    typed: Any = OmegaConf.to_container(config.overrides.task, resolve=False)
    words = [str(word) for word in typed if "${" not in str(word)]  # the value of an interpolation is not typed
    return {
        override.key_or_group: override.value()
        for override in OverridesParser.create().parse_overrides(words)
        if not override.is_delete() and not any(_is_at_or_below(override.key_or_group, key) for key in ignore)
    }


def chosen_configs(groups: Collection[str]) -> dict[str, str]:
    """Return the choice in each of these groups of a Hydra application that has one; nothing elsewhere."""
    config = _hydra_config()
    chosen = {} if config is None else config.runtime.choices
    return {group: chosen[group] for group in groups if chosen.get(group) is not None}


def _is_at_or_below(key: str, above: str) -> bool:
    return key == above or key.startswith((f"{above}.", f"{above}/"))


def _hydra_config() -> Any:
    """Return Hydra's own config of the running job; ``None`` outside of a Hydra application. Hydra is not imported."""
    if "hydra" not in sys.modules:
        return None
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.get() if HydraConfig.initialized() else None
