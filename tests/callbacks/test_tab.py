"""The Jacobians of the drawn samples are logged for the tab at each measurement, with pictures or without."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytorch_lightning.loggers import CSVLogger

from jacoscope import board
from jacoscope.callbacks import JacobianCallback

from .someone import X, Y, events, jacobians, numbers, train

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("pictures", [0, 2])
def test_every_epoch_is_logged_once_and_the_last_is_the_trained_network(tmp_path: Path, pictures: int) -> None:
    module, _ = train(tmp_path, [numbers(images_every_n_epochs=pictures)], epochs=3)
    read = board.read(tmp_path)
    measured = [point.step for point in events(tmp_path).Scalars("jacobian/logits/frobenius/mean")]
    assert len(read) == 3  # one of each class
    for course in read.values():
        index = course.probe.index
        assert course.steps.tolist() == measured
        assert course.probe.label == int(Y[index])
        assert course.probe.image / 255 == pytest.approx(X[index].numpy(), abs=0.51 / 255)
        for output, probs in (("logits", False), ("probs", True)):
            expected = jacobians(module.double(), X[index : index + 1].double(), probs)[0].reshape(3, 8, 8).numpy()
            assert np.abs(course.jacobians[output][-1] - expected).max() <= 1e-4 * np.abs(expected).max()
            norm = np.linalg.norm(expected)
            assert course.values[f"{output}/frobenius"][-1] == pytest.approx(norm, rel=1e-4)


def test_steps_between_validations_are_logged_too(tmp_path: Path) -> None:
    train(tmp_path, [numbers(every_n_steps=3)], epochs=2)
    measured = [point.step for point in events(tmp_path).Scalars("jacobian/logits/frobenius/mean")]
    (first, *_) = board.read(tmp_path).values()
    assert len(measured) > 3
    assert first.steps.tolist() == sorted(set(measured))


@pytest.mark.parametrize("arguments", [{"tab": False}, {"logger": CSVLogger}])
def test_it_can_be_left_out_and_other_loggers_get_nothing(tmp_path: Path, arguments: dict[str, Any]) -> None:
    logger = {"logger": CSVLogger(tmp_path)} if "logger" in arguments else {}
    train(tmp_path, [numbers(tab=arguments.get("tab", True))], epochs=1, **logger)
    assert board.read(tmp_path) == {}


def test_a_second_callback_has_tags_of_its_own(tmp_path: Path) -> None:
    callbacks = [numbers(probe_indices=[1]), JacobianCallback(name="other", probe_indices=[2], images_every_n_epochs=0)]
    train(tmp_path, callbacks, epochs=1)
    assert list(board.read(tmp_path)) == ["jacobians/1", "other/jacobians/2"]
