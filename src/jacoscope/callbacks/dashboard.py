"""What TensorBoard shows beside the curves: a layout for its Custom Scalars, and a page that explains the tags."""

from collections.abc import Sequence
from typing import Any

Chart = list[Any]

_PAGE = """\
# What the Jacobian says

For one input the Jacobian **J** has a row for each class and a column for each pixel: J[k, i] is how fast output k
changes when pixel i changes. Pixels run from 0 to 1, so a norm of 3 means: a change of the image of length 0.1
(L2) moves the outputs by about 0.3 at most. Everything is measured in evaluation mode, on the same {samples}
validation samples each time, spread evenly over the classes.

**Which output.** `jacobian/logits/…` is for comparing over training and between runs. `jacobian/probs/…` is what a
reader of the prediction feels; softmax saturates, so a confident network has tiny derivatives here.

| tag, after `jacobian/OUTPUT/` | what it is | how to read it |
| --- | --- | --- |
| `frobenius/…` | ‖J‖F, root of the sum of all squared derivatives | overall sensitivity; reaction to random noise |
| `spectral/…` | ‖J‖₂, largest singular value | the worst case: reaction to the most harmful small change |
| `effective_rank/…` | entropy of the singular values, as a number of them | how many directions matter about equally |
| `boundary_distance/…` | first-order L2 distance to the decision boundary, from the logits | the larger, the safer |
| `singular_value/01` … | mean singular values, largest first | falling together: calmer overall |

| ending | what it is |
| --- | --- |
| `mean`, `median`, `p05`, `p95`, `max` | over the validation samples |
| `by_class/NAME` | mean over the samples of that class |
| `correct`, `wrong` | mean over the samples predicted so |
| `auroc_of_wrong` | how well the norm alone tells wrong predictions from right ones: 0.5 not at all, 1 perfectly |
| `train_mean`, `val_over_train` | the same mean on training samples, and the ratio; above 1: more sensitive where it \
was not trained |

Pictures: `probe_sheet` (orange: a brighter pixel raises the class; blue: it lowers it), `class_maps` (mean |J| of each
class), `sensitivity` (root mean square over the classes, laid over the input), `over_epochs` (each sample's own class,
from epoch to epoch), `spectrum`. Histograms: `…/distribution`.

`jacobian/seconds` and `jacobian/share_of_epoch` are what all this cost.
`jacobian/nonfinite` counts samples whose Jacobian was NaN or infinite; they are in none of the numbers.
"""


def explanation(samples: int) -> str:
    """Give the page, in Markdown."""
    return _PAGE.format(samples=samples)


def layout(outputs: Sequence[str], class_names: Sequence[str], max_classes: int) -> dict[str, dict[str, Chart]]:
    """Give the layout of the Custom Scalars tab, as ``SummaryWriter.add_custom_scalars`` takes it."""
    charts: dict[str, dict[str, Chart]] = {
        "Accuracy and loss": {
            "accuracy": _lines("train/accuracy", "val/accuracy", "test/accuracy"),
            "loss": _lines("train/loss", "val/loss"),
        }
    }
    names = [str(name) for name in class_names[:max_classes]]
    for output in outputs:
        tag = f"jacobian/{output}"
        spread = ("p05", "median", "p95")
        charts[f"Sensitivity of the {output}"] = {
            "Frobenius norm": _lines(*(f"{tag}/frobenius/{q}" for q in spread)),
            "spectral norm": _lines(*(f"{tag}/spectral/{q}" for q in spread)),
            "Frobenius norm by class": _lines(*(f"{tag}/frobenius/by_class/{name}" for name in names)),
            "training and validation": _lines(f"{tag}/frobenius/train_mean", f"{tag}/frobenius/mean"),
            "correct and wrong": _lines(f"{tag}/frobenius/correct", f"{tag}/frobenius/wrong"),
            "singular values": _lines(*(f"{tag}/singular_value/{i:02d}" for i in range(1, 11))),
        }
    charts["Decision boundary"] = {
        "distance": _lines(*(f"jacobian/logits/boundary_distance/{q}" for q in ("p05", "median", "p95"))),
        "distance by class": _lines(*(f"jacobian/logits/boundary_distance/by_class/{name}" for name in names)),
    }
    return charts


def _lines(*tags: str) -> Chart:
    # TensorBoard takes these for regular expressions, and finds them anywhere in a tag.
    return ["Multiline", [f"^{_escaped(tag)}$" for tag in tags]]


def _escaped(tag: str) -> str:
    return "".join(f"\\{character}" if character in r".+*?()[]{}|^$\\" else character for character in tag)
