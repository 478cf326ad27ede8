"""Eight pictures of two kinds, or odder ones."""

import torch
from torch import Tensor

from jacoscope.data import ImageSets, LabelledImages


class Pictures:
    """A source of images 1×4×4; all parts are alike.

    Args:
        images: uint8 ``[samples, 1, 4, 4]``; by default eight of noise.
        labels: their classes; by default 0 and 1 in turn.
        own_val: whether there is a part for validation.
    """

    def __init__(self, images: Tensor | None = None, labels: Tensor | None = None, own_val: bool = True) -> None:
        images = torch.randint(0, 256, (8, 1, 4, 4), dtype=torch.uint8) if images is None else images
        self.part = LabelledImages(images, torch.arange(len(images)) % 2 if labels is None else labels)
        self.val = self.part if own_val else None

    def prepare(self) -> None: ...

    def load(self) -> ImageSets:
        return ImageSets(self.part, self.part, ("a", "b"), self.val)
