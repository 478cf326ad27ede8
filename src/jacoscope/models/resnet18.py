"""ResNet-18 for small images."""

from collections.abc import Sequence

from torch import nn
from torchvision.models import resnet18

from jacoscope.models.normalize import Normalize


class ResNet18(nn.Sequential):
    """torchvision's ResNet-18 behind a normalisation, with a stem for images of about 32×32.

    The 7×7 stride-2 convolution and the max pooling, made for 224×224, would leave little of a small image:
    they become one 3×3 convolution, as in the CIFAR experiments of He et al., "Deep residual learning", 2015.

    Args:
        input_shape: ``(C, H, W)`` of one image.
        num_classes: number of logits.
        mean: mean of each channel, in pixel units.
        std: standard deviation of each channel, in pixel units.

    Shapes:
        pixels in [0, 1] ``[batch, C, H, W]`` to logits ``[batch, num_classes]``.
    """

    def __init__(
        self,
        input_shape: Sequence[int] = (3, 32, 32),
        num_classes: int = 10,
        mean: Sequence[float] = (0.4914, 0.4822, 0.4465),
        std: Sequence[float] = (0.2470, 0.2435, 0.2616),
    ) -> None:
        network = resnet18(num_classes=num_classes)
        network.conv1 = nn.Conv2d(input_shape[0], 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
        super().__init__(Normalize(mean, std), network)
