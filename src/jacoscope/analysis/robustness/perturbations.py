"""The table of noise, attacks and corruptions: what each is called, what its size means, and how it changes images.

Images are ``[batch, C, H, W]`` with pixels in [0, 1], before and after the change. Random numbers are those of torch's
global generator. FGSM, PGD and Gaussian noise are foolbox's, blur, rotation and contrast torchvision's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from jacoscope.analysis.attack import changed_by, load_foolbox
from jacoscope.runs.ranges import Range

DDN = "ddn"
"""The attack that searches the smallest change instead of one of a given size."""
STEP = 2.5
"""The steps of PGD together, in units of the size: enough to reach the surface from anywhere (Madry et al., 2018)."""
GREY = 0.5
"""What a pixel of an occluded square becomes."""

Change = Callable[[nn.Module, Tensor, Tensor, float, int], Tensor]
"""From a network, images, labels, a size and a number of steps to the changed images."""


@dataclass(frozen=True)
class Norm:
    """How the size of a change of an image is measured.

    Attributes:
        label: of an axis.
        symbol: in texts.
        key: of its sizes in the settings.
        has_ddn: whether DDN's distance is measured by it.
    """

    label: str
    symbol: str
    key: str
    has_ddn: bool


NORMS = {
    "linf": Norm("ε: largest change of a pixel (L∞)", "L∞", "epsilons", has_ddn=False),
    "l2": Norm("ε: L2 length of the change, pixel units", "L2", "l2_epsilons", has_ddn=True),
}


@dataclass(frozen=True)
class Attack:
    """A change of a given size in a norm.

    Attributes:
        label: in tables and charts.
        norm: a name in :data:`NORMS`.
        change: changes images by at most the size.
        is_noise: whether it is random, without a look at the network.
        has_steps: whether it goes in steps from a random start, which may be repeated.
    """

    label: str
    norm: str
    change: Change
    is_noise: bool = False
    has_steps: bool = False


@dataclass(frozen=True)
class Corruption:
    """A change that images suffer without an attacker.

    Attributes:
        label: in tables and charts.
        parameter: the name of its size, in columns.
        unit: of its size, on an axis.
        allowed: sizes.
        kind: the annotation of its sizes.
        change: changes images.
    """

    label: str
    parameter: str
    unit: str
    allowed: Range
    kind: Any
    change: Callable[[Tensor, float], Tensor]


def _random_signs(_: nn.Module, x: Tensor, __: Tensor, size: float, ___: int) -> Tensor:
    return (x + size * torch.rand_like(x).sub_(0.5).sign_()).clamp_(0, 1)


def _gaussian(module: nn.Module, x: Tensor, labels: Tensor, size: float, _: int) -> Tensor:
    return changed_by(load_foolbox().attacks.L2ClippingAwareAdditiveGaussianNoiseAttack(), module, x, labels, size)


def _fgsm(module: nn.Module, x: Tensor, labels: Tensor, size: float, _: int) -> Tensor:
    return changed_by(load_foolbox().attacks.LinfFastGradientAttack(), module, x, labels, size)


def _pgd(kind: str) -> Change:
    def change(module: nn.Module, x: Tensor, labels: Tensor, size: float, steps: int) -> Tensor:
        attack = getattr(load_foolbox().attacks, f"{kind}ProjectedGradientDescentAttack")
        return changed_by(attack(rel_stepsize=STEP / steps, steps=steps, random_start=True), module, x, labels, size)

    return change


ATTACKS = {
    "random_signs": Attack("random signs", "linf", _random_signs, is_noise=True),
    "fgsm": Attack("FGSM", "linf", _fgsm),
    "pgd_linf": Attack("PGD, L∞", "linf", _pgd("Linf"), has_steps=True),
    "gaussian": Attack("Gaussian noise", "l2", _gaussian, is_noise=True),
    "pgd_l2": Attack("PGD, L2", "l2", _pgd("L2"), has_steps=True),
}
"""All attacks of a given size, and noise, by name, in the order in which they are shown."""


def blurred(x: Tensor, sigma: float) -> Tensor:
    """Blur by a Gaussian of standard deviation ``sigma``, which is cut off at three of them or at the image's side."""
    reach = [min(round(3 * sigma), side - 1) for side in x.shape[:-3:-1]]  # torchvision takes width, then height
    changed: Tensor = transforms.gaussian_blur(x, [2 * each + 1 for each in reach], [sigma, sigma])
    return changed.clamp_(0, 1)


def rotated(x: Tensor, degrees: float) -> Tensor:
    """Rotate around the middle, each image to a random side; what comes in at the corners is black."""
    left, right = (
        transforms.rotate(x, angle, interpolation=InterpolationMode.BILINEAR) for angle in (degrees, -degrees)
    )
    to_left = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    changed: Tensor = left.where(to_left, right)
    return changed.clamp_(0, 1)


