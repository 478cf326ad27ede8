"""The table of measures: what is computed from a sample's Jacobian, how it is named, and where it is shown.

Everything that shows a measure reads it here: the curves, charts, histograms and the page of explanations in
TensorBoard, the HPARAMS tab, the columns of samples.parquet, summary.json, the terminal, the report and the comparison
of networks and runs. To add a measure, add one entry to :data:`MEASURES`. Answers of analyze.py that were computed
before are then computed again, since they hold a digest of this file.

This file imports torch only to check types, so that tables of runs can read names and labels quickly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor

    from jacoscope.jacobian_batch import JacobianBatch

Place = Literal[
    "curves",  # TensorBoard: curves over validation and training samples, and a histogram
    "by_class",  # TensorBoard: curves of the mean over each class
    "by_outcome",  # TensorBoard: curves of the mean over right and over wrong predictions, and of the AUROC
    "charts",  # TensorBoard, Custom Scalars: a chart of its spread, which needs statistics=SPREAD
    "more_charts",  # TensorBoard, Custom Scalars: by class, by outcome, training beside validation
    "hparams",  # TensorBoard, HPARAMS: a column
    "tab",  # TensorBoard, Jacobians: a chart of each sample
    "result",  # train.py: a line in the terminal at the end
    "runs",  # a column of the table of runs
    "terminal",  # analyze.py: a row of the table in the terminal
    "report",  # analyze.py: a choice of the report's chart by class
    "classes",  # analyze.py: a column of the tables of classes
    "samples",  # analyze.py: beside each sample that is listed
    "networks",  # analyze.py: where networks are compared, and checkpoints of one training
]
USUAL: frozenset[Place] = frozenset(get_args(Place)) - {"charts", "more_charts", "result", "runs"}
"""Where a measure is shown unless its entry says otherwise: in all places but these four, which have room for few.

