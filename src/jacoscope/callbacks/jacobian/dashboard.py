"""What TensorBoard shows beside the curves: a layout for its Custom Scalars, and a page that explains the tags."""

import re
from collections.abc import Sequence
from typing import Any

from jacoscope.measures import Measure, Statistic, shown_in
from jacoscope.visuals.training_pictures import PICTURES

Chart = list[Any]

_BAND: tuple[Statistic, ...] = ("median", "p05", "p95")
_PAGE = """\
# What the Jacobian says

For one input the Jacobian **J** has a row for each pixel and a column for each class: J[i, k] is how fast output k
changes when pixel i changes. Units are those of the network's input: where pixels run from 0 to 1, a spectral norm of 3
means that a change of the image of length 0.1 (L2) changes the outputs by about 0.3 at most. If images are
standardised before, lengths are in standard deviations. Everything is measured in evaluation mode, each time on the
same validation samples, at most {samples}, spread evenly over the classes, by the strategy `{strategy}`.

**Which output.** Compare `jacobian/logits/…` over training and between runs. `jacobian/probs/…` says how the
probabilities change; softmax saturates, so a confident network has tiny derivatives here.

| tag | what it is | how to read it |
| --- | --- | --- |
{measures}
| `jacobian-spectrum_OUTPUT/01` … | mean singular values, largest first | if all fall: less sensitive in all |

The tags end in `mean`: over the validation samples. `jacobian-spread_OUTPUT/…` has their `median`, `p05`, `p95`
(percentiles) and `max`{only_mean}. Further groups:

| group | what it is |
| --- | --- |
| `jacobian-by_class_OUTPUT_MEASURE/NAME` | mean over the samples of one class |
| `jacobian-by_outcome_OUTPUT/…/correct`, `wrong` | mean over the right and over the wrong predictions |
| `jacobian-by_outcome_OUTPUT/…/auroc` | how well it tells wrong predictions from right ones: 0.5 is chance, 1 perfect |
| `jacobian-about/wrong_count` | number of wrong predictions, from which `wrong` and `auroc` are computed |
| `jacobian-train/…`, `jacobian-train-spread_OUTPUT/…` | the same over training samples, distorted as in training |
| `jacobian-val_over_train/…` | ratio of the means; above 1: less sensitive on training samples |
| `jacobian_distribution/…` | histograms over the validation samples |
| `test/jacobian/…` | the means on test samples |

Pictures, in `jacobian_maps/OUTPUT/`:

| picture | what it shows |
| --- | --- |
{pictures}

All maps of a picture share one scale. That of `probs` is logarithmic if its derivatives differ by orders of
magnitude, as they do between confident and doubtful predictions: read the ticks of the colour bar. Large images are
averaged over blocks of pixels.

`jacobian-about/seconds` and `jacobian-about/share_of_epoch` are the time that all this took.
`jacobian-about/nonfinite` counts samples whose Jacobian was NaN or infinite; they are in none of the numbers.
"""


def explanation(samples: int, strategy: str, prefix: str = "") -> str:
    """Return the page, in Markdown.

    Args:
        samples: how many validation samples are measured at most.
        strategy: how the Jacobians are computed.
        prefix: what all tags begin with.
    """
    shown = shown_in("curves")
    measures = "\n".join(
        f"| `jacobian/{measure.key('OUTPUT')}/…` | {_what(measure)} | {measure.reading} |" for measure in shown
    )
    pictures = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in PICTURES.items())
    few = " and ".join(measure.label for measure in shown if measure.statistics == ("mean",))
    only_mean = f"; not those of the {few}" if few else ""
    page = _PAGE.format(samples=samples, strategy=strategy, measures=measures, only_mean=only_mean, pictures=pictures)
    # TensorBoard breaks a line wherever the text does, so each paragraph is made one line; tables have theirs.
    page = re.sub(r"(?<=[^\n|])\n(?=[^\n|`])", " ", page)
    return (
        page + f"\nThese are the tags of one of several callbacks: each begins with `{prefix}`.\n" if prefix else page
    )


