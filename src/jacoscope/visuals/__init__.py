"""Heatmaps and plots of Jacobians; tensors in, pictures out.

All is loaded when first used: a page (:mod:`jacoscope.visuals.page`) needs neither torch nor matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .colors import Pixels as Pixels
    from .colors import diverging as diverging
    from .colors import paint_magnitude as paint_magnitude
    from .colors import paint_signed as paint_signed
    from .colors import sequential as sequential
    from .colors import symmetric_limit as symmetric_limit
    from .maps import class_maps_sheet as class_maps_sheet
    from .maps import maps_over_epochs as maps_over_epochs
    from .maps import probe_sheet as probe_sheet
    from .maps import sensitivity_overlay as sensitivity_overlay
    from .maps import shrink as shrink
    from .plots import jacobian_figure as jacobian_figure
    from .plots import spectrum_over_epochs as spectrum_over_epochs
    from .sheet import compose_sheet as compose_sheet

_HOMES = {
    "colors": ("Pixels", "diverging", "paint_magnitude", "paint_signed", "sequential", "symmetric_limit"),
    "maps": ("class_maps_sheet", "maps_over_epochs", "probe_sheet", "sensitivity_overlay", "shrink"),
    "plots": ("jacobian_figure", "spectrum_over_epochs"),
    "sheet": ("compose_sheet",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
