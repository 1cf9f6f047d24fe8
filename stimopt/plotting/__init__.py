"""Pictures of arrays on the lattice: strips, traces, tuning and films.

No other room imports matplotlib. Everything is drawn on `matplotlib.figure.Figure` objects: pyplot
is never imported, no backend is chosen and no setting is changed, so a script's own plots are not
affected.
"""

from matplotlib.figure import Figure

from stimopt.plotting.animation import animate
from stimopt.plotting.files import figure_image, save_figure
from stimopt.plotting.hexagons import hex_frame
from stimopt.plotting.selection import StripOptions, strip_frames
from stimopt.plotting.strips import StimResponsePlot, plot_stim_response
from stimopt.plotting.tensorboard import FitPictures
from stimopt.plotting.three_optima import plot_optima
from stimopt.plotting.traces import plot_ladder, plot_losses, plot_traces, plot_tradeoff
from stimopt.plotting.tuning import plot_tuning

__all__ = [
    "Figure",
    "FitPictures",
    "StimResponsePlot",
    "StripOptions",
    "animate",
    "figure_image",
    "hex_frame",
    "plot_ladder",
    "plot_losses",
    "plot_optima",
    "plot_stim_response",
    "plot_tradeoff",
    "plot_traces",
    "plot_tuning",
    "save_figure",
    "strip_frames",
]
