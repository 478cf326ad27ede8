"""Random distortions of whole batches, a different one for each image.

torchvision's transforms draw one distortion for a whole batch. These draw one for each image and resample the batch
once, on its own device. Pixels from outside an image are 0, the background.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RandomAffine(nn.Module):
    """Rotate, shear, zoom and shift each image about its centre.

    The value at position p of the result is read at ``A p + t`` of the image, with A a rotation, a shear and a zoom
    of each axis.

    Args:
        degrees: rotation, uniform in ±degrees.
        translate: shift along each axis, uniform in ± this fraction of the side.
        scale: zoom of each axis, log-uniform between these two; above 1 enlarges.
        shear: horizontal shear, uniform in ±shear degrees.

    Raises:
        ValueError: for a scale that is not two positive factors, the smaller first.

    Shapes:
        float pixels ``[batch, C, H, W]`` to the same.

    >>> x = torch.rand(2, 1, 28, 28)
    >>> torch.allclose(RandomAffine()(x), x, atol=1e-5)
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
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale={list(scale)} is not allowed; it is two positive factors, the smaller first")
        self.degrees = degrees
        self.translate = translate
        self.log_scale = (math.log(scale[0]), math.log(scale[1]))
        self.shear = shear

    def forward(self, x: Tensor) -> Tensor:
        return _resample(x, self.grid(x))

    def grid(self, x: Tensor) -> Tensor:
        """Draw the position at which each pixel is read: ``[batch, H, W, 2]``, (x, y) in units of half a side."""
        height, width = x.shape[-2:]
        angle, shear, zoom_x, zoom_y, right, down = (
            torch.rand(6, len(x), device=x.device, dtype=x.dtype).mul_(2).sub_(1).unbind()
        )
        angle = angle * math.radians(self.degrees)
        slant = torch.tan(shear * math.radians(self.shear))
        low, high = self.log_scale
        zoom_x, zoom_y = (torch.exp(-(low + high) / 2 - zoom * (high - low) / 2) for zoom in (zoom_x, zoom_y))
        cos, sin = torch.cos(angle), torch.sin(angle)
        aspect = height / width
        rows = [
            torch.stack([cos * zoom_x, (cos * slant - sin) * zoom_y * aspect, 2 * self.translate * right], dim=1),
            torch.stack([sin * zoom_x / aspect, (sin * slant + cos) * zoom_y, 2 * self.translate * down], dim=1),
        ]
        return F.affine_grid(torch.stack(rows, dim=1), list(x.shape), align_corners=False)


class RandomElastic(nn.Module):
    """Move every pixel of each image a little, and its neighbours with it.

    Simard, Steinkraus and Platt, "Best practices for convolutional neural networks", 2003, smooth white noise with a
    Gaussian of width sigma. Away from the border that is a Gaussian random field with the covariance
    ``amplitude² exp(-d² / (4 sigma²))`` at distance d. It is drawn directly here: the covariance is a product of one
    for rows and one for columns, each approximated by its leading eigenvectors, so that a field takes two small matrix
    products.

    Args:
        amplitude: standard deviation of each component of the displacement, in pixels. Simard's alpha = 34,
            sigma = 4 is an amplitude of 1.4.
        sigma: width of the smoothing Gaussian, in pixels.

    Raises:
        ValueError: for a width that is not positive.

    Shapes:
        float pixels ``[batch, C, H, W]`` to the same.
    """

    def __init__(self, amplitude: float = 1.0, sigma: float = 4.0) -> None:
        super().__init__()
        if sigma <= 0:
            raise ValueError(f"sigma={sigma} is not allowed; it is positive")
        self.amplitude = amplitude
        self.sigma = sigma
        self._roots: dict[tuple[int, torch.device, torch.dtype], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        return _resample(x, _identity_grid(x) + self.displacement(x))

    def displacement(self, x: Tensor) -> Tensor:
        """Draw the distance of each pixel to where it is read: ``[batch, H, W, 2]``, in units of half a side."""
        batch, _, height, width = x.shape
        rows, columns = self._root(height, x), self._root(width, x)
        noise = torch.randn(2 * batch, rows.shape[1], columns.shape[1], device=x.device, dtype=x.dtype)
        field = (rows @ noise @ columns.T).view(2, batch, height, width).permute(1, 2, 3, 0)
        return field * (self.amplitude * x.new_tensor([2 / width, 2 / height]))

    def _root(self, size: int, like: Tensor) -> Tensor:
        """Return L, ``[size, r]``, where L Lᵀ is the covariance along one axis, without its small eigenvalues."""
        key = (size, like.device, like.dtype)
        if key not in self._roots:
            position = torch.arange(size, dtype=torch.float64)
            covariance = torch.exp(-(position[:, None] - position).square() / (4 * self.sigma**2))
            values, vectors = torch.linalg.eigh(covariance)
            kept = values > 1e-3 * values.max()
            self._roots[key] = (vectors[:, kept] * values[kept].sqrt()).to(like)
        return self._roots[key]


class RandomDistortion(nn.Module):
    """An affine map and an elastic displacement in one resampling, so that an image is blurred only once.

    Args:
        affine: the affine map.
        elastic: the displacement that is added to it.

    Attributes:
        strength: factor on the displacement of every pixel: 1 as drawn, 0 for none.

    Shapes:
        float pixels ``[batch, C, H, W]`` to the same.
    """

    def __init__(self, affine: RandomAffine, elastic: RandomElastic) -> None:
        super().__init__()
        self.affine = affine
        self.elastic = elastic
        self.strength = 1.0

    def forward(self, x: Tensor) -> Tensor:
        grid = self.affine.grid(x) + self.elastic.displacement(x)
        return _resample(x, torch.lerp(_identity_grid(x), grid, self.strength))


def _identity_grid(x: Tensor) -> Tensor:
    """Return the grid that leaves every pixel in its place."""
    identity = torch.eye(2, 3, device=x.device, dtype=x.dtype).unsqueeze(0)
    return F.affine_grid(identity, [1, *x.shape[1:]], align_corners=False)


def _resample(x: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
