"""JacobianCallback measures right in any module, however it is trained, and leaves no trace."""

import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from jacoscope.callbacks import JacobianCallback
from jacoscope.callbacks.jacobian.sampling import ValidationSamples

from .someone import Someone, X, Y, events, last, loader, mean_norm, numbers, train

pytestmark = pytest.mark.filterwarnings("ignore")
MEAN = "jacobian/logits/frobenius/mean"


@pytest.mark.parametrize("sanity", [0, 2])
def test_training_gives_bitwise_the_same_weights(tmp_path: Path, sanity: int) -> None:
    plain, _ = train(tmp_path / "plain", num_sanity_val_steps=sanity)
    callback = JacobianCallback(every_n_steps=3)
    watched, _ = train(tmp_path / "watched", [callback], num_sanity_val_steps=sanity)
    for (name, a), b in zip(plain.state_dict().items(), watched.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    modes = [[part.training for part in module.modules()] for module in (plain, watched)]
    assert modes[0] == modes[1]


@pytest.mark.parametrize(
    "options",
    [
        {"accumulate_grad_batches": 3},
        {"precision": "bf16-mixed"},
        {"limit_val_batches": 2},
        {"precision": "64-true"},
        {"precision": "bf16-true"},
        {"inference_mode": False},
    ],
    ids=str,
)
def test_works_with_whatever_the_trainer_does(tmp_path: Path, options: dict[str, Any]) -> None:
    module, _ = train(tmp_path, [numbers()], epochs=1, **options)
    seen = X[:40] if "limit_val_batches" in options else X
    seen = seen.double() if options.get("precision") == "64-true" else seen
    if options.get("precision") == "bf16-true":  # of the same weights, in float32
        assert last(tmp_path) == pytest.approx(mean_norm(module.float(), seen).expected, rel=0.02)
    else:
        assert last(tmp_path) == mean_norm(module, seen)


def test_two_callbacks_are_told_apart_by_their_names(tmp_path: Path) -> None:
    """One for each of two loaders: curves, pictures, page, layout, metrics and state of their own."""

    class Tested(Someone):
        def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:  # noqa: ARG002, PT028
            self.log("test/loss", self.training_step(batch))

    ten = DataLoader(Subset(loader().dataset, range(10)), 20)
    drawn = {"max_samples": 1000, "images_every_n_epochs": 1, "max_probes": 2}
    both = [JacobianCallback(**drawn), JacobianCallback(**drawn, name="ten", dataloader_idx=1)]
    assert len({callback.state_key for callback in both}) == 2
    module, trainer = train(tmp_path, both, Tested(), loaders=(loader(16), [loader(), ten]))
    tags = events(tmp_path).Tags()
    for tag, seen in ((MEAN, X), (f"ten/{MEAN}", X[:10])):
        assert last(tmp_path, tag) == mean_norm(module, seen)
        assert float(trainer.callback_metrics[tag]) == mean_norm(module, seen)
    for kind in ("scalars", "images", "histograms", "tensors"):
        of_first = {tag for tag in tags[kind] if tag.startswith("jacobian")}
        of_second = {tag.removeprefix("ten/") for tag in tags[kind] if tag.startswith("ten/jacobian")}
        assert of_first
        assert of_first == of_second
    written = events(tmp_path).Tensors("custom_scalars__config__")[-1].tensor_proto.string_val[0]
    for piece in (b"Sensitivity of the logits", b"ten/Sensitivity of the logits", b"^jacobian/", b"^ten/jacobian/"):
        assert piece in written
    trainer.test(module, [loader(), ten], verbose=False)
    assert last(tmp_path, f"test/ten/{MEAN}") == mean_norm(module, X[:10])
    trainer.save_checkpoint(tmp_path / "both.ckpt")
    _, resumed = train(
        tmp_path / "resumed",
        [JacobianCallback(**drawn), JacobianCallback(**drawn, name="ten", dataloader_idx=1)],
        loaders=(loader(16), [loader(), ten]),
        epochs=3,
        resume_from=tmp_path / "both.ckpt",
    )
    found = [list(callback.probes.found) for callback in resumed.callbacks if isinstance(callback, JacobianCallback)]
    assert found == [list(callback.probes.found) for callback in both]


def test_a_second_fit_is_of_its_own_data_whatever_their_shape(tmp_path: Path) -> None:
    """As in a cross-validation: the numbers and pictures of one fold have nothing of the one before."""

    class Wider(Someone):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(300, 5))

    x = torch.rand(40, 3, 10, 10)
    data = DataLoader(TensorDataset(x, torch.arange(40) % 5), 20)
    callback = JacobianCallback(every_n_steps=4)
    train(tmp_path / "one", [callback])
    module, _ = train(tmp_path / "two", [callback], module=Wider(), loaders=(data, data), epochs=3)
    assert last(tmp_path / "two") == mean_norm(module, x)
    fresh = JacobianCallback(every_n_steps=4)
    train(tmp_path / "fresh", [fresh], module=Wider(), loaders=(data, data), epochs=3)
    steps = [[point.step for point in events(tmp_path / name).Scalars(MEAN)] for name in ("two", "fresh")]
    assert steps[0] == steps[1]


