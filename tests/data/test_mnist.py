import hashlib
import lzma
import struct
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from jacoscope.data import MNIST, ImageSets, NoisyMNIST
from jacoscope.data.mnist import MD5_OF_FILES
from jacoscope.errors import UserError


def idx(name: str) -> torch.Tensor:
    """An independent reader of the IDX format: magic, sizes big-endian, then bytes."""
    content = lzma.decompress((files("jacoscope.data") / "mnist_idx" / f"{name}.xz").read_bytes())
    dimensions = content[3]
    sizes = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(sizes).copy())


def test_gives_the_images_and_labels_of_the_files(mnist: ImageSets) -> None:
    assert torch.equal(mnist.train.images[:, 0], idx("train-images-idx3-ubyte"))
    assert torch.equal(mnist.train.labels, idx("train-labels-idx1-ubyte").long())
    assert torch.equal(mnist.test.images[:, 0], idx("t10k-images-idx3-ubyte"))
    assert torch.equal(mnist.test.labels, idx("t10k-labels-idx1-ubyte").long())


def test_unpacks_the_layout_that_torchvision_reads(data_dir: Path, mnist: ImageSets) -> None:
    theirs = torchvision.datasets.MNIST(data_dir, train=False, download=False)
    assert torch.equal(theirs.data, mnist.test.images[:, 0])


def test_unpacked_files_have_the_published_digests(data_dir: Path) -> None:
    for name, md5 in MD5_OF_FILES.items():
        assert hashlib.md5((data_dir / "MNIST" / "raw" / name).read_bytes()).hexdigest() == md5


def test_replaces_a_file_that_was_damaged_and_leaves_the_others(tmp_path: Path) -> None:
    source = MNIST(tmp_path)
    source.prepare()
    folder = tmp_path / "MNIST" / "raw"
    damaged, untouched = folder / "t10k-labels-idx1-ubyte", folder / "t10k-images-idx3-ubyte"
    whole, before = damaged.read_bytes(), untouched.stat().st_mtime_ns
    damaged.write_bytes(whole[:-1] + b"\xff")
    source.prepare()
    assert damaged.read_bytes() == whole
    assert untouched.stat().st_mtime_ns == before
    assert sorted(p.name for p in folder.iterdir()) == sorted(MD5_OF_FILES)  # and nothing half-written beside them


def test_says_so_when_the_data_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="Cannot write"):
        MNIST(tmp_path / "file").prepare()


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_as_many_labels_are_wrong_as_were_asked_for(data_dir: Path, mnist: ImageSets, share: float) -> None:
    noisy, right = NoisyMNIST(data_dir, share).load(), mnist.train.labels
    changed = noisy.train.labels != right
    assert changed.sum() == round(share * len(right))
    assert torch.equal(noisy.test.labels, mnist.test.labels)
    assert set(noisy.train.labels.tolist()) == set(range(10))
    more = NoisyMNIST(data_dir, min(1.0, share + 0.1)).load().train.labels != right
    assert (changed <= more).all()
    assert torch.equal(MNIST(data_dir).load().train.labels, right)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_of_wrong_labels_is_a_share(data_dir: Path, share: float) -> None:
    with pytest.raises(UserError, match=rf"data\.source\.share={share} is not allowed; it is 0 to 1"):
        NoisyMNIST(data_dir, share)
