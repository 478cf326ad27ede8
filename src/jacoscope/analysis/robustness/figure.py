"""robustness.png: accuracy against the size of noise, attacks and corruptions, of one network or of several."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from jacoscope.analysis.robustness.perturbations import ATTACKS, CORRUPTIONS, DDN, NORMS, label_of
from jacoscope.analysis.robustness.summary import FIRST_ORDER
from jacoscope.visuals.colors import RUN_SCALE, THEME

COLORS = THEME["light"]
LOOKS: dict[str, dict[str, Any]] = {
    "random_signs": {"color": COLORS["soft"], "marker": "s"},
    "fgsm": {"color": COLORS["wrong"], "marker": "^"},
    "pgd_linf": {"color": COLORS["right"], "marker": "o"},
    "gaussian": {"color": COLORS["soft"], "marker": "s"},
    "pgd_l2": {"color": COLORS["right"], "marker": "o"},
    DDN: {"color": COLORS["accent"], "marker": "D"},
    FIRST_ORDER: {"color": COLORS["ink"], "marker": "", "linestyle": "--"},
}
LINE = {"linewidth": 1.4, "markersize": 3.5}
MOST_BANDS = 6  # networks in one figure whose bands can be told apart


def look_of(name: str) -> dict[str, Any]:
    """Return the colour, the marker and the style of a curve."""
    return LOOKS.get(name, {"color": COLORS["right"], "marker": "o"})


def curve_label(name: str) -> str:
    """Return what a curve is called.

    >>> curve_label("first_order"), curve_label("fgsm")
    ('predicted to first order', 'FGSM')
    """
    return "predicted to first order" if name == FIRST_ORDER else label_of(name)


def panels(summary: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return the titles of the axes, with the curves in each: one for each norm, and one for each corruption."""
    curves = summary["curves"]
    shown = [
        (norm.label, [name for name in (*ATTACKS, DDN, FIRST_ORDER) if name in curves and norm_of(name) == key])
        for key, norm in NORMS.items()
    ]
    shown += [(f"{each.label}: {each.unit}", [name]) for name, each in CORRUPTIONS.items() if name in curves]
    return [(title, names) for title, names in shown if names]


def panel_for_each(summary: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return the titles of the axes with one curve in each."""
    return [
        (CORRUPTIONS[name].unit if norm_of(name) is None else title, [name])
        for title, names in panels(summary)
        for name in names
    ]


def norm_of(name: str) -> str | None:
    """Return the norm of a curve's sizes; ``None`` for a corruption."""
    if name in CORRUPTIONS:
        return None
    return ATTACKS[name].norm if name in ATTACKS else "l2"


def curves_figure(summaries: Mapping[str, Mapping[str, Any]], title: str) -> Figure:
    """Draw one panel for each norm and each corruption; bands are the 95 % intervals, of up to six networks.

    Args:
        summaries: contents of robustness.json by the names of the networks. A single one has a line for each attack;
            several have a panel for each attack, with a line for each network.
        title: above all.
    """
    first = next(iter(summaries.values()))
    drawn = panels(first) if len(summaries) == 1 else panel_for_each(first)
    columns = len(drawn) if len(drawn) <= 3 else min(4, -(-len(drawn) // 2))
    rows = -(-len(drawn) // columns)
    figure = Figure(figsize=(3.5 * columns, 3 * rows + 0.5), layout="constrained", dpi=160)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axis, (label, names) in zip(axes.flat, drawn, strict=False):
        if len(summaries) == 1:
            for name in names:
                _draw(axis, first, name, has_band=True, label=curve_label(name), **look_of(name))
            if len(names) > 1:
                # Above the axes, since the curves leave no corner free.
                axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False, fontsize=8)
        else:
            for (network, summary), look in zip(summaries.items(), _looks(len(summaries)), strict=True):
                _draw(axis, summary, names[0], has_band=len(summaries) <= MOST_BANDS, label=network, **look)
            axis.set_title(curve_label(names[0]), fontsize=10)
        axis.set_xlabel(label, fontsize=9)
        axis.set_ylim(0, 1.02)
        axis.set_xlim(left=0)
        axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axis.xaxis.set_major_locator(MaxNLocator(6))
        axis.grid(color=COLORS["line"], linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(drawn) :]:
        axis.set_axis_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("accuracy", fontsize=9)
    if len(summaries) > 1:
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False, fontsize=8)
    figure.suptitle(f"Accuracy under noise, attacks and corruptions, {title}", fontsize=11)
    return figure


def _draw(axis: Axes, summary: Mapping[str, Any], name: str, *, has_band: bool, **look: Any) -> None:
    points = [summary["accuracy"], *summary["curves"][name]]
    x, y, low, high = (np.array([point[key] for point in points]) for key in ("size", "accuracy", "low", "high"))
    if has_band:
        axis.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
    axis.plot(x, y, **{**LINE, **look})


def _looks(count: int) -> Sequence[dict[str, Any]]:
    """Return a look for each of several networks: a few have colours of their own, many those of a scale."""
    few = [COLORS[name] for name in ("right", "wrong", "accent", "mark", "ink", "soft")]
    scale = colormaps[RUN_SCALE.lower()]
    colors = few if count <= len(few) else [scale(place / count) for place in range(count)]
    return [{"color": color, "marker": "o"} for color in colors[:count]]
