"""Image classifiers as plain ``nn.Module``, from raw pixels in [0, 1] to logits."""

from jacoscope.models.lenet5 import LeNet5
from jacoscope.models.lenet5_1998 import LeNet5Of1998
from jacoscope.models.mlp import MLP
from jacoscope.models.normalize import Normalize
from jacoscope.models.resnet18 import ResNet18

__all__ = ["MLP", "LeNet5", "LeNet5Of1998", "Normalize", "ResNet18"]
