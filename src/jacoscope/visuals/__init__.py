"""RENDER: heatmaps and plots of Jacobians; tensors in, pictures out."""

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
