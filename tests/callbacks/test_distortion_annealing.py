import pytest
from pytorch_lightning import LightningModule, Trainer

from jacoscope.callbacks import DistortionAnnealing
from jacoscope.data import RandomAffine, RandomDistortion, RandomElastic
from jacoscope.errors import UserError


class Run:
    """What the callback looks at of a trainer."""

    class datamodule:  # noqa: N801
        augmentation = RandomDistortion(RandomAffine(), RandomElastic())

    max_epochs = 10
    current_epoch = 0


def test_strength_stays_then_falls_in_a_straight_line_to_the_final_one() -> None:
    callback, run, strengths = DistortionAnnealing(start=0.6, final=0.2), Run(), []
    for run.current_epoch in range(10):
        callback.on_train_epoch_start(run, LightningModule())  # type: ignore[arg-type]
        strengths.append(run.datamodule.augmentation.strength)
    assert strengths[:7] == [1.0] * 7
    assert strengths[7:] == pytest.approx([0.8, 0.6, 0.4])


def test_without_a_distortion_it_says_what_to_type() -> None:
    with pytest.raises(UserError, match="augmentation=elastic"):
        DistortionAnnealing().on_train_epoch_start(Trainer(logger=False, accelerator="cpu"), LightningModule())


@pytest.mark.parametrize("arguments", [{"start": 1.0}, {"start": -0.1}, {"final": -1.0}])
def test_refuses_what_is_no_schedule(arguments: dict[str, float]) -> None:
    with pytest.raises(UserError, match="DistortionAnnealing"):
        DistortionAnnealing(**arguments)
