"""Heatmaps, sheets, charts and figures of Jacobians; tensors in, pictures out.

All is loaded when first used: pages (:mod:`jacoscope.pages`) read the colours without torch and matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .colors import WORDS as WORDS
    from .colors import Pixels as Pixels
    from .colors import diverging as diverging
    from .colors import sequential as sequential
    from .figure import jacobian_figure as jacobian_figure
    from .heatmaps import Scale as Scale
    from .heatmaps import heatmap as heatmap
    from .heatmaps import shrink as shrink
    from .heatmaps import symmetric_limit as symmetric_limit
    from .sheet import compose_sheet as compose_sheet
    from .sheet import encode_png as encode_png
    from .training_pictures import class_maps_sheet as class_maps_sheet
    from .training_pictures import maps_over_epochs as maps_over_epochs
    from .training_pictures import probe_sheet as probe_sheet
    from .training_pictures import sensitivity_overlay as sensitivity_overlay
    from .training_pictures import spectrum_over_epochs as spectrum_over_epochs

_FILES = {
    "colors": ("WORDS", "Pixels", "diverging", "sequential"),
    "figure": ("jacobian_figure",),
    "heatmaps": ("Scale", "heatmap", "shrink", "symmetric_limit"),
    "sheet": ("compose_sheet", "encode_png"),
    "training_pictures": (
        "class_maps_sheet",
        "maps_over_epochs",
        "probe_sheet",
        "sensitivity_overlay",
        "spectrum_over_epochs",
    ),
}


def __getattr__(name: str) -> Any:
    for file, names in _FILES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{file}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