def faded(x: Tensor, loss: float) -> Tensor:
    """Reduce the contrast by a share: pixels move towards the mean brightness of their image.

    >>> faded(torch.tensor([[[[0.0, 1.0]]]]), 0.5).flatten().tolist()
    [0.25, 0.75]
    """
    changed: Tensor = transforms.adjust_contrast(x, 1 - loss)
    return changed


def occluded(x: Tensor, side: float) -> Tensor:
    """Cover a square at a random place of each image with grey; a square larger than the image covers all of it."""
    height, width = (min(int(side), whole) for whole in x.shape[-2:])
    changed = x.clone()
    for image in changed:
        top, left = (
            int(torch.randint(whole - part + 1, ())) for whole, part in zip(x.shape[-2:], (height, width), strict=True)
        )
        image[:, top : top + height, left : left + width] = GREY
    return changed


def noisy(x: Tensor, sigma: float) -> Tensor:
    """Add Gaussian noise to every pixel, and clip to [0, 1]."""
    changed: Tensor = transforms.gaussian_noise(x, sigma=sigma)
    return changed


CORRUPTIONS = {
    "noise": Corruption(
        "Gaussian noise", "sigma", "standard deviation of each pixel", Range(0, above=True), list[float], noisy
    ),
    "blur": Corruption("blur", "sigma", "standard deviation, pixels", Range(0, 1000, above=True), list[float], blurred),
    "rotation": Corruption(
        "rotation", "degrees", "degrees, to either side", Range(0, 180, above=True), list[float], rotated
    ),
    "contrast": Corruption(
        "loss of contrast", "loss", "share that is lost", Range(0, 1, above=True), list[float], faded
    ),
    "occlusion": Corruption("occlusion", "side", "side of the square, pixels", Range(1, 8192), list[int], occluded),
}
"""All corruptions by name, in the order in which they are shown."""


def label_of(name: str) -> str:
    """Return what a noise, an attack or a corruption is called.

    >>> label_of("pgd_l2"), label_of("ddn")
    ('PGD, L2', 'DDN')
    """
    return "DDN" if name == DDN else (ATTACKS.get(name) or CORRUPTIONS[name]).label


def column_of(name: str, size: float) -> str:
    """Return the name of the column, and within ``robustness/`` of the metric, for a size.

    >>> column_of("pgd_linf", 0.1), column_of("rotation", 30)
    ('pgd_linf/eps=0.1', 'rotation/degrees=30')
    """
    return f"{name}/{CORRUPTIONS[name].parameter if name in CORRUPTIONS else 'eps'}={size:g}"


@torch.no_grad()
def stands(
    name: str,
    module: nn.Module,
    x: Tensor,
    labels: Tensor,
    sizes: Sequence[float],
    seeds: Sequence[int],
    steps: int = 40,
    restarts: int = 1,
) -> Tensor:
    """Return whether the network decides rightly on changed images.

    Under an attack, a sample that was wrong before counts as wrong. Under PGD, one that was turned by a smaller change,
    or from another start, counts as turned, and is not attacked again: the smaller ball lies within the larger one.

    Args:
        name: in :data:`ATTACKS` or :data:`CORRUPTIONS`.
        module: from pixels ``[batch, C, H, W]`` to logits.
        x: images.
        labels: true classes, ``[batch]``.
        sizes: of the change, ascending.
        seeds: of the random numbers, one for each size.
        steps: of PGD.
        restarts: of PGD.

    Returns:
        ``[sizes, batch]``, bool.

    Raises:
        UserError: if the attack fails on the network.
    """
    attack = ATTACKS.get(name)
    before = module(x).argmax(1) == labels
    standing = before.clone()
    rows = []
    with torch.random.fork_rng([x.device] if x.is_cuda else []):
        for size, seed in zip(sizes, seeds, strict=True):
            torch.manual_seed(seed)
            if attack is None:
                standing = module(CORRUPTIONS[name].change(x, size)).argmax(1) == labels
            elif attack.has_steps:
                for _ in range(restarts):
                    left = standing.nonzero().flatten()
                    if len(left):
                        changed = attack.change(module, x[left], labels[left], size, steps)
                        standing[left] = module(changed).argmax(1) == labels[left]
            else:
                standing = module(attack.change(module, x, labels, size, steps)).argmax(1) == labels
                standing = standing if attack.is_noise else standing & before
            rows.append(standing.clone())
    return torch.stack(rows)


def loss_gradient(module: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """Compute the L2 norm of the gradient of the cross-entropy with respect to the image, ``[batch]``."""
    pixels = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        loss = nn.functional.cross_entropy(module(pixels), labels, reduction="sum")
        gradient: Any = torch.autograd.grad(loss, pixels)[0]
    norm: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return norm
