import bz2
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning.plugins import Precision
from torch import nn

from jacoscope.data import MNIST, ImageDataModule, ImageFolder, ImageSets, LabelledImages, TorchvisionSource
from jacoscope.data.datamodule import to_pixels
from jacoscope.errors import UserError


class Numbered:
    """A source whose images carry their own number in their pixels."""

    def __init__(self, train: int = 40, test: int = 10, classes: int = 2) -> None:
        self.train, self.test, self.classes = self._images(train, classes), self._images(test, classes), classes

    def _images(self, samples: int, classes: int) -> LabelledImages:
        numbers = torch.arange(samples, dtype=torch.uint8)
        return LabelledImages(numbers.view(-1, 1, 1, 1).repeat(1, 1, 4, 4), numbers.long() % classes)

    def prepare(self) -> None: ...

    def load(self) -> ImageSets:
        return ImageSets(self.train, self.test, tuple("ab"))


def module(source: object = None, **arguments: object) -> ImageDataModule:
    settings = {"input_shape": (1, 4, 4), "num_classes": 2, "batch_size": 7, "val_size": 8} | arguments
    return ImageDataModule(source or Numbered(), **settings)  # type: ignore[arg-type]


def test_mnist_is_split_55000_5000_10000_in_proportion(data_dir: Path) -> None:
    data = ImageDataModule(MNIST(data_dir), (1, 28, 28), 10)
    data.prepare_data()
    data.setup()
    assert {name: len(part) for name, part in data.splits.items()} == {"train": 55_000, "val": 5_000, "test": 10_000}
    train, val = (data.splits[name].labels.bincount() for name in ("train", "val"))
    torch.testing.assert_close(val.double(), train.double() / 11, atol=1, rtol=0)


def test_an_epoch_meets_every_training_image_once_in_a_new_order() -> None:
    data = module()
    data.setup()
    loader = data.train_dataloader()

    def epoch(number: int) -> torch.Tensor:
        loader.sampler.set_epoch(number)  # type: ignore[attr-defined]  # as the trainer does
        return torch.cat([x[:, 0, 0, 0] for x, _ in loader])

    first, second = epoch(0), epoch(1)
    expected = data.splits["train"].images[:, 0, 0, 0]
    assert torch.equal(first.sort().values, expected)
    assert torch.equal(second.sort().values, expected)
    assert not torch.equal(first, second)


def test_batches_pair_each_image_with_its_own_label() -> None:
    data = module()
    data.setup()
    for x, y in data.train_dataloader():
        assert x.dtype == torch.uint8
        assert torch.equal(x[:, 0, 0, 0].long() % 2, y)


def test_pixels_are_floats_from_0_to_1() -> None:
    images = torch.arange(256, dtype=torch.uint8)
    pixels = to_pixels(images)
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels, torch.linspace(0, 1, 256))
    assert torch.equal((pixels * 255).round().to(torch.uint8), images)


def test_only_training_batches_are_augmented() -> None:
    class Negative(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 1 - x

    class Stage:
        training = False
        precision_plugin = Precision()

    data = module(augmentation=Negative())
    data.trainer = stage = Stage()  # type: ignore[assignment]
    batch = (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2))
    assert data.on_after_batch_transfer(batch, 0)[0].eq(0).all()
    stage.training = True
    assert data.on_after_batch_transfer(batch, 0)[0].eq(1).all()


def test_a_validation_part_of_the_sources_own_is_used() -> None:
    class WithVal(Numbered):
        def load(self) -> ImageSets:
            return ImageSets(self.train, self.test, ("a", "b"), val=self.test)

    data = module(WithVal())
    data.setup()
    assert len(data.splits["train"]) == 40
    assert torch.equal(data.splits["val"].images, data.splits["test"].images)


