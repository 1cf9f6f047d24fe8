"""Pictures: strips on the lattice, traces, tuning and animations. The only importer of matplotlib.

Everything is drawn on `matplotlib.figure.Figure` objects: pyplot is never imported, no backend is
chosen and no setting is changed, so a script's own plotting is left as it was.
"""

from stimopt.plotting.animation import animate
from stimopt.plotting.files import figure_image, save_figure
from stimopt.plotting.hexagons import hex_frame
from stimopt.plotting.selection import strip_frames
from stimopt.plotting.strips import StimResponsePlot, plot_stim_response
from stimopt.plotting.tensorboard import stimulus_strip_image, trace_image
from stimopt.plotting.three_optima import walk_figure
from stimopt.plotting.traces import plot_losses, plot_traces, plot_tradeoff
from stimopt.plotting.tuning import plot_tuning

__all__ = [
    "StimResponsePlot",
    "animate",
    "figure_image",
    "hex_frame",
    "plot_losses",
    "plot_stim_response",
    "plot_tradeoff",
    "plot_traces",
    "plot_tuning",
    "save_figure",
    "stimulus_strip_image",
    "strip_frames",
    "trace_image",
    "walk_figure",
]
