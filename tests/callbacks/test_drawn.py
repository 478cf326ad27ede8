"""Pictures and histograms of a default run: when, of what, how many and how large."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pytorch_lightning import Callback, Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from jacoscope.callbacks import JacobianCallback
from jacoscope.callbacks.jacobian.pictures import Probes

from .someone import Someone, X, Y, events, jacobians, last, train

pytestmark = pytest.mark.filterwarnings("ignore")
SIDE, EPOCHS, SAMPLES = 28, 16, 60
DRAWN = [1, 5, 10, 15, 16]


class Digits(Someone):
    """Of the size of MNIST: what is drawn has as many pixels as in a default run."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 10))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    data = TensorDataset(
        torch.rand(SAMPLES, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)), torch.arange(SAMPLES) % 10
    )
    loaders = DataLoader(data, SAMPLES), DataLoader(data, SAMPLES)
    train(folder, [JacobianCallback()], module=Digits(), epochs=EPOCHS, loaders=loaders)
    return folder


@pytest.fixture(scope="module")
def logged(folder: Path) -> EventAccumulator:
    return events(folder)


@pytest.mark.parametrize("output", ["logits", "probs"])
def test_pictures_come_after_the_first_the_last_and_every_fifth_epoch(logged: EventAccumulator, output: str) -> None:
    for name in ("probe_sheet", "class_maps", "sensitivity"):
        assert [shown.step + 1 for shown in logged.Images(f"jacobian_maps/{output}/{name}")] == DRAWN, name
    for name in ("over_epochs", "spectrum"):
        assert [shown.step + 1 for shown in logged.Images(f"jacobian_maps/{output}/{name}")] == DRAWN[1:], name
    histograms = logged.Histograms(f"jacobian_distribution/{output}/spectral")
    assert [shown.step + 1 for shown in histograms] == DRAWN


def test_pictures_are_as_large_as_they_say_and_fit_on_a_screen(logged: EventAccumulator) -> None:
    for tag in logged.Tags()["images"]:
        shown = logged.Images(tag)[-1]
        picture = Image.open(io.BytesIO(shown.encoded_image_string))
        assert (picture.width, picture.height) == (shown.width, shown.height)
        assert picture.width <= 1600
        assert picture.height <= 1200


@pytest.mark.parametrize("name", ["logits/frobenius", "probs/spectral", "logits/boundary_distance"])
def test_histograms_hold_all_samples(logged: EventAccumulator, name: str) -> None:
    histogram = logged.Histograms(f"jacobian_distribution/{name}")[-1].histogram_value
    assert histogram.num == SAMPLES
    assert histogram.sum / histogram.num == pytest.approx(last(logged, f"jacobian/{name}/mean"), rel=1e-4)


def test_the_event_file_of_a_default_run_stays_below_20_mb(folder: Path) -> None:
    # These pixels are noise, which is larger in a PNG than a network's maps are.
    assert 1e6 < sum(path.stat().st_size for path in folder.rglob("events*")) < 20e6


def test_pictures_of_large_images_and_many_classes_are_no_larger(tmp_path: Path) -> None:
    class Large(Someone):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.AvgPool2d(10), nn.Flatten(), nn.Linear(20 * 16, 14))

    data = TensorDataset(torch.rand(30, 1, 200, 160), torch.arange(30) % 14)
    loaders = DataLoader(data, 15), DataLoader(data, 15)
    callback = JacobianCallback(max_samples=5, train_samples=0, max_classes=14, images_every_n_epochs=1)
    train(tmp_path, [callback], module=Large(), loaders=loaders)
    logged = events(tmp_path)
    for tag in logged.Tags()["images"]:
        shown = logged.Images(tag)[-1]
        assert shown.width <= 1800, tag
        assert shown.height <= 1800, tag
    state = sum(maps.numel() for history in callback.album.maps.values() for maps in history.values())
    assert state < 1e6


def test_probes_are_the_first_of_each_class_or_those_that_were_asked_for(tmp_path: Path) -> None:
    firsts = [int((k == Y).nonzero()[0]) for k in range(3)]
    for name, wanted, expected in (("default", None, firsts), ("wanted", [7, 3], [7, 3])):
        callback = JacobianCallback(probe_indices=wanted)
        train(tmp_path / name, [callback], epochs=1, logger=False)
        assert [index for index, _, _ in callback.probes.found.values()] == expected
        for index, label, x in callback.probes.found.values():
            assert torch.equal(x, X[index])
            assert label == Y[index]


def test_no_more_probes_are_kept_than_are_drawn() -> None:
    labels = (torch.arange(300) * 7) % 100  # a thousand classes of large images would fill the memory
    x = torch.arange(300.0).reshape(300, 1, 1, 1)
    probes = Probes(None, max_classes=4)
    for batch in torch.arange(300).split(20):
        probes.add_from(x[batch], labels[batch], batch)
        assert len(probes.found) <= 4
    probes.gather()
    firsts = [int((labels == k).nonzero()[0]) for k in range(4)]
    assert [(index, int(image)) for index, _, image in probes.found.values()] == list(zip(firsts, firsts, strict=True))


def test_checkpoints_hold_training_samples_only_within_an_epoch_and_no_probes_without_pictures(tmp_path: Path) -> None:
    watching, held = JacobianCallback(images_every_n_epochs=0, tab=False), []

    class Look(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            held.append(("batch", len(watching.state_dict()["training"][0])))

        def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
            if not trainer.sanity_checking:
                held.append(("validation", len(watching.state_dict()["training"][0])))

        def on_train_epoch_end(self, *_: Any) -> None:
            held.append(("epoch", len(watching.state_dict()["training"][0])))

    train(tmp_path, [watching, Look()], val_check_interval=3, limit_train_batches=6)
    assert not watching.state_dict()["probes"]["found"]
    first, second = held[: len(held) // 2], held[len(held) // 2 :]
    assert first == second
    assert dict(first)["epoch"] == 0
    assert [count for what, count in first if what == "validation"] == [3, 0]
    assert all(count > 0 for what, count in first if what == "batch")


def test_a_resumed_run_draws_the_same_probes_and_keeps_their_history(tmp_path: Path) -> None:
    callback = JacobianCallback(images_every_n_epochs=1)
    module, _ = train(tmp_path, [callback])
    buffer = io.BytesIO()
    torch.save(callback.state_dict(), buffer)
    buffer.seek(0)
    resumed = JacobianCallback(images_every_n_epochs=1)
    resumed.load_state_dict(torch.load(buffer, weights_only=True))
    assert resumed.probes.found.keys() == callback.probes.found.keys()
    assert sorted(resumed.album.maps["logits"]) == sorted(resumed.album.spectra["probs"]) == [1, 2]
    J = jacobians(module, torch.stack([x for _, _, x in resumed.probes.found.values()])).unflatten(2, (1, 8, 8))
    latest = resumed.album.maps["logits"][2].float()
    assert torch.allclose(latest, J[range(3), range(3)], rtol=1e-2), "each sample's own class"


def test_a_state_of_another_version_is_told_of_and_not_taken_back(tmp_path: Path) -> None:
    resumed = JacobianCallback(images_every_n_epochs=1)
    with pytest.warns(UserWarning, match="written by another version of jacoscope"):
        resumed.load_state_dict({"probes": {"found": {}}, "album": {"maps": {}}})
    train(tmp_path, [resumed])
    assert resumed.probes.found
