"""The sections of the report: sentences made from the summary, and the pictures beside them."""

from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jacoscope.analysis.report.numbers import Numbers
from jacoscope.analysis.report.pictures import digit, magnitude_map, scale_bar, signed_map
from jacoscope.measures import SINGULAR
from jacoscope.visuals import symmetric_limit


def headline(n: Numbers) -> str:
    """The numbers that one wants first."""
    unit = SINGULAR[n.value("output")]
    cards = [
        (n("accuracy", ".2%"), f"right, {n('errors')} of {n('samples')} are wrong"),
        (n("measures/frobenius/median"), f"median Frobenius norm of J, {unit} per pixel unit"),
        (n("measures/boundary_distance/median"), "median L2 distance to the decision boundary, to first order"),
        (n("auroc_of_errors/boundary_distance"), "AUROC: errors told from right decisions by that distance"),
    ]
    return '<div class="cards">' + "".join(f"<div><b>{b}</b><span>{t}</span></div>" for b, t in cards) + "</div>"


def left_out_text(n: Numbers) -> str:
    """Which samples nothing could be said of."""
    first = [n(f"left_out/first/{i}", "d") for i in range(len(n.value("left_out/first")))]
    if not first:
        return ""
    return (
        f"<p>Samples left out of everything here, since their logits or derivatives are NaN or infinite: "
        f"{n('left_out/samples')}; the first by index: {', '.join(first)}.</p>"
    )


def reading_guide(output: str) -> str:
    """What J is."""
    return (
        f"<p>J holds the derivative of every class’s {SINGULAR[output]} with respect to every pixel: "
        f"J[i, k] says how fast the {SINGULAR[output]} of class k grows when pixel i gets brighter. "
        "Pixels run from 0 to 1. A change of the image of L2 length 0.1 moves the outputs by at most 0.1 times the "
        "spectral norm, to first order; noise of standard deviation 0.1 on every pixel moves them by about 0.1 times "
        "the Frobenius norm. The distance to the decision boundary is the length of the smallest change that turns "
        "the decision, if the network were linear around the image.</p>"
    )


def norms_text(n: Numbers) -> str:
    """What the distribution of norms says."""
    middle = (
        f"<p>Nine in ten samples have a Frobenius norm between {n('measures/frobenius/percentile_5')} and "
        f"{n('measures/frobenius/percentile_95')}. "
    )
    if not n.known("wrong/frobenius", "correct/frobenius"):
        return middle + "There is no decision of the other kind to compare with.</p>"
    return (
        f"{middle}Where the network is wrong it is {n('frobenius_wrong_to_correct', '.2f')} times as sensitive as "
        f"where it is right: the mean norm is {n('wrong/frobenius')} against {n('correct/frobenius')}. "
        f"{_detectors(n)}</p>"
    )


def _detectors(n: Numbers) -> str:
    return (
        "Picking a wrong and a right decision at random, the wrong one has the larger norm with probability "
        f"{n('auroc_of_errors/frobenius', '.1%')}, the smaller boundary distance with probability "
        f"{n('auroc_of_errors/boundary_distance', '.1%')}, and the smaller confidence with probability "
        f"{n('auroc_of_errors/confidence', '.1%')} (50 % would be chance)."
    )


def confidence_text(n: Numbers) -> str:
    """How sensitivity and confidence go together."""
    path = "correlation_with_confidence/frobenius/spearman"
    if not n.known(path):
        return ""
    rho = n.value(path)
    strength = (
        "strongly" if abs(rho) > 0.6 else "clearly" if abs(rho) > 0.3 else "weakly" if abs(rho) > 0.1 else "hardly"
    )
    direction = "falls" if rho < 0 else "rises"
    how = "is hardly related to" if strength == "hardly" else f"{strength} {direction} with"
    return f"<p>Sensitivity {how} confidence: the rank correlation is {n(path, '.2f')}.</p>"


