"""The checkpoint that a training goes on from: when it is written, and that it is found where a run was moved to."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from jacoscope.checkpoints import read_checkpoint
from jacoscope.data import ImageDataModule, LabelledImages
from jacoscope.data.images import ImageSets
from jacoscope.errors import UserError
from jacoscope.models import MLP
from jacoscope.training import CheckpointFiles, ClassifierModule, LastCheckpoint, constant


class Noise:
    """Sixteen images of noise, of two classes, in every part."""

    def prepare(self) -> None: ...

    def load(self) -> ImageSets:
        images = torch.randint(0, 256, (16, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        part = LabelledImages(images, torch.arange(16) % 2)
        return ImageSets(part, part, ("a", "b"), part)


class Hook(Callback):
    """Do something at the end of a batch, by its number."""

    def __init__(self, *does: Callable[[Trainer, ClassifierModule, int], None]) -> None:
        self.does = does

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        for do in self.does:
            do(trainer, pl_module, trainer.global_step)


class Score(Callback):
    """Log a score that falls with every epoch: the first is the best."""

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        trainer.callback_metrics["score"] = torch.tensor(-1.0 - trainer.current_epoch)


def train(folder: Path, *callbacks: Callback, go_on: bool = False, epochs: int = 3, **last: Any) -> Trainer:
    """Train for some epochs of four batches, or go on."""
    torch.manual_seed(0)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        plugins=[CheckpointFiles()],
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks, LastCheckpoint(folder, **last)],
    )
    data = ImageDataModule(Noise(), (1, 4, 4), 2, batch_size=4)
    module = ClassifierModule(MLP((1, 4, 4), 2, (4,)), torch.nn.CrossEntropyLoss(), torch.optim.SGD, constant, 2)
    trainer.fit(module, data, ckpt_path=folder / "last.ckpt" if go_on else None, weights_only=True)
    return trainer


def saved(folder: Path) -> list[int]:
    """Return the steps of both checkpoints."""
    return [read_checkpoint(folder / f"{name}.ckpt")["global_step"] for name in ("previous", "last")]


class CrashError(Exception):
    """Ends a training in its midst."""


def stop_at(step: int) -> Hook:
    def stop(trainer: Trainer, module: ClassifierModule, now: int) -> None:
        if now == step:
            raise CrashError

    return Hook(stop)


@pytest.mark.parametrize(
    ("every", "steps"),
    [
        ({"every_n_minutes": None}, [0, 4]),
        ({"every_n_batches": 2, "every_n_minutes": None}, [4, 6]),
        ({"every_n_minutes": 1e-9}, [5, 6]),
        ({"every_n_minutes": 5}, [0, 4]),
    ],
)
def test_is_written_before_every_epoch_and_within_it_as_asked(
    every: dict[str, Any], steps: list[int], tmp_path: Path
) -> None:
    with pytest.raises(CrashError):
        train(tmp_path, stop_at(7), **every)
    assert saved(tmp_path) == steps
    train(tmp_path, go_on=True, **every)
    assert saved(tmp_path)[1] == 12


def test_a_run_that_was_moved_knows_its_best_checkpoint(tmp_path: Path) -> None:
    then, now = tmp_path / "then", tmp_path / "now"

    def best(folder: Path) -> ModelCheckpoint:
        return ModelCheckpoint(folder, "best", monitor="score", mode="max", enable_version_counter=False)

    with pytest.raises(CrashError):
        train(then, Score(), best(then), stop_at(7))
    first = (then / "best.ckpt").read_bytes()
    then.rename(now)
    kept = best(now)
    train(now, Score(), kept, go_on=True)
    assert (now / "best.ckpt").read_bytes() == first
    assert kept.best_model_path == str(now / "best.ckpt")
    assert kept.best_model_score == -1
    assert not then.exists()


@pytest.fixture
def heard() -> Iterator[Any]:
    """Ctrl-C is heard, which a shell's background jobs ignore; gives the handler."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_saves_and_a_second_one_leaves_at_once(tmp_path: Path, heard: Any) -> None:
    def press(times: int) -> Hook:
        def pressed(trainer: Trainer, module: ClassifierModule, now: int) -> None:
            for _ in range(times if now == 6 else 0):
                os.kill(os.getpid(), signal.SIGINT)

        return Hook(pressed)

    for times, step in ((1, 6), (2, 4)):
        folder = tmp_path / str(times)
        with pytest.raises((SystemExit, KeyboardInterrupt)):
            train(folder, press(times))
        assert saved(folder)[1] == step
        assert signal.getsignal(signal.SIGINT) is heard


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_however_often_it_is_terminated_it_saves_first(number: signal.Signals, tmp_path: Path) -> None:
    def terminate(trainer: Trainer, module: ClassifierModule, now: int) -> None:
        for _ in range(3 if now == 6 else 0):
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as left:
        train(tmp_path, Hook(terminate))
    assert left.value.code == 128 + number
    assert saved(tmp_path)[1] == 6
    assert signal.getsignal(number) is before


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    def spoil(trainer: Trainer, module: ClassifierModule, now: int) -> None:
        if now == 6:
            next(module.parameters()).data[0, 0] = torch.nan

    with pytest.raises(UserError, match=r"the weights have diverged: network\.\S+ is NaN.*\n.*Last good checkpoint"):
        train(tmp_path, Hook(spoil), every_n_batches=2)
    assert saved(tmp_path)[1] == 4
    assert all(weight.isfinite().all() for weight in read_checkpoint(tmp_path / "last.ckpt")["state_dict"].values())


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_loss_that_is_no_number_stops_before_its_step(value: float, tmp_path: Path) -> None:
    weights: list[torch.Tensor] = []

    class Spoil(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
            weights[:] = [weight.detach().clone() for weight in pl_module.parameters()]
            self.module = pl_module
            if trainer.global_step == 6:
                batch[0].fill_(value)

    spoil = Spoil()
    with pytest.raises(UserError, match=r"Step 6 \(epoch 1, batch 2\): the loss is NaN"):
        train(tmp_path, spoil)
    assert all(torch.equal(now, then) for now, then in zip(spoil.module.parameters(), weights, strict=True))
    assert saved(tmp_path)[1] == 4


def test_what_lightning_loads_itself_is_read_as_data_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("touch evil_was_run",)

    monkeypatch.chdir(tmp_path)
    trainer = train(tmp_path, epochs=1)
    torch.save({"state_dict": Evil()}, tmp_path / "last.ckpt")
    for load in (trainer.validate, trainer.test):
        with pytest.raises(UserError, match=r"is refused: it would run (posix|nt)\.system"):
            load(trainer.lightning_module, trainer.datamodule, ckpt_path=tmp_path / "last.ckpt", weights_only=False)
    assert not Path("evil_was_run").exists()