def test_averaged_weights_are_the_ones_that_are_measured(tmp_path: Path) -> None:
    def averaging() -> WeightAveraging:
        return WeightAveraging(multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))

    # After the training the module has the averaged weights, whichever callback came first.
    module, _ = train(tmp_path / "first", [averaging(), numbers()], epochs=1)
    assert last(tmp_path / "first") == mean_norm(module, X)
    train(tmp_path / "last", [numbers(), averaging()], epochs=1)
    assert last(tmp_path / "last") == last(tmp_path / "first")


@pytest.mark.parametrize("whole", [True, False])
def test_compiled_modules_are_measured(tmp_path: Path, whole: bool) -> None:
    module = Someone()
    plain = module.net
    if not whole:
        module.net = torch.compile(module.net, backend="eager")  # type: ignore[assignment]
    given = torch.compile(module, backend="eager") if whole else module
    train(tmp_path, [numbers()], module=given, epochs=1)
    assert last(tmp_path) == mean_norm(plain, X)


def test_one_of_several_validation_loaders_is_measured(tmp_path: Path) -> None:
    ten = DataLoader(Subset(loader().dataset, range(10)), 20)
    for name, loaders in (("list", [loader(), ten]), ("dict", {"all": loader(), "ten": ten})):
        module, _ = train(tmp_path / name, [numbers(dataloader_idx=1)], loaders=(loader(16), loaders), epochs=1)
        assert last(tmp_path / name) == mean_norm(module, X[:10])


def test_a_test_may_have_fewer_loaders_than_the_training_had(tmp_path: Path) -> None:
    two = [loader(), DataLoader(Subset(loader().dataset, range(10)), 20)]
    module, trainer = train(tmp_path, [numbers(dataloader_idx=1)], loaders=(loader(16), two), epochs=1)
    with pytest.warns(UserWarning, match=r"dataloader_idx=1.*1 loaders: 0 to 0. Loader 0 is measured"):
        trainer.test(module, loader(), verbose=False)
    assert last(tmp_path, f"test/{MEAN}") == mean_norm(module, X)


def test_a_stream_without_a_length_is_measured_at_its_end(tmp_path: Path) -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(zip(X, Y, strict=True))

    module, _ = train(tmp_path, [numbers()], loaders=(loader(16), DataLoader(Stream(), 20)), epochs=1)
    assert last(tmp_path) == mean_norm(module, X)


def test_validate_and_test_measure_too(tmp_path: Path) -> None:
    module, trainer = train(tmp_path, [numbers()], epochs=1)
    (validated,) = trainer.validate(module, loader(), verbose=False)
    assert float(trainer.callback_metrics[MEAN]) == mean_norm(module, X)
    assert set(validated) == {"val/loss"}, "the table that Lightning prints is not flooded"
    trainer.test(module, loader(), verbose=False)
    assert last(tmp_path, f"test/{MEAN}") == mean_norm(module, X)
    assert sum(tag.startswith("test/") for tag in events(tmp_path).Tags()["scalars"]) < 10


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_no_training_need_come_before(tmp_path: Path, stage: str) -> None:
    module, logger = Someone(), TensorBoardLogger(tmp_path, name="", version="")
    trainer = Trainer(logger=logger, callbacks=[JacobianCallback()], accelerator="cpu", enable_progress_bar=False)
    getattr(trainer, stage)(module, loader(), verbose=False)
    assert last(tmp_path, MEAN if stage == "validate" else f"test/{MEAN}") == mean_norm(module, X)


