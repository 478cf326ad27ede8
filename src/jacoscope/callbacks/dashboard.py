"""What TensorBoard shows beside the curves: a layout for its Custom Scalars, and a page that explains the tags."""

import re
from collections.abc import Sequence
from typing import Any

Chart = list[Any]

_PAGE = """\
# What the Jacobian says

For one input the Jacobian **J** has a row for each pixel and a column for each class: J[i, k] is how fast output k
changes when pixel i changes. Units are those of the network's input: where pixels run from 0 to 1, a spectral norm of 3
means that a change of the image of length 0.1 (L2) moves the outputs by about 0.3 at most; where images are
standardised before, lengths are in standard deviations. Everything is measured in evaluation mode, on the same
{samples} validation samples each time at most, spread evenly over the classes.

**Which output.** `jacobian/logits/…` is for comparing over training and between runs. `jacobian/probs/…` is what a
reader of the prediction feels; softmax saturates, so a confident network has tiny derivatives here.

| tag | what it is | how to read it |
| --- | --- | --- |
| `jacobian/OUTPUT/frobenius/…` | root of the sum of all squared derivatives, ‖J‖F | sensitivity to random noise |
| `jacobian/OUTPUT/spectral/…` | largest singular value, ‖J‖₂ | sensitivity to the most harmful small change |
| `jacobian/OUTPUT/effective_rank/…` | exp of the singular values' entropy | how many directions of the input matter |
| `jacobian/logits/boundary_distance/…` | to the decision boundary, first order, L2 | the larger, the safer |
| `jacobian_spectrum/OUTPUT/01` … | mean singular values, largest first | falling together: calmer overall |

Norms and distances end in `mean`, `median`, `p05`, `p95` (percentiles) or `max`, over the validation samples; the
effective rank in `mean`. Further groups:

| group | what it is |
| --- | --- |
| `jacobian_by_class/…/NAME` | mean over the samples of one class |
| `jacobian_by_outcome/…/correct`, `wrong` | mean over the samples predicted so |
| `jacobian_by_outcome/…/auroc` | how well the norm alone gives wrong predictions away: 0.5 not, 1 perfectly |
| `jacobian_by_outcome/wrong_count` | wrong predictions among the samples: `wrong` and `auroc` rest on so few |
| `jacobian_train/…` | the same over training samples, distorted as they were trained on |
| `jacobian_train/…/val_over_train` | ratio of the means; above 1: more sensitive where it was not trained |
| `jacobian_distribution/…` | histograms over the validation samples |
| `test/jacobian/…` | the means on test samples |

Pictures, in `jacobian_maps/OUTPUT/`:

| picture | what it shows |
| --- | --- |
| `probe_sheet` | orange: a brighter pixel raises the class; blue: it lowers it |
| `class_maps` | the mean magnitude of each class's derivatives |
| `sensitivity` | root mean square over the classes, laid over the input |
| `over_epochs` | the derivative of each sample's own class, from epoch to epoch |
| `spectrum` | mean singular values, a line for each epoch |

All maps of a picture share one scale. That of `probs` is logarithmic where its derivatives differ by orders of
magnitude, as they do between certain and doubtful samples: read the ticks of the colour bar. Large images are averaged
over blocks of pixels.

`jacobian/seconds` and `jacobian/share_of_epoch` are what all this cost.
`jacobian/nonfinite` counts samples whose Jacobian was NaN or infinite; they are in none of the numbers.
"""


def explanation(samples: int) -> str:
    """Give the page, in Markdown."""
    # TensorBoard breaks a line wherever the text does, so each paragraph is made one line; tables have theirs.
    return re.sub(r"(?<=[^\n|])\n(?=[^\n|`])", " ", _PAGE.format(samples=samples))


def layout(outputs: Sequence[str], tags: Sequence[str]) -> dict[str, dict[str, Chart]]:
    """Give the layout of the Custom Scalars tab, as ``SummaryWriter.add_custom_scalars`` takes it.

    Args:
        outputs: whose Jacobians are logged.
        tags: of the scalars that are logged; classes and singular values are found among them.
    """

    def all_below(group: str) -> Chart:
        return _lines(*(tag for tag in tags if tag.startswith(f"{group}/")))

    spread = ("p05", "median", "p95")
    charts: dict[str, dict[str, Chart]] = {
        "Accuracy and loss": {
            "accuracy": _all_named("acc", "Acc", "ACC"),
            "loss": _all_named("loss", "Loss", "LOSS"),
        }
    }
    for output in outputs:
        norm = f"{output}/frobenius"
        charts[f"Sensitivity of the {output}"] = {
            "Frobenius norm": _lines(*(f"jacobian/{norm}/{q}" for q in spread)),
            "spectral norm": _lines(*(f"jacobian/{output}/spectral/{q}" for q in spread)),
            "Frobenius norm by class": all_below(f"jacobian_by_class/{norm}"),
            "training and validation": _lines(f"jacobian_train/{norm}/mean", f"jacobian/{norm}/mean"),
            "correct and wrong": _lines(*(f"jacobian_by_outcome/{norm}/{outcome}" for outcome in ("correct", "wrong"))),
            "singular values": all_below(f"jacobian_spectrum/{output}"),
        }
    charts["Decision boundary"] = {
        "distance": _lines(*(f"jacobian/logits/boundary_distance/{q}" for q in spread)),
        "distance by class": all_below("jacobian_by_class/logits/boundary_distance"),
    }
    return charts


def _lines(*tags: str) -> Chart:
    # TensorBoard takes these for regular expressions, and finds them anywhere in a tag.
    return ["Multiline", [f"^{_escaped(tag)}$" for tag in tags]]


def _all_named(*words: str) -> Chart:
    """Whatever the module logs under names of its own: most are logged only after the layout."""
    return ["Multiline", [f"^(?!.*jacobian).*({'|'.join(words)})"]]


def _escaped(tag: str) -> str:
    return "".join(f"\\{character}" if character in r".+*?()[]{}|^$\\" else character for character in tag)
