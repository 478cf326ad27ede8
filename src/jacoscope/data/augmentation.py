"""Random distortions of whole batches, a different one for each image."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RandomAffine(nn.Module):
    """Rotate, shift, scale and shear each image of a batch at random.

    torchvision's transforms draw one distortion for a whole batch; this draws one for each image, in one grid
    sampling on the device where the batch is. What enters from outside the image is 0, the background.

    Args:
        degrees: rotation, uniform in ±degrees.
        translate: shift along each axis, uniform in ±translate, as a fraction of the image side.
        scale: zoom, uniform in this range; above 1 enlarges.
        shear: horizontal shear, uniform in ±shear degrees.

    Shapes:
        float pixels ``[batch, C, H, W]`` to the same.

    >>> torch.equal(RandomAffine()(torch.eye(4).view(1, 1, 4, 4)), torch.eye(4).view(1, 1, 4, 4))
    True
    """

    def __init__(
        self,
        degrees: float = 0.0,
        translate: float = 0.0,
        scale: Sequence[float] = (1.0, 1.0),
        shear: float = 0.0,
    ) -> None:
        super().__init__()
        self.degrees = degrees
        self.translate = translate
        self.scale = tuple(scale)
        self.shear = shear

    def forward(self, x: Tensor) -> Tensor:
        return F.grid_sample(x, self.grid(x), mode="bilinear", padding_mode="zeros", align_corners=False)

    def grid(self, x: Tensor) -> Tensor:
        """Draw where each output pixel is read from: ``[batch, H, W, 2]`` in [-1, 1]."""
        height, width = x.shape[-2:]
        uniform = torch.rand(5, len(x), device=x.device, dtype=x.dtype).mul_(2).sub_(1)
        angle, shear, zoom, right, down = uniform.unbind()
        angle = angle * math.radians(self.degrees)
        shear = torch.tan(shear * math.radians(self.shear))
        low, high = self.scale
        zoom = (low + high) / 2 + zoom * (high - low) / 2
        cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
        aspect = height / width
        # grid_sample wants the map from output to input, in coordinates where each side is 2 long.
        rows = [
            torch.stack([cos, (cos * shear - sin) * aspect, 2 * self.translate * right], dim=1),
            torch.stack([sin / aspect, sin * shear + cos, 2 * self.translate * down], dim=1),
        ]
        return F.affine_grid(torch.stack(rows, dim=1), list(x.shape), align_corners=False)
