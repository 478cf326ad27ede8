"""LeNet-5 as it is used today: tanh and average pooling, or ReLU and max pooling."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import nn

from jacoscope.models.normalize import Normalize

PAPER_SIZE = 32  # LeCun et al. pad the 28×28 digits to 32×32, so that strokes at the border reach every kernel


class LeNet5(nn.Sequential):
    """LeNet-5 as it is usually implemented; 61,706 parameters for 28×28 digits and ten classes.

    Two 5×5 convolutions, each followed by an activation and 2×2 pooling, then three linear layers.
    The first convolution pads images smaller than 32×32 with zeros to that size. The weights are initialized as Glorot
    and Bengio propose, uniform with variance 2 / (fan-in + fan-out), the biases with zeros. Source: LeCun, Bottou,
    Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998;
    :class:`~jacoscope.models.LeNet5Of1998` is the network as published.

    Args:
        input_shape: ``(C, H, W)`` of one image.
        num_classes: number of logits.
        mean: mean of each channel, in pixel units.
        std: standard deviation of each channel, in pixel units.
        activation: makes the activation after each layer but the last.
        pooling: makes the pooling after each convolution, given its kernel size.
        channels: feature maps of the two convolutions.
        hidden: units of the two hidden linear layers.
        dropout: probability with which, in training, each of these units is set to zero; 0 for no dropout.

    Shapes:
        pixels in [0, 1] ``[batch, C, H, W]`` to logits ``[batch, num_classes]``.

    Raises:
        ValueError: if the image is not square, or ``channels`` or ``hidden`` are not two numbers.

    >>> import torch
    >>> model = LeNet5()
    >>> model(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    >>> sum(p.numel() for p in model.parameters())
    61706
    """

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        num_classes: int = 10,
        mean: Sequence[float] = (0.1307,),
        std: Sequence[float] = (0.3081,),
        activation: Callable[[], nn.Module] = nn.Tanh,
        pooling: Callable[[int], nn.Module] = nn.AvgPool2d,
        channels: Sequence[int] = (6, 16),
        hidden: Sequence[int] = (120, 84),
        dropout: float = 0.0,
    ) -> None:
        image_channels, height, width = input_shape
        if height != width:
            raise ValueError(f"LeNet-5 takes square images, got {height}×{width}")
        for name, sizes in (("channels", channels), ("hidden", hidden)):
            if len(sizes) != 2:
                raise ValueError(f"{name}={list(sizes)} is not allowed; LeNet-5 has two such layers")
        padding = max(0, (PAPER_SIZE - height + 1) // 2)
        side = ((height + 2 * padding - 4) // 2 - 4) // 2

        def drop(number: int) -> dict[str, nn.Module]:
            return {f"dropout{number}": nn.Dropout(dropout)} if dropout else {}

        super().__init__(
            OrderedDict(
                normalize=Normalize(mean, std),
                conv1=nn.Conv2d(image_channels, channels[0], 5, padding=padding),
                act1=activation(),
                pool1=pooling(2),
                conv2=nn.Conv2d(channels[0], channels[1], 5),
                act2=activation(),
                pool2=pooling(2),
                flatten=nn.Flatten(),
                fc1=nn.Linear(channels[1] * side * side, hidden[0]),
                act3=activation(),
                **drop(3),
                fc2=nn.Linear(hidden[0], hidden[1]),
                act4=activation(),
                **drop(4),
                fc3=nn.Linear(hidden[1], num_classes),
            )
        )
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)
