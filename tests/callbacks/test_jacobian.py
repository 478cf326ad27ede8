"""JacobianCallback logs what an independent computation gives, wherever it runs, and leaves no trace."""

import io
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn

from jacoscope.callbacks import JacobianCallback
from jacoscope.errors import UserError

from .someone import Someone, X, Y, events, last, loader, train

pytestmark = pytest.mark.filterwarnings("ignore")
ALL = 10**6


def jacobians(module: nn.Module, x: Tensor, probs: bool = False) -> Tensor:
    """Of all samples, ``[samples, outputs, features]``: one backward pass for each output."""
    module.eval()
    x = x.clone().requires_grad_()
    outputs = module(x).softmax(1) if probs else module(x)
    rows = [torch.autograd.grad(outputs[:, k].sum(), x, retain_graph=True)[0] for k in range(outputs.shape[1])]
    return torch.stack(rows, 1).flatten(2).detach()


def test_scalars_are_those_of_an_independent_computation(tmp_path: Path) -> None:
    module, trainer = train(tmp_path, [JacobianCallback(max_samples=ALL)])

    logged = events(tmp_path)
    module.eval()
    correct = (module(X).argmax(1) == Y).detach()
    for output in ("logits", "probs"):
        J = jacobians(module, X, output == "probs").double()
        spectra = torch.linalg.svdvals(J)
        for name, values in {"frobenius": J.square().sum((1, 2)).sqrt(), "spectral": spectra[:, 0]}.items():
            tag = f"{output}/{name}"
            expected = {
                f"jacobian/{tag}/mean": values.mean(),
                f"jacobian/{tag}/median": values.quantile(0.5),
                f"jacobian/{tag}/p05": values.quantile(0.05),
                f"jacobian/{tag}/p95": values.quantile(0.95),
                f"jacobian/{tag}/max": values.max(),
                f"jacobian_by_class/{tag}/2": values[Y == 2].mean(),
                f"jacobian_by_outcome/{tag}/correct": values[correct].mean(),
                f"jacobian_by_outcome/{tag}/wrong": values[~correct].mean(),
            }
            for full_tag, value in expected.items():
                assert last(logged, full_tag) == pytest.approx(float(value), rel=1e-4), full_tag
            pairs = [(w > c).item() for w in values[~correct] for c in values[correct]]
            auroc = last(logged, f"jacobian_by_outcome/{tag}/auroc")
            assert auroc == pytest.approx(sum(pairs) / len(pairs), abs=2e-3)
        for i, value in enumerate(spectra.mean(0), start=1):
            # Rows of a softmax Jacobian sum to zero: its last singular value is zero but for rounding.
            assert last(logged, f"jacobian_spectrum/{output}/{i:02d}") == pytest.approx(
                float(value), rel=1e-3, abs=1e-5
            )
        q = spectra / spectra.sum(1, keepdim=True)
        rank = torch.exp(-torch.xlogy(q, q).sum(1)).mean()
        assert last(logged, f"jacobian/{output}/effective_rank/mean") == pytest.approx(float(rank), rel=1e-3)

    J, z = jacobians(module, X), module(X).detach()
    predicted = z.argmax(1)
    distances = []
    for b in range(len(X)):
        others = [j for j in range(3) if j != predicted[b]]
        y = predicted[b]
        distances.append(min(((z[b, y] - z[b, j]) / (J[b, y] - J[b, j]).norm()).item() for j in others))
    distance = last(logged, "jacobian/logits/boundary_distance/mean")
    assert distance == pytest.approx(sum(distances) / len(distances), rel=1e-4)
    assert float(trainer.callback_metrics["jacobian/logits/frobenius/mean"]) == pytest.approx(
        float(J.square().sum((1, 2)).sqrt().mean()), rel=1e-4
    )


def test_steps_are_those_of_the_validation_metrics(tmp_path: Path) -> None:
    train(tmp_path, [JacobianCallback()])
    logged = events(tmp_path)
    steps = [event.step for event in logged.Scalars("val/loss")]
    assert [event.step for event in logged.Scalars("jacobian/logits/frobenius/mean")] == steps
    assert len(steps) == 2


