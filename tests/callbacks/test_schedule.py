"""A training is measured and drawn at its first validation, in turn, and at its end, however it ends."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import WeightAveraging

from jacoscope.callbacks import JacobianCallback

from .someone import X, events, last, mean_norm, numbers, train

pytestmark = pytest.mark.filterwarnings("ignore")
MEAN = "jacobian/logits/frobenius/mean"
STEPS = 7  # of an epoch


def steps(folder: Path, tag: str = MEAN) -> list[int]:
    return [event.step for event in events(folder).Scalars(tag)]


def drawn(folder: Path) -> list[int]:
    return [shown.step for shown in events(folder).Images("jacobian_maps/logits/class_maps")]


def after(*epochs: int) -> list[int]:
    return [STEPS * count - 1 for count in epochs]


class StopAfter(Callback):
    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def test_the_first_in_turn_and_the_last(tmp_path: Path) -> None:
    train(tmp_path, [numbers(every_n_epochs=2, train_samples=0, outputs=["logits"])], epochs=5)
    assert steps(tmp_path, "val/loss") == after(1, 2, 3, 4, 5)
    assert steps(tmp_path) == after(1, 2, 4, 5)


@pytest.mark.parametrize(
    ("stop", "epochs", "trainer", "expected"),
    [
        (None, 9, {"check_val_every_n_epoch": 2}, after(2, 6, 9)),
        (None, -1, {"max_steps": 10}, [*after(1), 9]),
        (StopAfter(3), 9, {}, after(1, 3)),
    ],
    ids=["validations skip epochs", "max_steps", "stopped early"],
)
def test_the_end_is_measured_and_drawn_wherever_it_comes(
    tmp_path: Path,
    stop: Callback | None,
    epochs: int,
    trainer: dict[str, Any],
    expected: list[int],
) -> None:
    watching = JacobianCallback(every_n_epochs=5, max_samples=1000, train_samples=0, outputs=["logits"])
    callbacks = [watching, *([stop] if stop else [])]
    module, fitted = train(tmp_path, callbacks, epochs=epochs, **trainer)
    assert steps(tmp_path) == drawn(tmp_path) == expected, "each once"
    assert last(tmp_path) == float(fitted.callback_metrics[MEAN]) == mean_norm(module, X)


@pytest.mark.parametrize("comes_first", [True, False])
def test_an_end_between_validations_is_that_of_the_averaged_weights(tmp_path: Path, comes_first: bool) -> None:
    averaging = WeightAveraging(multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    callbacks = [averaging, numbers()] if comes_first else [numbers(), averaging]
    module, _ = train(tmp_path, callbacks, epochs=5, max_steps=10)
    assert steps(tmp_path) == [*after(1), 9]
    assert last(tmp_path) == mean_norm(module, X)


def test_every_n_steps_once_there_are_samples(tmp_path: Path) -> None:
    train(tmp_path, [numbers(every_n_steps=3)])
    assert steps(tmp_path) == [6, 8, 11, 13]
    assert steps(tmp_path, "val/loss") == [6, 13]


def test_several_validations_an_epoch_are_all_measured_and_the_first_and_last_drawn(tmp_path: Path) -> None:
    train(tmp_path, [JacobianCallback(max_samples=5, train_samples=0, outputs=["logits"])], val_check_interval=0.5)
    validated = steps(tmp_path, "val/loss")
    assert len(validated) == 4
    assert steps(tmp_path) == [*validated, *after(2)], "the last batch comes after the last validation"
    assert drawn(tmp_path) == [validated[0], *after(2)]


def test_a_resumed_training_keeps_to_the_turns(tmp_path: Path) -> None:
    class Keep(Callback):
        def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
            if trainer.current_epoch == 3:
                trainer.save_checkpoint(tmp_path / "epoch 4.ckpt")

    def watching() -> JacobianCallback:
        return JacobianCallback(3, images_every_n_epochs=3, max_samples=5, train_samples=0, outputs=["logits"])

    train(tmp_path / "straight", [watching(), Keep()], epochs=6)
    assert steps(tmp_path / "straight") == drawn(tmp_path / "straight") == after(1, 3, 6)
    train(tmp_path / "resumed", [watching()], epochs=6, resume_from=tmp_path / "epoch 4.ckpt")
    assert steps(tmp_path / "resumed") == drawn(tmp_path / "resumed") == after(6)