def class_text(n: Numbers) -> str:
    """Which classes stand out."""
    classes = {name: group for name, group in n.summary["by_class"].items() if group["samples"]}
    if len(classes) < 2:
        return ""
    most = max(classes, key=lambda name: classes[name]["frobenius"])
    least = min(classes, key=lambda name: classes[name]["frobenius"])
    top, low = f"by_class/{n.key(most)}", f"by_class/{n.key(least)}"
    return (
        f"<p>The network is most sensitive on class {escape(most)}, with a mean norm of "
        f"{n(f'{top}/frobenius')} and a mean boundary distance of {n(f'{top}/boundary_distance')}, "
        f"and least on class {escape(least)} ({n(f'{low}/frobenius')}; {n(f'{low}/boundary_distance')}). "
        f"{_infinite(n)}Boxes hold the middle half of a class, whiskers the middle 90 %.</p>"
    )


def _infinite(n: Numbers) -> str:
    path = "measures/boundary_distance/infinite"
    return (
        f"Means of distances leave out {n(path)} that are infinite: no pixel moves a margin. " if n.value(path) else ""
    )


def class_table(n: Numbers) -> str:
    """The numbers of each class."""
    rows = []
    for name, group in n.summary["by_class"].items():
        if not group["samples"]:
            continue
        path = f"by_class/{n.key(name)}"
        cells = [n(f"{path}/samples"), n(f"{path}/accuracy", ".2%")]
        cells += [n(f"{path}/{key}") for key in ("frobenius", "spectral", "effective_rank", "boundary_distance")]
        rows.append(f"<tr><th>{escape(name)}</th>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    heads = ("class", "samples", "accuracy", "Frobenius", "spectral", "effective rank", "distance")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return (
        "<details><summary>The numbers of each class (means)</summary>"
        f'<div class="scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div></details>'
    )


def mean_maps(maps: dict[str, Any], class_names: list[str], output: str) -> str:
    """For each class: the mean image, the mean derivative of its own output, and its mean magnitude."""
    there = np.flatnonzero(maps["count"])[:20]
    image, own, magnitude = (torch.from_numpy(maps[key][there]) for key in ("image", "own", "own_magnitude"))
    limit = symmetric_limit(own.sum(1))
    top = symmetric_limit(torch.linalg.vector_norm(magnitude, dim=1))
    figures = []
    for i, k in enumerate(there.tolist()):
        name = escape(class_names[k])
        pictures = [
            digit(image[i], f"mean image of class {name}"),
            signed_map(own[i], limit, f"mean derivative, class {name}"),
            magnitude_map(magnitude[i], top, f"mean magnitude, class {name}"),
        ]
        figures.append(f"<figure>{''.join(pictures)}<figcaption>{name}</figcaption></figure>")
    return (
        f'<div class="gallery">{"".join(figures)}</div>{scale_bar(limit, f"mean ∂ {SINGULAR[output]} / ∂ pixel")}'
        f'<p class="note">Left: the mean image of the class. Middle: the mean derivative of the class’s '
        f"own {SINGULAR[output]}; orange pixels speak for the class, blue ones against it. Right: the mean "
        f"magnitude, from 0 (light) to {top:.3g} (violet): where the network looks, whatever the sign.</p>"
    )


