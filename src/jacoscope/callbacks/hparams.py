"""Fill TensorBoard's HPARAMS tab: every run a row, with its hyperparameters and its final metrics."""

import time
from collections.abc import Collection, Mapping, Sequence
from numbers import Number
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
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

from jacoscope.callbacks import command_line

Value = bool | float | str

METRICS = {
    "test/accuracy": "test accuracy",
    "val/accuracy": "val accuracy",
    "jacobian/logits/frobenius/mean": "‖J‖F logits",
    "jacobian/logits/spectral/mean": "‖J‖₂ logits",
    "jacobian/logits/boundary_distance/mean": "boundary distance",
}


class HParamsCallback(Callback):
    """Describe the run to TensorBoard's HPARAMS tab, in the run's own event file.

    ``SummaryWriter.add_hparams`` makes a run of its own for each call, apart from the curves; Lightning's
    ``hp_metric`` shows a column of −1. Here the run that has the curves is itself the session, and the columns of
    metrics name its own scalars: TensorBoard takes the last value of each, so that they are filled as they come.

    In a Hydra application, whatever was typed on the command line is a hyperparameter too.

    Where several runs are shown, TensorBoard takes the list of columns from one of them. Runs of one sweep should
    therefore have the same names, as they do where the same ones were typed for all; what only some have is not shown.

    Args:
        hparams: names and values; nested mappings become dotted names, and a node with ``_target_`` gets the name of
            its class as its value. By default the module's ``hparams``.
        metrics: scalars that are columns, by tag, with the title of the column.
        changed: names that TensorBoard is to show first, such as what a sweep varies; by default what was typed.
        choices: groups of a Hydra config whose choice is a hyperparameter.
        ignore: keys of a Hydra config that are no hyperparameters though they were typed, with all below them.

    >>> flatten({"optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.1}, "seed": 1})
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
        typed = command_line.typed(ignore)
        self.changed = list(typed if changed is None else changed)
        self.asked_for = typed | command_line.choices(choices)
        self._begun = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        values = flatten(self.asked_for) | flatten(pl_module.hparams if self.hparams is None else self.hparams)
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
    """Tell whether a hyperparameter is one that was changed; of a changed group without a name of its own, any."""
    return any(name == key or (key not in names and name.startswith(f"{key}.")) for key in changed)


def flatten(hparams: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Turn nested mappings into dotted names with values that TensorBoard takes: truth values, numbers, texts.

    ``None`` is left out: a column cannot hold both nothing and numbers.
    """
    flat: dict[str, Value] = {}
    for key, value in hparams.items():
        name = f"{prefix}{key}"
        if key == "_target_":
            flat[prefix.rstrip(".") or name] = str(value).rpartition(".")[2]
        elif str(key).startswith("_") or value is None:
            continue
        elif isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
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
        if isinstance(logger, TensorBoardLogger):
            value = Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR)
            writer = logger.experiment._get_file_writer()
            writer.add_summary(Summary(value=[value]))
            writer.flush()
