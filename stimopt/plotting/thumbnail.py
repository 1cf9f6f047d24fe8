"""A stimulus as a few small frames side by side."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from stimopt.lattice import HexLattice
from stimopt.plotting import style
from stimopt.plotting.hexagons import hex_frame
from stimopt.plotting.selection import strip_frames

_FRAMES = 4
_INCHES = 0.6
_PAPER = "#d5e3f2"
"""Light blue, so that white, grey and black columns all stand out."""


def plot_thumbnail(stimulus: ArrayLike, peak_frame: int, lattice: HexLattice, dt: float) -> Figure:
    """Draw a stimulus in the last 200 ms before a peak, 50 ms from frame to frame.

    Args:
        stimulus: luminance in [0, 1], `(frames, columns)`.
        peak_frame: the last frame drawn.
        lattice: the columns.
        dt: duration of a frame in seconds.
    """
    luminance = np.asarray(stimulus, dtype=np.float64)
    frames = strip_frames(peak_frame, dt, 0.2, _FRAMES)
    fig = Figure(figsize=(_FRAMES * _INCHES, 1.06 * _INCHES), facecolor=_PAPER)
    first = _FRAMES - len(frames)  # an early peak leaves the left empty
    for i, frame in enumerate(frames):
        ax = fig.add_axes(((first + i) / _FRAMES, 0, 1 / _FRAMES, 1))
        hex_frame(ax, lattice, luminance[frame], vmin=0.0, vmax=1.0, cmap=style.STIMULUS_CMAP)
    return fig
