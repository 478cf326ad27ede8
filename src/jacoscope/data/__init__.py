"""Images in memory: where they come from, how they are split, batched and augmented."""

from jacoscope.data.augmentation import RandomAffine, RandomDistortion, RandomElastic
from jacoscope.data.datamodule import ImageDataModule
from jacoscope.data.image_folder import ImageFolder
from jacoscope.data.images import ImageSets, LabelledImages, Source
from jacoscope.data.label_noise import NoisyMNIST
from jacoscope.data.mnist import MNIST
from jacoscope.data.split import stratified_split
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
