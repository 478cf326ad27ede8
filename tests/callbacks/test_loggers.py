"""Loggers besides TensorBoard get the same numbers and pictures."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from jacoscope.callbacks import JacobianCallback
from jacoscope.callbacks.jacobian.sinks import Sink, TensorBoardSink, sinks_of

from .someone import events, numbers, train

pytestmark = pytest.mark.filterwarnings("ignore")


def test_mlflow_has_numbers_and_pictures(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed: pip install jacoscope[mlflow]")
    pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed: pip install jacoscope[mlflow]")
    from pytorch_lightning.loggers import MLFlowLogger

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    logger = MLFlowLogger("test", tracking_uri=uri, artifact_location=(tmp_path / "artifacts").as_uri())
    train(tmp_path, [JacobianCallback()], logger=logger, epochs=1)

    client = mlflow.MlflowClient(uri)
    metrics = client.get_run(logger.run_id).data.metrics
    assert metrics["jacobian/logits/frobenius/mean"] > 0
    names = [path.name for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
    assert any("probe_sheet" in name and name.endswith(".png") for name in names)
    assert any(name.startswith("how_to_read") for name in names)


def test_wandb_has_numbers_and_pictures_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed: pip install 'jacoscope[wandb]'")
    from pytorch_lightning.loggers import WandbLogger

    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(project="test", save_dir=tmp_path, offline=True)
    train(tmp_path, [JacobianCallback(max_samples=30)], logger=logger, epochs=1)

    summary = dict(logger.experiment.summary)
    logger.experiment.finish()
    assert summary["jacobian/logits/frobenius/mean"] > 0
    pictures = [path.name for path in tmp_path.rglob("*.png")]
    assert any("probe_sheet" in name for name in pictures)
    assert "jacobian_distribution/logits/frobenius" in summary


def test_loggers_are_known_by_their_names_whichever_package_they_are_of(tmp_path: Path) -> None:
    """None of lightning.pytorch's loggers is an instance of one of pytorch_lightning, though they do the same."""
    other = type("TensorBoardLogger", (CSVLogger,), {})
    derived = type("Someones", (TensorBoardLogger,), {})
    sinks = sinks_of([kind(tmp_path) for kind in (other, derived, CSVLogger)])
    assert [type(sink) for sink in sinks] == [TensorBoardSink, TensorBoardSink, Sink]


@pytest.mark.parametrize(
    ("callback", "both", "expected"),
    [(JacobianCallback, False, 1), (JacobianCallback, True, 0), (numbers, False, 0)],
    ids=["CSV", "CSV and TensorBoard", "numbers alone"],
)
def test_a_logger_that_takes_no_pictures_is_named_once(
    tmp_path: Path, callback: Any, both: bool, expected: int
) -> None:
    loggers: list[Logger] = [CSVLogger(tmp_path)]
    loggers += [TensorBoardLogger(tmp_path)] if both else []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        train(tmp_path, [callback(max_samples=20)], logger=loggers)
    found = [str(each.message) for each in told if "CSVLogger takes no pictures" in str(each.message)]
    assert len(found) == expected


def test_each_place_that_a_run_logs_to_has_the_page_and_the_layout_once(tmp_path: Path) -> None:
    state = None
    for name in ("version_0", "version_0", "version_1"):  # a run that is resumed twice
        callback = numbers(max_samples=5)
        if state is not None:
            callback.load_state_dict(state)
        train(tmp_path, [callback], epochs=1, logger=TensorBoardLogger(tmp_path, name="", version=name))
        state = callback.state_dict()
    for name in ("version_0", "version_1"):
        logged = events(tmp_path / name)
        for tag in ("jacobian/how_to_read/text_summary", "custom_scalars__config__"):
            assert len(logged.Tensors(tag)) == 1
