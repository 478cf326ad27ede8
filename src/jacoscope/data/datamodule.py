"""Batches of images on the training device."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from jacoscope.data.images import LabelledImages, Source, samples_of_each_class, stratified_split
from jacoscope.data.order import EpochOrder, seed_batch
from jacoscope.errors import UserError
from jacoscope.lightning import LightningDataModule

Batch = tuple[Tensor, Tensor]


class ImageDataModule(LightningDataModule):
    """Training, validation and test batches of images that stay in memory as uint8.

    A batch is one indexing operation and is moved to the training device as bytes. There the whole batch is converted
    to pixels in [0, 1] and augmented. With a small network, this decides the time of an epoch.

    The order of the samples depends on ``seed`` and the epoch only; everything random in a training step (augmentation,
    dropout) depends on ``seed``, the number of the batch and the rank. So a resumed training draws the same numbers as
    one that was not interrupted.

    Args:
        source: where the images come from.
        input_shape: expected shape of an image, ``(C, H, W)``.
        num_classes: expected number of classes.
        batch_size: samples of a training batch, on each device; at most as many as there are training images.
        eval_batch_size: samples of a validation or test batch, on each device.
        val_size: number of training samples, or share of them, that are set aside for validation, in proportion to
            the classes; ignored if the source has validation images.
        split_seed: seed of the draw of those samples; independent of ``seed``.
        samples_per_class: train on exactly so many samples of each class, drawn from those that are not set aside; None
            for all.
        subset_seed: seed of that draw.
        passes_per_epoch: how often an epoch goes through the training images, each time in a new order; for so few
            that an epoch would be a single step.
        augmentation: applied to whole training batches, float pixels in [0, 1] ``[batch, C, H, W]``.
        seed: seed of the training: of the order of its samples and of what is random in its steps.

    Raises:
        UserError: if a batch size is not positive; in ``setup``, if the images have another shape or other labels.
    """

    def __init__(
        self,
        source: Source,
        input_shape: Sequence[int],
        num_classes: int,
        batch_size: int = 128,
        eval_batch_size: int = 500,
        val_size: int | float = 5000,
        split_seed: int = 0,
        samples_per_class: int | None = None,
        subset_seed: int = 0,
        passes_per_epoch: int = 1,
        augmentation: nn.Module | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        sizes = {"batch_size": batch_size, "eval_batch_size": eval_batch_size, "passes_per_epoch": passes_per_epoch}
        for name, value in sizes.items():
            if value < 1:
                raise UserError(f"data.{name}={value} is not allowed; it is 1 or more")
        self.source = source
        self.input_shape = tuple(input_shape)
        self.num_classes = num_classes
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.val_size = val_size
        self.split_seed = split_seed
        self.samples_per_class = samples_per_class
        self.subset_seed = subset_seed
        self.passes_per_epoch = passes_per_epoch
        self.augmentation = augmentation
        self.seed = seed
        self.resume_at = (0, 0)  # epoch, batches of it that are done
        self.class_names: tuple[str, ...] = ()
        self.splits: dict[str, LabelledImages] = {}

    def prepare_data(self) -> None:
        self.source.prepare()

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002
        if self.splits:
            return
        sets = self.source.load()
        train, val = sets.train, sets.val
        self._check("train", train)
        if val is None:
            is_share = isinstance(self.val_size, float)
            size = round(self.val_size * len(train)) if is_share else int(self.val_size)
            kept, held_out = stratified_split(train.labels, size, self.split_seed)
            train, val = train.select(kept), train.select(held_out)
        if self.samples_per_class is not None:
            train = train.select(samples_of_each_class(train.labels, self.samples_per_class, self.subset_seed))
        self._check("val", val)
        self._check("test", sets.test)
        self.class_names = sets.class_names
        self.splits = {"train": train, "val": val, "test": sets.test}

    def train_dataloader(self) -> DataLoader[Batch]:
        epoch, batches = self.resume_at
        part, trainer = self.splits["train"], self.trainer
        rank, processes = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        batch_size = min(self.batch_size, -(-len(part) // processes))
        order = EpochOrder(part, self.seed, rank, processes, (epoch, batches * batch_size), self.passes_per_epoch)
        return self._loader(part, batch_size, order)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.splits["val"], self.eval_batch_size)

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.splits["test"], self.eval_batch_size)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:  # noqa: ARG002
        trainer = self.trainer
        if trainer is not None and trainer.training:
            seed_batch(trainer.strategy.root_device, self.seed, trainer.fit_loop.total_batch_idx, trainer.global_rank)
        return batch

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:  # noqa: ARG002
        images, labels = batch
        pixels = to_pixels(images)
        if self.augmentation is not None and self.trainer is not None and self.trainer.training:
            pixels = self.augmentation(pixels)
        if self.trainer is not None:  # Lightning has converted its input before this hook, but leaves bytes alone
            pixels = self.trainer.precision_plugin.convert_input(pixels)
        return pixels, labels

    def state_dict(self) -> dict[str, Any]:
        assert self.trainer is not None
        loop = self.trainer.fit_loop
        epoch: Any = loop.epoch_progress.current
        is_between_epochs = epoch.processed == epoch.ready
        batches = 0 if is_between_epochs else loop.epoch_loop.batch_progress.current.completed
        return {"epoch": self.trainer.current_epoch, "batches": batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.resume_at = (state_dict["epoch"], state_dict["batches"])
        # Lightning does not know that this loader can resume in the middle of an epoch.
        warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch")

    def _loader(self, part: LabelledImages, batch_size: int, order: EpochOrder | None = None) -> DataLoader[Batch]:
        return DataLoader(part, batch_size, sampler=order, collate_fn=_as_is, pin_memory=torch.cuda.is_available())

    def _check(self, name: str, part: LabelledImages) -> None:
        if len(part) == 0:
            hint = f": data.val_size={self.val_size} leaves none for validation" if name == "val" else ""
            raise UserError(f"There are no {name} images{hint}")
        shape = tuple(part.images.shape[1:])
        if shape != self.input_shape:
            raise UserError(
                f"The {name} images are {list(shape)} (channels, height, width), but images.shape says "
                f"{list(self.input_shape)}: type images.shape={list(shape)}"
            )
        low, high = int(part.labels.min()), int(part.labels.max())
        if low < 0 or high >= self.num_classes:
            remedy = f"type images.classes={high + 1}"
            if low != 0:
                remedy = "the first class is 0; a class derived from that of data.source can correct the labels"
            raise UserError(
                f"The {name} labels run from {low} to {high}, but images.classes={self.num_classes} allows "
                f"0 to {self.num_classes - 1}: {remedy}"
            )


def to_pixels(images: Tensor) -> Tensor:
    """Convert uint8 images, 0 to 255, to float pixels in [0, 1] on the same device.

    >>> to_pixels(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([0., 1.])
    """
    return images.float().div_(255)


def _as_is(batch: Any) -> Any:
    return batch
