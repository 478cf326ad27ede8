"""The numbers that JacobianCallback logs are those of an independent computation."""

import re
from collections import Counter
from dataclasses import replace

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from torch import Tensor

from jacoscope.measures import MEASURES

from .someone import X, Y, events, jacobians, last, loader, numbers, train

pytestmark = pytest.mark.filterwarnings("ignore")
TRAINED_ON = torch.tensor([48, 49, 64, 65, 80, 81, 96, 97])  # two of each of the last four batches

Run = tuple[LightningModule, Trainer, EventAccumulator]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two epochs, measured on all validation samples and on eight training samples."""
    folder = tmp_path_factory.mktemp("run")
    module, trainer = train(folder, [numbers(train_samples=8)], loaders=(loader(16), loader()))
    module.eval()
    return module, trainer, events(folder)


def spread(values: Tensor) -> dict[str, Tensor]:
    return {
        "mean": values.mean(),
        "median": values.quantile(0.5),
        "p05": values.quantile(0.05),
        "p95": values.quantile(0.95),
        "max": values.max(),
    }


def named(group: str, key: str, statistic: str) -> str:
    """The tag of a statistic: means are in one group, what else there is in a group for each output."""
    return f"{group}/{key}/mean" if statistic == "mean" else f"{group}-spread_{key}/{statistic}"


def distances(module: LightningModule) -> Tensor:
    """Of each sample to the boundary of the class that is nearest, to first order."""
    J, z = jacobians(module, X), module(X).detach()
    nearest = []
    for b, y in enumerate(z.argmax(1).tolist()):
        others = [k for k in range(3) if k != y]
        nearest.append(min(float((z[b, y] - z[b, k]) / (J[b, y] - J[b, k]).norm()) for k in others))
    return torch.tensor(nearest)


@pytest.mark.parametrize("output", ["logits", "probs"])
@pytest.mark.parametrize("norm", ["frobenius", "spectral"])
def test_norms_over_all_samples_by_class_and_by_outcome(run: Run, output: str, norm: str) -> None:
    module, _, logged = run
    J = jacobians(module, X, output == "probs").double()
    values = J.square().sum((1, 2)).sqrt() if norm == "frobenius" else torch.linalg.svdvals(J)[:, 0]
    correct = (module(X).argmax(1) == Y).detach()
    tag = f"{output}/{norm}"
    expected = {named("jacobian", tag, name): value for name, value in spread(values).items()}
    expected |= {f"jacobian-by_class_{output}_{norm}/{k}": values[k == Y].mean() for k in range(3)}
    expected[f"jacobian-by_outcome_{tag}/correct"] = values[correct].mean()
    expected[f"jacobian-by_outcome_{tag}/wrong"] = values[~correct].mean()
    expected |= {named("jacobian-train", tag, name): value for name, value in spread(values[TRAINED_ON]).items()}
    expected[f"jacobian-val_over_train/{tag}"] = values.mean() / values[TRAINED_ON].mean()
    for full_tag, value in expected.items():
        assert last(logged, full_tag) == pytest.approx(float(value), rel=1e-4), full_tag
    assert last(logged, "jacobian-about/wrong_count") == int((~correct).sum())
    pairs = [(w > c).item() for w in values[~correct] for c in values[correct]]
    auroc = last(logged, f"jacobian-by_outcome_{tag}/auroc")
    assert auroc == pytest.approx(sum(pairs) / len(pairs), abs=2e-3)


@pytest.mark.parametrize("output", ["logits", "probs"])
def test_singular_values_and_effective_rank(run: Run, output: str) -> None:
    module, _, logged = run
    spectra = torch.linalg.svdvals(jacobians(module, X, output == "probs").double())
    for i, value in enumerate(spectra.mean(0), start=1):
        # Rows of a softmax Jacobian sum to zero: its last singular value is zero but for rounding.
        mean = last(logged, f"jacobian-spectrum_{output}/{i:02d}")
        assert mean == pytest.approx(float(value), rel=1e-3, abs=1e-5)
    q = spectra / spectra.sum(1, keepdim=True)
    ranks = torch.exp(-torch.xlogy(q, q).sum(1))
    assert last(logged, f"jacobian/{output}/effective_rank/mean") == pytest.approx(float(ranks.mean()), rel=1e-3)
    trained_on = last(logged, f"jacobian-train/{output}/effective_rank/mean")
    assert trained_on == pytest.approx(float(ranks[TRAINED_ON].mean()), rel=1e-3)


def test_distances_to_the_decision_boundary(run: Run) -> None:
    module, _, logged = run
    values = distances(module)
    for name, value in spread(values).items():
        assert last(logged, named("jacobian", "logits/boundary_distance", name)) == pytest.approx(
            float(value), rel=1e-3
        )
    assert last(logged, "jacobian-by_class_logits_boundary_distance/1") == pytest.approx(
        float(values[Y == 1].mean()), rel=1e-3
    )


def test_steps_are_those_of_the_validation_metrics_and_sanity_checking_is_none(run: Run) -> None:
    _, trainer, logged = run
    assert trainer.num_sanity_val_steps > 0
    steps = [event.step for event in logged.Scalars("val/loss")]
    assert [event.step for event in logged.Scalars("jacobian/logits/frobenius/mean")] == steps
    assert len(steps) == 2


def test_checkpoints_and_early_stopping_can_monitor_the_means(run: Run) -> None:
    _, trainer, logged = run
    for tag in ("jacobian/logits/frobenius/mean", "jacobian/probs/spectral/mean"):
        assert float(trainer.callback_metrics[tag]) == pytest.approx(last(logged, tag))


def test_cost_is_logged(run: Run) -> None:
    _, _, logged = run
    assert last(logged, "jacobian-about/seconds") > 0
    assert 0 < last(logged, "jacobian-about/share_of_epoch") < 1


def test_every_tag_of_the_layout_is_logged(run: Run) -> None:
    _, _, logged = run
    layout = layout_pb2.Layout.FromString(logged.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    tags = logged.Tags()["scalars"]
    charts = [chart for category in layout.category for chart in category.chart]
    assert {
        "accuracy",
        "loss",
        "Frobenius norm: median and middle 90 %",
        "Frobenius norm by class",
        "Frobenius norm, training and validation",
    } <= {chart.title for chart in charts}
    own = {chart.title: chart.multiline.tag[0] for chart in layout.category[0].chart}
    for title, named in (("loss", ("train/loss", "val_loss_epoch")), ("accuracy", ("val_acc", "Train Accuracy"))):
        assert all(re.match(own[title], name) for name in named), "whatever the module's names are"
        assert not re.match(own[title], f"jacobian-by_class_logits_frobenius/{named[0]}")
    for category in layout.category[1:]:
        for chart in category.chart:
            for pattern in chart.multiline.tag:
                assert any(re.search(pattern, tag) for tag in tags), pattern
            for band in chart.margin.series:
                assert {band.value, band.lower, band.upper} <= set(tags)
                assert [tag.rpartition("/")[2] for tag in (band.value, band.lower, band.upper)] == [
                    "median",
                    "p05",
                    "p95",
                ]


def test_no_group_of_scalars_has_more_than_twelve_charts(run: Run) -> None:
    _, _, logged = run
    groups = Counter(tag.partition("/")[0] for tag in logged.Tags()["scalars"])
    assert max(groups.values()) <= 12, groups
    assert min(group for group in groups if group.startswith("jacobian")) == "jacobian"


def test_every_group_of_tags_is_explained(run: Run) -> None:
    _, _, logged = run
    page = logged.Tensors("jacobian/how_to_read/text_summary")[0].tensor_proto.string_val[0].decode()
    tags = [tag for kind in ("scalars", "images", "histograms") for tag in logged.Tags()[kind]]
    general = page.replace("OUTPUT", r"(logits|probs)").replace("MEASURE", r"\w+")
    explained = re.compile("|".join(re.findall(r"`(jacobian[^/`]*)/", general)))
    assert all(explained.fullmatch(tag.partition("/")[0]) for tag in tags if tag.startswith("jacobian"))
    last_parts = {tag.rpartition("/")[2] for tag in tags if re.match("jacobian(-train|-(spread|by_outcome)_.*)?/", tag)}
    assert last_parts <= set(re.findall(r"\w+", page))


def test_a_measure_cannot_be_shown_where_only_curves_are_without_being_one() -> None:
    with pytest.raises(ValueError, match='frobenius: shown in hparams, runs, which needs "curves" too'):
        replace(MEASURES["frobenius"], shown=frozenset({"hparams", "runs", "terminal"}))
