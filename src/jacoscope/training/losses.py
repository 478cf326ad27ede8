"""Loss functions that torch does not have."""

import torch
from torch import Tensor, nn


class RubbishClassLoss(nn.Module):
    """The discriminative loss of the LeNet-5 paper: cross-entropy with one more class, for images that are no digit.

    With z the logits (for the network of 1998, negative squared distances to the output bitmaps), y the class and j
    the height of the rubbish class::

        loss = -z_y + log(exp(-j) + Σ_k exp(z_k))

    The distances of wrong classes are not increased further when they are much larger than j. Source: LeCun et al.,
    1998, equation 9.

    Args:
        height: j, a positive constant.

    Shapes:
        logits ``[batch, classes]`` and classes ``[batch]`` to a scalar, the mean over the batch.

    >>> z, y = torch.tensor([[1.0, 2.0]]), torch.tensor([1])
    >>> torch.isclose(RubbishClassLoss(height=100.0)(z, y), nn.functional.cross_entropy(z, y))
    tensor(True)
    """

    rubbish: Tensor

    def __init__(self, height: float = 10.0) -> None:
        super().__init__()
        self.register_buffer("rubbish", torch.tensor(-height), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        with_rubbish = torch.cat([logits, self.rubbish.to(logits).expand(len(logits), 1)], dim=1)
        return nn.functional.cross_entropy(with_rubbish, labels)