def derivative_rows(
    n: Numbers, listed: str, x: Tensor, read: Iterable[tuple[Tensor, Tensor]], class_names: list[str]
) -> str:
    """A row for each sample: the digit, then a derivative map for each class, each row on its own scale.

    Args:
        n: the numbers of the summary.
        listed: the key of its list of samples; the first ones are shown.
        x: their images.
        read: the Jacobian ``[classes, C, H, W]`` and the probabilities ``[classes]`` of each.
        class_names: one for each class.
    """
    shown = min(10, len(class_names))
    lines = []
    for place, (image, (J, probabilities)) in enumerate(zip(x, read, strict=True)):
        path = f"{listed}/{place}"
        row = n.value(path)
        classes = sorted(probabilities.topk(shown).indices.tolist())
        limit = symmetric_limit(J[classes].sum(1))
        truth, said = escape(class_names[row["label"]]), escape(class_names[row["prediction"]])
        verdict = f"{said} ✓" if row["label"] == row["prediction"] else f"{truth} taken for {said}"
        cells = "".join(
            f'<figure class="{"own" if k == row["label"] else ""}">'
            f"{signed_map(J[k], limit, f'derivative of class {escape(class_names[k])}')}"
            f"<figcaption>{escape(class_names[k])} · {_percent(float(probabilities[k]))}</figcaption></figure>"
            for k in classes
        )
        about = (
            f"<b>{verdict}</b><small>sample {n(f'{path}/index', 'd')}<br>norm {n(f'{path}/frobenius')}<br>"
            f"distance {n(f'{path}/boundary_distance')}<br>scale ±{limit:#.2g}</small>"
        )
        name = f"sample {row['index']}"
        lines.append(
            f'<div class="row" data-sample="{row["index"]}"><div class="about">{digit(image, name)}'
            f'<div>{about}</div></div><div class="maps">{cells}</div></div>'
        )
    note = (
        f'<p class="note">Each map is the derivative of one class’s {SINGULAR[n.value("output")]}; below it the class '
        "and its probability. Orange: brightening the pixel raises it; blue: lowers it. The true class is framed. "
        "A row has its own scale.</p>"
    )
    return f'<div class="rows">{"".join(lines)}</div>{note}'


def spectrum_text(n: Numbers) -> str:
    """How many directions matter."""
    text = (
        "<p>The singular values of J tell in how many independent directions the outputs react. The median effective "
        f"rank is {n('measures/effective_rank/median')} of at most {n('spectrum/values')}; going by the "
        f"mean spectrum, the strongest direction carries {n('spectrum/share_of_strongest', '.0%')} of the squared "
        "sensitivity."
    )
    if n.value("output") == "probs":
        text += " Probabilities sum to one, so the last singular value is zero."
    return text + "</p>"


def distance_text(n: Numbers) -> str:
    """Whether the first-order distance can be trusted."""
    a = "adversarial"
    if not n.known(f"{a}/along/ratio_median"):
        return "<p>Too few decisions could be turned to compare the distances.</p>"
    text = (
        f"<p>On {n(f'{a}/samples')} samples, evenly spread, the prediction was put to the test. Going in the predicted "
        f"direction, the decision turned on {n(f'{a}/along/found')} of them, after "
        f"{n(f'{a}/along/ratio_median', '.2f')} times the predicted distance in the median (middle 90 %: "
        f"{n(f'{a}/along/ratio_percentile_5', '.2f')} to {n(f'{a}/along/ratio_percentile_95', '.2f')}), and "
        f"to the predicted class in {n(f'{a}/along/same_class', '.0%')} of these. "
    )
    if n.known(f"{a}/attack/ratio_median", f"{a}/attack/spearman"):
        text += (
            "An established attack, which searches freely but keeps pixels within [0, 1], turned "
            f"{n(f'{a}/attack/found')} of them by changes of {n(f'{a}/attack/ratio_median', '.2f')} times the "
            "predicted length in the median "
            f"({n(f'{a}/attack/ratio_percentile_5', '.2f')} to {n(f'{a}/attack/ratio_percentile_95', '.2f')}); "
            "the rank correlation between predicted and found distances is "
            f"{n(f'{a}/attack/spearman', '.2f')}. {_in_short(n.value(f'{a}/attack'))} "
            f"The attack: {escape(str(n.value(f'{a}/attack_name')))}."
        )
    else:
        text += f"An established attack turned {n(f'{a}/attack/found')} of them; the distances cannot be compared."
    return text + "</p>"


def _in_short(attack: dict[str, float]) -> str:
    order = attack["spearman"]
    well = "well" if order >= 0.8 else "roughly" if order >= 0.5 else "badly"
    ratio = attack["ratio_median"]
    where = (
        "closer than it says" if ratio < 0.95 else "about where it says" if ratio < 1.05 else "not as close as it says"
    )
    return f"In short: the first-order distance orders the samples {well}, and the nearest other decision is {where}."


def _percent(probability: float) -> str:
    return f"{probability:.0%}".replace("%", " %") if probability >= 0.005 else "<1 %"