Besides, every measure is a column of samples.parquet and stands in summary.json."""
OF_CURVES = frozenset({"by_class", "by_outcome", "charts", "more_charts", "hparams", "result", "runs"})
"""Places that show what the curves of a training have logged."""
Statistic = Literal["mean", "median", "p05", "p95", "max"]
SPREAD: tuple[Statistic, ...] = ("mean", "median", "p05", "p95", "max")

SINGULAR = {"logits": "logit", "probs": "probability", "log_probs": "log-probability"}
PLURAL = {"logits": "logits", "probs": "probabilities", "log_probs": "log-probabilities"}
DERIVATIVE = {"logits": "∂ logit / ∂ pixel", "probs": "∂ probability / ∂ pixel", "log_probs": "∂ log p / ∂ pixel"}
"""What the outputs and their derivatives are called in texts."""

PER_PIXEL = "output per pixel unit"
PIXELS = "pixel units, L2"


@dataclass(frozen=True)
class Measure:
    """One number for each sample.

    Attributes:
        name: in tags, columns and keys.
        label: in tables and charts.
        symbol: in narrow places, and as a formula.
        heading: of a narrow column of a table.
        unit: of its values; empty for none.
        definition: what it is, as the second half of a sentence.
        reading: how to read it, in a few words.
        function: computes it, ``[batch]``, from a batch of Jacobians.
        of: what it is computed from: the Jacobian of whichever output is looked at, the Jacobian of the logits only
            (which is the same for every output), or the logits alone.
        concern: 1 where large values suggest a wrong prediction, −1 where small ones do, 0 where neither is claimed.
        scale: of an axis that shows it over training or over runs.
        statistics: that are logged during training. Each besides the mean is one more chart of a group, which has room
            for twelve.
        min_outputs: outputs that a model must have for it.
        shown: where it is shown.
    """

    name: str
    label: str
    symbol: str
    heading: str
    unit: str
    definition: str
    reading: str
    function: "Callable[[JacobianBatch], Tensor]"
    of: Literal["jacobian", "logits_jacobian", "logits"] = "jacobian"
    concern: Literal[-1, 0, 1] = 0
    scale: Literal["linear", "log"] = "linear"
    statistics: tuple[Statistic, ...] = ("mean",)
    min_outputs: int = 1
    shown: frozenset[Place] = USUAL

    def __post_init__(self) -> None:
        if (shown := self.shown & OF_CURVES) and "curves" not in self.shown:
            raise ValueError(f'{self.name}: shown in {", ".join(sorted(shown))}, which needs "curves" too')

    def __call__(self, batch: "JacobianBatch") -> "Tensor":
        """Compute the measure in float32, ``[batch]``."""
        return self.function(batch).float()

    @property
    def per_output(self) -> bool:
        """Whether it has a value for each output: logits, probs, …"""
        return self.of == "jacobian"

    def key(self, output: str) -> str:
        """Return its name within tags: ``OUTPUT/NAME``; what does not depend on the output belongs to the logits.

        >>> MEASURES["spectral"].key("probs"), MEASURES["boundary_distance"].key("probs")
        ('probs/spectral', 'logits/boundary_distance')
        """
        return f"{output if self.per_output else 'logits'}/{self.name}"

    def tag(self, output: str = "logits", statistic: Statistic = "mean") -> str:
        """Return the tag of a curve, which is also the name of a metric.

        >>> MEASURES["frobenius"].tag("probs"), MEASURES["frobenius"].tag("probs", "median")
        ('jacobian/probs/frobenius/mean', 'jacobian-spread_probs/frobenius/median')
        """
        return curve_tag("jacobian", self.key(output), statistic)

    def title(self, output: str = "logits") -> str:
        """Return the heading of a column of its mean.

        >>> MEASURES["frobenius"].title(), MEASURES["boundary_distance"].title()
        ('‖J‖F logits', 'boundary distance')
        """
        return f"{self.symbol} {output}" if self.per_output else self.label

    def meaning(self, output: str) -> str:
        """Return what it is, in a sentence.

        >>> MEASURES["nuclear"].meaning("probs")
        'nuclear norm of J = ∂ probs / ∂ pixels: the sum of its singular values'
        """
        return f"{self.label} of J = ∂ {output} / ∂ pixels: {self.definition}" if self.per_output else self.definition

    def axis(self) -> str:
        """Return the title of an axis.

        >>> MEASURES["frobenius"].axis(), MEASURES["boundary_distance"].axis(), MEASURES["effective_rank"].axis()
        ('Frobenius norm of J', 'boundary distance (pixel units, L2)', 'effective rank of J')
        """
        if self.per_output:
            return f"{self.label} of J"
        return f"{self.label} ({self.unit})" if self.unit in (PIXELS, "logits") else self.label


def curve_tag(group: str, key: str, statistic: Statistic) -> str:
    """Return the tag of a curve. TensorBoard makes a group of charts of what is before the first slash: at most twelve.

    Args:
        group: the samples, ``jacobian`` or ``jacobian-train``.
        key: of the measure, as :meth:`Measure.key` returns it.
        statistic: the mean is in the group itself, the others in a group for each output.
    """
    return f"{group}/{key}/mean" if statistic == "mean" else f"{group}-spread_{key}/{statistic}"


def _shares(values: "Tensor", whole: "Tensor") -> "Tensor":
    """Divide rows by numbers; by 1 where the number is 0."""
    return values / whole.masked_fill(whole == 0, 1.0).unsqueeze(1)


def _effective_rank(batch: "JacobianBatch") -> "Tensor":
    q = _shares(batch.singular_values, batch.singular_values.sum(1))
    return (-q.xlogy(q).sum(1)).exp() * (batch.singular_values[:, 0] > 0)


_TABLE = (
    Measure(
        name="frobenius",
        label="Frobenius norm",
        symbol="‖J‖F",
        heading="Frobenius",
        unit=PER_PIXEL,
        definition="the root of the sum of its squared entries",
        reading="sensitivity to random noise",
        function=lambda batch: batch.output_norms.square().sum(1).sqrt(),
        concern=1,
        scale="log",
        statistics=SPREAD,
        shown=USUAL | {"charts", "more_charts", "result", "runs"},
    ),
    Measure(
        name="spectral",
        label="spectral norm",
        symbol="‖J‖₂",
        heading="spectral",
        unit=PER_PIXEL,
        definition="its largest singular value",
        reading="sensitivity to the most harmful small change",
        function=lambda batch: batch.singular_values[:, 0],
        concern=1,
        scale="log",
        statistics=SPREAD,
        shown=USUAL | {"charts", "result"},
    ),
    Measure(
        name="nuclear",
        label="nuclear norm",
        symbol="‖J‖∗",
        heading="nuclear",
        unit=PER_PIXEL,
        definition="the sum of its singular values",
        reading="large where many independent directions matter",
        function=lambda batch: batch.singular_values.sum(1),
        concern=1,
        scale="log",
        shown=frozenset({"terminal"}),
    ),
    Measure(
        name="l1_operator",
        label="L1 operator norm",
        symbol="‖J‖₁",
        heading="L1",
        unit=PER_PIXEL,
        definition="the most that one pixel moves all outputs",
        reading="sensitivity to a single pixel",
        function=lambda batch: batch.magnitudes.sum(1).amax(1),
        scale="log",
        shown=frozenset(),
    ),
    Measure(
        name="linf_operator",
        label="L∞ operator norm",
        symbol="‖J‖∞",
        heading="L∞",
        unit=PER_PIXEL,
        definition="the most that all pixels move one output",
        reading="sensitivity to a small change of every pixel",
        function=lambda batch: batch.magnitudes.sum(2).amax(1),
        scale="log",
        shown=frozenset(),
    ),
    Measure(
        name="stable_rank",
        label="stable rank",
        symbol="‖J‖F²/‖J‖₂²",
        heading="stable rank",
        unit="",
        definition="(Frobenius norm / spectral norm)²",
        reading="how many directions are as strong as the strongest",
        function=lambda batch: _shares(batch.singular_values, batch.singular_values[:, 0]).square().sum(1),
        shown=frozenset(),
    ),
    Measure(
        name="effective_rank",
        label="effective rank",
        symbol="erank J",
        heading="rank",
        unit="",
        definition="exp of the entropy of its singular values",
        reading="how many directions of the input matter",
        function=_effective_rank,
        concern=1,
        shown=frozenset({"curves", "tab", "terminal", "report", "classes", "networks"}),
    ),
    Measure(
        name="boundary_distance",
        label="boundary distance",
        symbol="distance",
        heading="distance",
        unit=PIXELS,
        definition="first-order distance to the decision boundary of the prediction",
        reading="the larger, the safer",
        function=lambda batch: batch.boundary[0],
        of="logits_jacobian",
        concern=-1,
        min_outputs=2,
        statistics=SPREAD,
        shown=USUAL | {"charts", "more_charts"},
    ),
    Measure(
        name="confidence",
        label="confidence",
        symbol="max p",
        heading="confidence",
        unit="probability",
        definition="probability of the predicted class",
        reading="how sure the network is",
        function=lambda batch: batch.probabilities.amax(1),
        of="logits",
        concern=-1,
        shown=frozenset({"terminal", "report", "samples", "networks"}),
    ),
    Measure(
        name="margin",
        label="margin",
        symbol="margin",
        heading="margin",
        unit="logits",
        definition="largest logit minus the second largest",
        reading="how far ahead the prediction is",
        function=lambda batch: batch.logits.topk(2, dim=1).values.diff(dim=1).neg().squeeze(1),
        of="logits",
        concern=-1,
        min_outputs=2,
        shown=frozenset(),
    ),
)
MEASURES = {measure.name: measure for measure in _TABLE}
"""All measures by name, in the order in which they are shown."""


def shown_in(*places: Place) -> list[Measure]:
    """Return the measures that are shown in all of these places, in the order of the table.

    >>> shown_in("curves", "hparams")[0].name
    'frobenius'
    """
    return [measure for measure in MEASURES.values() if measure.shown.issuperset(places)]


def auroc(scores: "Tensor", positive: "Tensor") -> float:
    """Compute the area under the ROC curve: the probability that a random positive has a larger score than a random
    negative, where a tie counts one half (Hanley & McNeil, 1982). 0.5 is chance, 1 is perfect.

    ``torchmetrics`` applies a sigmoid to scores outside [0, 1] first, which makes all large norms equal.

    Args:
        scores: ``[samples]``; infinite ones are allowed.
        positive: which samples are positive, ``[samples]``.

    Returns:
        The area; NaN where there is no positive or no negative.

    >>> import torch
    >>> auroc(torch.tensor([3.0, 1.0, 1.0, 0.0]), torch.tensor([True, True, False, False]))
    0.875
    """
    positive = positive.bool()
    p, n = int(positive.sum()), int((~positive).sum())
    if p == 0 or n == 0:
        return float("nan")
    _, group, counts = scores.double().unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    ranks = counts.cumsum(0).double() - (counts - 1) / 2  # from 1; equal scores share the mean of theirs
    return float((ranks[group[positive]].sum() - p * (p + 1) / 2) / (p * n))