class Dictionaries(Someone):
    """Dictionaries in, dictionaries out."""

    def forward(self, x: Tensor) -> Any:
        return {"logits": self.net(x)}

    def training_step(self, batch: Any) -> Tensor:
        return super().training_step((batch["image"], batch["digit"]))


class Unused(Someone):
    """Its forward is not the classifier: whoever calls it is wrong."""

    def forward(self, *_: Any) -> Any:
        pytest.fail("forward was called, though forward_fn was given")

    def classify(self, x: Tensor) -> Tensor:
        return 2 * self.net(x)


ROWS: Any = [{"image": x, "digit": y} for x, y in zip(X, Y, strict=True)]


@pytest.mark.parametrize(
    ("module", "rows", "arguments", "model"),
    [
        (
            Dictionaries(),
            ROWS,
            {
                "inputs_fn": lambda batch: batch["image"],
                "labels_fn": lambda batch: batch["digit"],
                "output": lambda returned: returned["logits"],
            },
            lambda module, x: module.net(x),
        ),
        (
            Unused(),
            loader().dataset,
            {"forward_fn": lambda module, x: module.classify(x)},
            lambda module, x: module.classify(x),
        ),
    ],
    ids=["inputs_fn, labels_fn, output", "forward_fn"],
)
def test_any_batch_and_any_forward(
    tmp_path: Path, module: LightningModule, rows: Any, arguments: dict[str, Any], model: Callable[..., Tensor]
) -> None:
    train(tmp_path, [numbers(**arguments)], module=module, loaders=(DataLoader(rows, 16), DataLoader(rows, 20)))
    module.eval()
    assert last(tmp_path) == mean_norm(lambda x: model(module, x), X)
    assert "jacobian-by_class_logits_frobenius/1" in events(tmp_path).Tags()["scalars"]


@pytest.mark.parametrize("train_samples", [0, 8])
def test_training_batches_may_be_made_otherwise(tmp_path: Path, train_samples: int) -> None:
    class Mixed(Someone):
        def training_step(self, batch: Any) -> Tensor:
            return super().training_step((batch["image"], batch["digit"]) if isinstance(batch, dict) else batch)

    callback = numbers(train_samples=train_samples)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        loaders = DataLoader(ROWS, 16), loader()
        module, _ = train(tmp_path, [callback], Mixed(), epochs=1, loaders=loaders, num_sanity_val_steps=0)
    assert last(tmp_path) == mean_norm(module, X)
    assert not any(tag.startswith("jacobian-train") for tag in events(tmp_path).Tags()["scalars"])
    about_it = [warning for warning in told if "train_samples=0" in str(warning.message)]
    assert len(about_it) == (1 if train_samples else 0), "once, and only if they are asked for"


class Scores(Someone):
    """Learns whatever the labels are."""

    def training_step(self, batch: Any) -> Tensor:
        return self.net(batch[0]).square().mean()


BY_CLASS = "jacobian-by_class_logits_frobenius/1"


def test_classes_in_a_column_are_classes(tmp_path: Path) -> None:
    column = DataLoader(torch.utils.data.TensorDataset(X, Y.unsqueeze(1)), 20)
    module, _ = train(tmp_path, [numbers()], Scores(), epochs=1, loaders=(column, column))
    assert last(tmp_path, BY_CLASS) == mean_norm(module, X[Y == 1])


def test_labels_that_are_no_classes_are_told_once(tmp_path: Path) -> None:
    one_hot = DataLoader(torch.utils.data.TensorDataset(X, nn.functional.one_hot(Y).float()), 20)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        train(tmp_path / "as is", [numbers()], Scores(), loaders=(one_hot, one_hot))
    (warning,) = (str(warning.message) for warning in told if "labels_fn" in str(warning.message))
    assert "tensor [20, 3] of float32" in warning
    assert BY_CLASS not in events(tmp_path / "as is").Tags()["scalars"]
    (typed,) = re.findall(r"labels_fn=(lambda batch: batch\[1\].*?)\);", warning)
    train(tmp_path / "told", [numbers(labels_fn=eval(typed))], Scores(), loaders=(one_hot, one_hot))
    assert BY_CLASS in events(tmp_path / "told").Tags()["scalars"]


