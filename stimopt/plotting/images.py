"""Pictures as arrays, for TensorBoard and galleries."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from stimopt.lattice import HexLattice
from stimopt.plotting.strips import plot_stim_response
from stimopt.plotting.traces import plot_traces
from stimopt.protocol import Protocol

Pixels = NDArray[np.uint8]

_DPI = 100
"""Enough for a page in a browser, and half the time of a figure for print."""


def stimulus_strip_image(
    stimulus: ArrayLike,
    response: ArrayLike,
    lattice: HexLattice,
    dt: float,
    *,
    title: str = "",
    n_strips: int = 10,
    max_extent: int | None = 6,
) -> Pixels:
    """The picture of `plot_stim_response` as pixels `(height, width, 3)`, red, green, blue.

    Args:
        stimulus: luminance in [0, 1], `(frames, columns)`.
        response: one cell type's voltage, `(frames, columns)`; NaN where it has no cell.
        lattice: the columns.
        dt: duration of a frame in seconds.
        title: printed before the peak's value and time.
        n_strips: the most frames to draw.
        max_extent: rings drawn around the centre; None for all.

    Raises:
        ValueError: as `plot_stim_response`.
    """
    plot = plot_stim_response(
        stimulus,
        response,
        lattice,
        dt,
        title=title,
        n_strips=n_strips,
        max_extent=max_extent,
    )
    figure = plot.axes[0, 0].get_figure(root=True)
    return figure_image(figure, dpi=_DPI)


def trace_image(
    traces: ArrayLike | Mapping[str, ArrayLike],
    dt: float,
    *,
    width: float = 4.5,
    height: float = 2.6,
) -> Pixels:
    """Central traces over time as pixels `(height, width, 3)`.

    Args:
        traces: central responses, `(frames,)`, or several by name.
        dt: duration of a frame in seconds.
        width: of the picture in inches at 100 dots per inch.
        height: likewise.

    Raises:
        ValueError: as `plot_traces`.
    """
    named = traces if isinstance(traces, Mapping) else {"response": traces}
    # Checks dt; times are frames times dt from onset.
    ms = 1000 * Protocol(dt=dt).dt
    fig = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    times = {name: ms * np.arange(len(np.asarray(trace))) for name, trace in named.items()}
    plot_traces(fig.add_subplot(), times, named)
    return figure_image(fig, dpi=_DPI)


def figure_image(fig: Figure, *, dpi: float | None = None) -> Pixels:
    """A figure as pixels `(height, width, 3)`, red, green, blue, 0 to 255.

    Args:
        fig: the figure.
        dpi: dots per inch; None keeps the figure's own. The figure is left at it.
    """
    if dpi is not None:
        fig.set_dpi(dpi)
    canvas = FigureCanvasAgg(fig)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels: Pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]
    return pixels