def _what(measure: Measure) -> str:
    return f"{measure.label} {measure.symbol}: {measure.definition}" if measure.per_output else measure.definition


def layout(outputs: Sequence[str], tags: Sequence[str], prefix: str = "") -> dict[str, dict[str, Chart]]:
    """Return the layout of the Custom Scalars tab, as ``SummaryWriter.add_custom_scalars`` takes it.

    Args:
        outputs: whose Jacobians are logged.
        tags: of the scalars that are logged, without the prefix; classes and singular values are found among them.
        prefix: what the tags and the titles of the charts' groups begin with.
    """
    common = {
        "Accuracy and loss": {
            "accuracy": _all_named("acc", "Acc", "ACC"),
            "loss": _all_named("loss", "Loss", "LOSS"),
        }
    }
    return common | {
        f"{prefix}{group} (point at a chart: its curves are named)": {
            title: [kind, [prefix + tag if kind == "Margin" else f"^{_escaped(prefix + tag)}$" for tag in names]]
            for title, (kind, names) in charts.items()
        }
        for group, charts in _sensitivity_charts(outputs, tags).items()
    }


def _sensitivity_charts(outputs: Sequence[str], tags: Sequence[str]) -> dict[str, dict[str, Chart]]:
    """Return the charts of each group: their kind and their tags.

    TensorBoard draws all curves of a run in its colour. So a spread is one curve with a band, which the chart's title
    names; curves of other charts are named in the box at the pointer.
    """
    charts: dict[str, dict[str, Chart]] = {}
    measures = shown_in("curves", "charts")
    for output in outputs:
        sensitivity: dict[str, Chart] = {}
        for measure in measures:
            if measure.per_output:
                sensitivity |= _charts_of(measure, output, tags)
        sensitivity["singular values, the largest on top"] = _all_below(f"jacobian-spectrum_{output}", tags)
        charts[f"Sensitivity of the {output}"] = sensitivity
    for measure in measures:
        if not measure.per_output and any(tag.startswith(f"jacobian/{measure.key('logits')}/") for tag in tags):
            charts[measure.label.capitalize()] = _charts_of(measure, "logits", tags)
    return charts


def _charts_of(measure: Measure, output: str, tags: Sequence[str]) -> dict[str, Chart]:
    key, label = measure.key(output), measure.label
    if set(_BAND) <= set(measure.statistics):
        band = [measure.tag(output, statistic) for statistic in _BAND]
        charts = {f"{label}: median and middle 90 %": ["Margin", band]}
    else:
        charts = {f"{label}: mean": _lines(measure.tag(output))}
    if "more_charts" in measure.shown:
        outcomes = (f"jacobian-by_outcome_{key}/{outcome}" for outcome in ("correct", "wrong"))
        charts[f"{label} by class"] = _all_below(f"jacobian-by_class_{key.replace('/', '_')}", tags)
        charts[f"{label}, training and validation"] = _lines(f"jacobian-train/{key}/mean", f"jacobian/{key}/mean")
        charts[f"{label}, correct and wrong"] = _lines(*outcomes)
    return charts


def _all_below(group: str, tags: Sequence[str]) -> Chart:
    return _lines(*(tag for tag in tags if tag.startswith(f"{group}/")))


def _lines(*tags: str) -> Chart:
    return ["Multiline", list(tags)]


def _all_named(*words: str) -> Chart:
    """Return a chart of everything that the module logs under such names: most are logged only after the layout."""
    return ["Multiline", [f"^(?!.*jacobian).*({'|'.join(words)})"]]


def _escaped(tag: str) -> str:
    """Return a tag as a regular expression: of a multiline chart, TensorBoard takes tags for these."""
    return "".join(f"\\{character}" if character in r".+*?()[]{}|^$\\" else character for character in tag)