def test_frozen_and_silent_heads_are_no_mistakes(tmp_path: Path) -> None:
    module = Someone()
    nn.init.zeros_(module.net[-1].weight)  # a Jacobian of zeros is one
    module.net[0].weight.requires_grad_(False)
    train(tmp_path, [numbers()], module=module, epochs=1)
    assert last(tmp_path) == mean_norm(module, X)


@pytest.mark.parametrize("logger", ["csv", None])
def test_any_logger_or_none(tmp_path: Path, logger: str | None) -> None:
    loggers = CSVLogger(tmp_path, name="", version="") if logger else False
    module, trainer = train(tmp_path, [JacobianCallback(max_samples=200)], logger=loggers, epochs=1)
    assert float(trainer.callback_metrics[MEAN]) == mean_norm(module, X)
    if logger:
        header, *_ = (tmp_path / "metrics.csv").read_text().splitlines()
        assert {MEAN, "jacobian-spread_probs/spectral/max", "val/loss"} <= set(header.split(","))


def test_a_subset_is_even_over_classes_and_the_same_every_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []
    own_share = ValidationSamples.own_share

    def spy(samples: ValidationSamples) -> Any:
        measured.append(own_share(samples))
        return measured[-1]

    monkeypatch.setattr(ValidationSamples, "own_share", spy)
    train(tmp_path, [numbers(max_samples=31)])
    first, second = measured
    assert torch.equal(first.indices, second.indices)
    assert first.labels.bincount().tolist() == [10, 10, 10]
    assert torch.equal(first.inputs, X[first.indices])
    assert torch.equal(first.labels, Y[first.indices])
    assert (first.indices // 20).bincount(minlength=6)[:5].min() >= 3, "of every batch"


def test_a_nonfinite_jacobian_is_named_and_left_out(tmp_path: Path) -> None:
    class Rooted(Someone):
        def forward(self, x: Tensor) -> Any:
            return self.net(x) + x.flatten(1).sum(1, keepdim=True).sqrt()

    data = X.clone()
    data[42] = 0  # the root has an infinite slope here
    val = DataLoader(torch.utils.data.TensorDataset(data, Y), 20)
    with pytest.warns(UserWarning, match=r"not finite at 1 of 103 samples.* 42"):
        module, _ = train(tmp_path, [numbers()], module=Rooted(), epochs=1, loaders=(loader(16), val))
    assert last(tmp_path, "jacobian-about/nonfinite") == 1
    assert last(tmp_path) == mean_norm(module, torch.cat([data[:42], data[43:]]))

    data[96] = 0  # the first sample of the last batch is among the training samples that are measured
    train_loader = DataLoader(torch.utils.data.TensorDataset(data, Y), 16)
    with pytest.warns(UserWarning, match=r"not finite at 1 of \d+ training samples"):
        train(tmp_path, [numbers(train_samples=8)], module=Rooted(), epochs=1, loaders=(train_loader, loader(20)))


def test_a_diverged_training_goes_on(tmp_path: Path) -> None:
    module = Someone()
    nn.init.constant_(module.net[-1].bias, math.nan)
    callback = JacobianCallback(images_every_n_epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, trainer = train(tmp_path, [callback], module=module)
    assert trainer.current_epoch == 2
    assert last(tmp_path, "jacobian-about/nonfinite") == len(X)


def test_classes_that_share_a_name_are_told_apart(tmp_path: Path) -> None:
    train(tmp_path, [numbers(class_names=["crane", "gull", "crane"])], epochs=1)
    curves = {
        tag.rpartition("/")[2] for tag in events(tmp_path).Tags()["scalars"] if tag.startswith("jacobian-by_class_")
    }
    assert curves == {"crane (0)", "gull", "crane (2)"}


def test_without_validation_it_says_so(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no validation"):
        train(tmp_path, [numbers()], limit_val_batches=0, epochs=1)
