"""Images in memory: sources, splits, batches and augmentation.

A new data set is a class with the two methods of :class:`Source`, and a file in ``configs/data`` that names it.
"""

from jacoscope.data.augmentation import RandomAffine, RandomDistortion, RandomElastic
from jacoscope.data.datamodule import ImageDataModule
from jacoscope.data.image_folder import ImageFolder
from jacoscope.data.images import ImageSets, LabelledImages, Source, stratified_split
from jacoscope.data.mnist import MNIST, NoisyMNIST
from jacoscope.data.torchvision_source import TorchvisionSource

__all__ = [
    "MNIST",
    "ImageDataModule",
    "ImageFolder",
    "ImageSets",
    "LabelledImages",
    "NoisyMNIST",
    "RandomAffine",
    "RandomDistortion",
    "RandomElastic",
    "Source",
    "TorchvisionSource",
    "stratified_split",
]
