"""What a finished training is evaluated on, and with which weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint, WeightAveraging
from pytorch_lightning.loggers import CSVLogger
from torch import nn

from jacoscope.checkpoints import read_checkpoint
from jacoscope.data import ImageDataModule, ImageSets, LabelledImages
from jacoscope.data.datamodule import to_pixels
from jacoscope.models import MLP
from jacoscope.runs.evaluation import evaluate_best
from jacoscope.training import CheckpointFiles, ClassifierModule, constant


class Noise:
    """Images of noise, others in every part."""

    def prepare(self) -> None: ...

    def load(self) -> ImageSets:
        def part(seed: int, samples: int) -> LabelledImages:
            generator = torch.Generator().manual_seed(seed)
            images = torch.randint(0, 256, (samples, 1, 4, 4), dtype=torch.uint8, generator=generator)
            return LabelledImages(images, (images.float().mean((1, 2, 3)) > 127).long())

        return ImageSets(part(0, 40), part(1, 24), ("dark", "bright"), part(2, 16))


class Invert(nn.Module):
    """An augmentation that would change every number."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1 - x


@pytest.mark.parametrize("averaged", [False, True])
def test_all_images_without_augmentation_by_the_best_checkpoint_and_only_the_test_is_logged(
    averaged: bool, tmp_path: Path
) -> None:
    config = {"_target_": "pytorch_lightning.Trainer", "accelerator": "cpu", "enable_model_summary": False}
    data = ImageDataModule(Noise(), (1, 4, 4), 2, batch_size=8, augmentation=Invert())
    module = ClassifierModule(MLP((1, 4, 4), 2, (4,)), nn.CrossEntropyLoss(), torch.optim.Adam, constant, 2)
    best = ModelCheckpoint(tmp_path, "best", monitor="epoch", mode="min", enable_version_counter=False)  # not the last
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=3,
        logger=CSVLogger(tmp_path),
        plugins=[CheckpointFiles()],
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[best, *([WeightAveraging()] if averaged else [])],
    )
    trainer.fit(module, data)
    before = (trainer.loggers, trainer.callbacks, data.val_dataloader().dataset)  # type: ignore[attr-defined]
    metrics = evaluate_best({"trainer": config}, trainer, module, data)
    assert (trainer.loggers, trainer.callbacks, data.val_dataloader().dataset) == before  # type: ignore[attr-defined]
    module.load_state_dict(read_checkpoint(tmp_path / "best.ckpt")["state_dict"])
    assert metrics == pytest.approx(by_hand(module, data), rel=1e-5)
    logged = (Path(trainer.logger.log_dir) / "metrics.csv").read_text().splitlines()  # type: ignore[union-attr,arg-type]
    names = logged[0].split(",")
    assert sum(bool(row.split(",")[names.index("val/loss")]) for row in logged[1:]) == 3
    assert sum(bool(row.split(",")[names.index("test/loss")]) for row in logged[1:]) == 1


def by_hand(module: ClassifierModule, data: ImageDataModule) -> dict[str, Any]:
    metrics = {}
    with torch.no_grad():
        for name, part in data.splits.items():
            logits = module.eval()(to_pixels(part.images))
            metrics[f"{name}/loss"] = nn.functional.cross_entropy(logits, part.labels).item()
            metrics[f"{name}/accuracy"] = (logits.argmax(1) == part.labels).float().mean().item()
    return metrics