@pytest.mark.parametrize("sanity", [0, 2])
def test_training_gives_bitwise_the_same_weights(tmp_path: Path, sanity: int) -> None:
    plain, _ = train(tmp_path / "plain", num_sanity_val_steps=sanity)
    callback = JacobianCallback(every_n_steps=3)
    watched, _ = train(tmp_path / "watched", [callback], num_sanity_val_steps=sanity)
    for (name, a), b in zip(plain.state_dict().items(), watched.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    modes = [[part.training for part in module.modules()] for module in (plain, watched)]
    assert modes[0] == modes[1]


def test_pictures_and_histograms_are_there_and_bounded(tmp_path: Path) -> None:
    train(tmp_path, [JacobianCallback(images_every_n_epochs=2)], epochs=3)
    logged = events(tmp_path)
    for output in ("logits", "probs"):
        for name in ("probe_sheet", "class_maps", "sensitivity", "over_epochs", "spectrum"):
            shown = logged.Images(f"jacobian_maps/{output}/{name}")
            assert len(shown) == (3 if name in ("probe_sheet", "class_maps", "sensitivity") else 2)
            picture = Image.open(io.BytesIO(shown[-1].encoded_image_string))
            assert (picture.width, picture.height) == (shown[-1].width, shown[-1].height)
            assert picture.width <= 1600
            assert picture.height <= 1200
        histogram = logged.Histograms(f"jacobian_distribution/{output}/frobenius")[-1].histogram_value
        assert histogram.num == len(X)
        assert histogram.sum / histogram.num == pytest.approx(
            last(logged, f"jacobian/{output}/frobenius/mean"), rel=1e-4
        )
    assert logged.Tensors("jacobian/how_to_read/text_summary")
    assert logged.Tensors("custom_scalars__config__")


def test_every_tag_of_the_layout_is_logged(tmp_path: Path) -> None:
    import re

    from tensorboard.plugins.custom_scalar import layout_pb2

    train(tmp_path, [JacobianCallback()])
    logged = events(tmp_path)
    layout = layout_pb2.Layout.FromString(logged.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    tags = logged.Tags()["scalars"]
    for category in layout.category[1:]:  # the first is the training's own: loss and accuracy
        for chart in category.chart:
            assert any(re.search(pattern, tag) for pattern in chart.multiline.tag for tag in tags), chart.title


def test_a_default_run_stays_far_below_20_mb(tmp_path: Path) -> None:
    train(tmp_path, [JacobianCallback()], epochs=15)
    assert sum(path.stat().st_size for path in tmp_path.rglob("events*")) < 4e6  # maps of 28×28 are five times as large


def test_a_subset_is_even_over_classes_and_the_same_every_epoch(tmp_path: Path) -> None:
    callback = JacobianCallback(max_samples=31)
    seen = []
    original = callback._measure_selected

    def spy(module: LightningModule) -> Any:
        measured = original(module)
        seen.append(measured)
        return measured

    callback._measure_selected = spy  # type: ignore[method-assign]
    train(tmp_path, [callback])
    first, second = seen
    assert torch.equal(first.indices, second.indices)
    assert first.labels.bincount().tolist() == [10, 10, 10]
    assert torch.equal(first.labels, Y[first.indices])
    batches = (first.indices // 20).bincount(minlength=6)
    assert batches[:5].min() >= 3


def test_ema_weights_are_the_ones_that_are_measured(tmp_path: Path) -> None:
    values = []
    for first in (True, False):
        average = WeightAveraging(multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
        callback = JacobianCallback(max_samples=ALL)
        pair = [average, callback] if first else [callback, average]
        _, _ = train(tmp_path / str(first), pair, epochs=1)
        values.append(last(events(tmp_path / str(first)), "jacobian/logits/frobenius/mean"))
    train(tmp_path / "raw", [JacobianCallback(max_samples=ALL)], epochs=1)
    assert values[0] == values[1]
    assert values[0] != last(events(tmp_path / "raw"), "jacobian/logits/frobenius/mean")


@pytest.mark.parametrize(
    "options",
    [
        {"accumulate_grad_batches": 3},
        {"precision": "bf16-mixed"},
        {"limit_val_batches": 2},
        {"precision": "64-true"},
    ],
    ids=str,
)
def test_works_with_whatever_the_trainer_does(tmp_path: Path, options: dict[str, Any]) -> None:
    module, _ = train(tmp_path, [JacobianCallback(max_samples=ALL)], **options)
    seen = X[:40] if "limit_val_batches" in options else X
    seen = seen.double() if options.get("precision") == "64-true" else seen
    expected = jacobians(module, seen).square().sum((1, 2)).sqrt().mean()
    assert last(events(tmp_path), "jacobian/logits/frobenius/mean") == pytest.approx(float(expected), rel=1e-4)


def test_several_validations_an_epoch_are_all_measured(tmp_path: Path) -> None:
    train(tmp_path, [JacobianCallback()], val_check_interval=0.5)
    logged = events(tmp_path)
    steps = [event.step for event in logged.Scalars("jacobian/logits/frobenius/mean")]
    assert steps == [event.step for event in logged.Scalars("val/loss")]
    assert len(steps) == 4


@pytest.mark.parametrize("whole", [True, False])
def test_compiled_modules_are_measured_as_they_were_written(tmp_path: Path, whole: bool) -> None:
    module = Someone()
    if not whole:
        module.net = torch.compile(module.net, backend="eager")  # type: ignore[assignment]
    given = torch.compile(module, backend="eager") if whole else module
    train(tmp_path, [JacobianCallback(max_samples=ALL)], module=given, epochs=1)
    assert math.isfinite(last(events(tmp_path), "jacobian/logits/frobenius/mean"))


def test_one_of_several_validation_loaders_is_measured(tmp_path: Path) -> None:
    loaders = (loader(16), [loader(), torch.utils.data.DataLoader(loader().dataset, 20, sampler=range(10))])
    callback = JacobianCallback(max_samples=ALL, dataloader_idx=1)
    module, _ = train(tmp_path, [callback], loaders=loaders, epochs=1)
    expected = jacobians(module, X[:10]).square().sum((1, 2)).sqrt().mean()
    assert last(events(tmp_path), "jacobian/logits/frobenius/mean") == pytest.approx(float(expected), rel=1e-4)


def test_validate_and_test_measure_too(tmp_path: Path) -> None:
    module, trainer = train(tmp_path, [JacobianCallback(max_samples=ALL)], epochs=1)
    expected = float(jacobians(module, X).square().sum((1, 2)).sqrt().mean())
    (validated,) = trainer.validate(module, loader(), verbose=False)
    assert float(trainer.callback_metrics["jacobian/logits/frobenius/mean"]) == pytest.approx(expected, rel=1e-4)
    assert set(validated) == {"val/loss"}, "the table that Lightning prints is not flooded"
    trainer.test(module, loader(), verbose=False)
    logged = events(tmp_path)
    assert last(logged, "test/jacobian/logits/frobenius/mean") == pytest.approx(expected, rel=1e-4)
    assert sum(tag.startswith("test/") for tag in logged.Tags()["scalars"]) < 10


def test_any_batch_and_any_forward(tmp_path: Path) -> None:
    class Dictionaries(Someone):
        def forward(self, x: Tensor) -> Any:
            return {"logits": self.net(x)}

        def training_step(self, batch: Any) -> Tensor:
            return super().training_step((batch["image"], batch["digit"]))

    rows = [{"image": x, "digit": y} for x, y in zip(X, Y, strict=True)]
    loaders = tuple(torch.utils.data.DataLoader(rows, 20) for _ in range(2))  # type: ignore[arg-type]
    callback = JacobianCallback(
        max_samples=ALL,
        inputs_fn=lambda batch: batch["image"],
        labels_fn=lambda batch: batch["digit"],
        output=lambda returned: returned["logits"],
    )
    module, _ = train(tmp_path, [callback], module=Dictionaries(), loaders=loaders, epochs=1)
    expected = float(jacobians(module.net, X).square().sum((1, 2)).sqrt().mean())  # type: ignore[arg-type]
    assert last(events(tmp_path), "jacobian/logits/frobenius/mean") == pytest.approx(expected, rel=1e-4)
    assert "jacobian_by_class/logits/frobenius/1" in events(tmp_path).Tags()["scalars"]


def test_probes_are_the_samples_that_were_asked_for(tmp_path: Path) -> None:
    callback = JacobianCallback(probe_indices=[7, 3])
    train(tmp_path, [callback], epochs=1)
    assert [sample[0] for sample in callback.probes.found.values()] == [7, 3]
    for index, label, x in callback.probes.found.values():
        assert torch.equal(x, X[index])
        assert label == Y[index]


def test_a_resumed_run_draws_the_same_probes_and_keeps_their_history(tmp_path: Path) -> None:
    callback = JacobianCallback(images_every_n_epochs=1)
    train(tmp_path / "a", [callback], epochs=2)
    buffer = io.BytesIO()
    torch.save(callback.state_dict(), buffer)
    buffer.seek(0)
    resumed = JacobianCallback(images_every_n_epochs=1)
    resumed.load_state_dict(torch.load(buffer, weights_only=True))
    assert resumed.probes.found.keys() == callback.probes.found.keys()
    assert sorted(resumed.probes.maps["logits"]) == [1, 2]


def test_a_nonfinite_jacobian_is_named_and_left_out(tmp_path: Path) -> None:
    class Rooted(Someone):
        def forward(self, x: Tensor) -> Any:
            return self.net(x) + x.flatten(1).sum(1, keepdim=True).sqrt()

    data = X.clone()
    data[42] = 0  # the root has an infinite slope here
    val = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(data, Y), 20)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        callback = JacobianCallback(max_samples=ALL)
        module, _ = train(tmp_path, [callback], module=Rooted(), epochs=1, loaders=(loader(16), val))
    assert any("not finite" in str(w.message) and "42" in str(w.message) for w in caught)
    logged = events(tmp_path)
    assert last(logged, "jacobian/nonfinite") == 1
    expected = jacobians(module, torch.cat([data[:42], data[43:]])).square().sum((1, 2)).sqrt().mean()
    assert last(logged, "jacobian/logits/frobenius/mean") == pytest.approx(float(expected), rel=1e-4)


def test_mistakes_are_told_at_the_first_batch(tmp_path: Path) -> None:
    class Cut(Someone):
        def forward(self, x: Tensor) -> Any:
            return self.net(x.detach())

    class Tuple(Someone):
        def forward(self, x: Tensor) -> Any:
            return self.net(x), x

    with pytest.raises(UserError, match="no gradient"):
        train(tmp_path, [JacobianCallback()], module=Cut())
    with pytest.raises(UserError, match="type tuple"):
        train(tmp_path, [JacobianCallback()], module=Tuple())
    with pytest.raises(UserError, match="inputs_fn"):
        train(tmp_path, [JacobianCallback(inputs_fn=lambda batch: "x")])  # type: ignore[arg-type, return-value]
    with pytest.raises(UserError, match="max_samples=0"):
        JacobianCallback(max_samples=0)
    with pytest.raises(UserError, match="dataloader_idx=3"):
        train(tmp_path, [JacobianCallback(dataloader_idx=3)])


def test_frozen_and_silent_heads_are_no_mistakes(tmp_path: Path) -> None:
    module = Someone()
    nn.init.zeros_(module.net[-1].weight)  # a Jacobian of zeros is one
    module.net[0].weight.requires_grad_(False)
    train(tmp_path, [JacobianCallback()], module=module, epochs=1)


def test_without_validation_it_says_so(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no validation"):
        train(tmp_path, [JacobianCallback()], limit_val_batches=0, epochs=1)


def test_cost_is_logged(tmp_path: Path) -> None:
    train(tmp_path, [JacobianCallback()])
    logged = events(tmp_path)
    assert last(logged, "jacobian/seconds") > 0
    assert 0 < last(logged, "jacobian/share_of_epoch") < 1


def test_between_validations_every_n_steps(tmp_path: Path) -> None:
    train(tmp_path, [JacobianCallback(every_n_steps=2)], epochs=2)
    steps = [event.step for event in events(tmp_path).Scalars("jacobian/logits/frobenius/mean")]
    assert steps == sorted(steps)
    assert len(steps) >= 2 + 3


def test_numbers_go_to_a_csv_file_as_well(tmp_path: Path) -> None:
    train(tmp_path, [JacobianCallback()], logger=CSVLogger(tmp_path, name="", version=""), epochs=1)
    assert "jacobian/probs/spectral/max" in (tmp_path / "metrics.csv").read_text()