@pytest.mark.parametrize("val_size", [10, 0.25])
def test_validation_size_is_a_number_or_a_share(val_size: float) -> None:
    data = module(val_size=val_size)
    data.setup()
    assert len(data.splits["val"]) == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, r"data\.batch_size=0"),
        ({"input_shape": (3, 4, 4)}, r"type images\.shape=\[1, 4, 4\]"),
        ({"num_classes": 1}, r"type images\.classes=2"),
    ],
)
def test_refuses_images_other_than_announced(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        module(**arguments).setup()


def picture(path: Path, size: tuple[int, int], value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


def test_a_folder_of_images_of_any_size_becomes_a_data_set(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for value, name in enumerate(("cat", "dog")):
            picture(tmp_path / part / name / "a.png", (10, 20), 100 + value)
            picture(tmp_path / part / name / "b.png", (30, 8), 100 + value)
    source = ImageFolder(tmp_path, (3, 8, 8))
    source.prepare()
    sets = source.load()
    assert sets.class_names == ("cat", "dog")
    assert sets.train.images.shape == (4, 3, 8, 8)
    assert torch.equal(sets.train.images[:, 0, 0, 0].long() - 100, sets.train.labels)


def test_pictures_cover_the_shape_and_what_programs_leave_behind_is_no_class(tmp_path: Path) -> None:
    for part in ("train", "test"):
        picture(tmp_path / part / "cat" / "a.png", (40, 30), 255)
        picture(tmp_path / part / "cat" / "b.gif", (5, 50), 255)
        picture(tmp_path / part / "cat" / ".ipynb_checkpoints" / "a.png", (4, 4), 0)
        picture(tmp_path / part / ".ipynb_checkpoints" / "a.png", (4, 4), 0)
        (tmp_path / part / "cat" / "notes.txt").write_text("no picture")
    sets = ImageFolder(tmp_path, (1, 20, 40)).load()
    assert sets.class_names == ("cat",)
    assert sets.train.images.shape == (2, 1, 20, 40)
    assert (sets.train.images == 255).all()


def test_a_folder_of_images_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder .*train"):
        ImageFolder(tmp_path, (1, 8, 8)).prepare()
    for part, name in (("train", "cat"), ("test", "dog")):
        picture(tmp_path / part / name / "a.png", (8, 8), 0)
    with pytest.raises(UserError, match="classes dog"):
        ImageFolder(tmp_path, (1, 8, 8)).load()
    (tmp_path / "train" / "cat" / "a.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"a\.png cannot be read"):
        ImageFolder(tmp_path, (1, 8, 8)).load()
    with pytest.raises(UserError, match="1 channel"):
        ImageFolder(tmp_path, (2, 8, 8))


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("cat/loop", "cat"),
        ("cat/loop", "."),
        ("cat/old/loop", "cat"),
        ("cat/all", "dog"),
        ("cat/again", "cat/old"),
        ("cow", "cat"),
        ("cat/loop", ".."),
    ],
)
def test_links_that_lead_to_pictures_twice_are_refused(tmp_path: Path, link: str, target: str) -> None:
    for part, name in (("train", "cat"), ("train", "dog"), ("train", "cat/old"), ("test", "cat"), ("test", "dog")):
        picture(tmp_path / part / name / "a.png", (8, 8), 0)
    path = tmp_path / "train" / link
    path.symlink_to(tmp_path / "train" / target, target_is_directory=True)
    with pytest.raises(UserError, match=r"a link leads there: its pictures would be read twice. Remove the link"):
        ImageFolder(tmp_path, (1, 8, 8)).load()


def test_links_that_lead_elsewhere_are_followed(tmp_path: Path) -> None:
    for name in ("a.png", "sub/b.png"):
        picture(tmp_path / "elsewhere" / name, (8, 8), 0)
    for part in ("train", "test"):
        picture(tmp_path / "real" / part / "cat" / "a.png", (8, 8), 0)
        (tmp_path / "real" / part / "dog").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
        (tmp_path / "real" / part / "gone").symlink_to(tmp_path / "nowhere")
        (tmp_path / "real" / part / ".hidden").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "linked").symlink_to(tmp_path / "real", target_is_directory=True)
    sets = ImageFolder(tmp_path / "linked", (1, 8, 8)).load()
    assert sets.class_names == ("cat", "dog")
    assert len(sets.train) == 3


def test_files_put_in_place_by_the_user_are_used_without_a_network(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "FashionMNIST").symlink_to(data_dir / "MNIST")  # the same format, other contents
    source = TorchvisionSource("FashionMNIST", tmp_path)
    source.prepare()
    sets = source.load()
    assert sets.test.images.shape == (10_000, 1, 28, 28)
    assert sets.class_names[0] == "T-shirt/top"


def test_data_sets_of_other_formats_and_with_arguments_of_their_own_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("usps.bz2", "usps.t.bz2"):  # in the data folder itself, and without names of classes
        rows = [
            "".join([f"{k + 1}", *(f" {i}:{v:.3f}" for i, v in enumerate(rng.uniform(-1, 1, 256), 1))])
            for k in range(10)
        ]
        (tmp_path / name).write_bytes(bz2.compress("\n".join(rows).encode()))
    usps = TorchvisionSource("USPS", tmp_path)
    usps.prepare()
    assert usps.load().test.images.shape == (10, 1, 16, 16)
    assert usps.load().class_names == tuple(map(str, range(10)))
    (tmp_path / "EMNIST" / "raw").mkdir(parents=True)
    for part in ("train", "test"):
        start = tmp_path / "EMNIST" / "raw" / f"emnist-digits-{part}"
        images = rng.integers(0, 256, 3 * 784, dtype=np.uint8).tobytes()
        start.with_name(f"{start.name}-images-idx3-ubyte").write_bytes(
            struct.pack(">2H3I", 0, 0x803, 3, 28, 28) + images
        )
        start.with_name(f"{start.name}-labels-idx1-ubyte").write_bytes(struct.pack(">2HI", 0, 0x801, 3) + b"\0\1\2")
    emnist = TorchvisionSource("EMNIST", tmp_path, split="digits")
    emnist.prepare()
    assert emnist.load().train.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("EMNIST", {}, "EMNIST: missing a required argument: 'split'"),
        ("EMNIST", {"splitt": "digits"}, "EMNIST has no such argument. Did you mean split"),
        ("USPS", {"split": "digits"}, "USPS has no such argument"),
        ("SVHN", {}, "does not take train=True"),
    ],
)
def test_a_data_set_that_cannot_be_opened_so_is_refused(
    name: str, arguments: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        TorchvisionSource(name, tmp_path, **arguments)


def test_without_a_network_says_so_and_names_what_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # a port where nobody listens
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"(?s)could not be downloaded.*data=mnist.*KMNIST/raw"):
        TorchvisionSource("KMNIST", tmp_path).prepare()


def test_trains_on_exactly_so_many_samples_of_each_class() -> None:
    def drawn(count: int, seed: int = 0) -> set[int]:
        data = module(samples_per_class=count, subset_seed=seed)
        data.setup()
        part = data.splits["train"]
        assert part.labels.bincount().tolist() == [count, count]
        assert len(data.splits["val"]) == 8
        return set(part.images[:, 0, 0, 0].tolist())

    assert drawn(3) < drawn(5)
    assert drawn(3, seed=1) != drawn(3)
    with pytest.raises(UserError, match=r"data\.samples_per_class=17 is not allowed: class 0 has only 16"):
        drawn(17)


def test_an_epoch_may_go_several_times_through_few_samples() -> None:
    data = module(samples_per_class=2, passes_per_epoch=3)
    data.setup()
    loader = data.train_dataloader()
    batches = [x[:, 0, 0, 0].tolist() for x, _ in loader]
    expected = sorted(data.splits["train"].images[:, 0, 0, 0].tolist())
    assert [sorted(batch) for batch in batches] == [expected] * 3
    assert len(loader) == 3
    assert len({tuple(batch) for batch in batches}) > 1
