"""Pictures of a running fit as arrays, in the size in which TensorBoard shows them.

They are drawn by the functions that draw the figures. A new figure takes several times as long as
drawing one again, so figures are created once and their artists updated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from numpy.typing import ArrayLike

from stimopt.lattice import HexLattice
from stimopt.plotting import style
from stimopt.plotting.files import Pixels, figure_image
from stimopt.plotting.selection import StripOptions, select_strip
from stimopt.plotting.strips import (
    BOTTOM,
    GAP,
    StimResponsePlot,
    draw_strip,
    region_height,
)
from stimopt.plotting.traces import plot_traces, short_ticks

# A card of TensorBoard is 350 pixels wide, and the browser scales by repeating or leaving out whole
# lines of pixels. So a picture is drawn in that size, in few inches, which makes its text large,
# and with strokes of more than a pixel: else a scaled minus sign can vanish.
_WIDTH, _DPI = 3.0, 350 / 3.0
_STROKE = 0.4  # points
_MARGINS = 0.24, 0.84
# Short, since the row is named already.
_RESPONSE_LABEL = style.RESPONSE_LABEL.replace("response ", "\N{INCREMENT} ")
_STRIPS = StripOptions(n_strips=4)


class FitPictures:
    """Strip and trace of a fit, drawn again and again.

    Example:
        >>> lattice = HexLattice(8)
        >>> stimulus, response = np.random.default_rng(0).random((2, 40, lattice.n_columns))
        >>> FitPictures(lattice, dt=0.01).strip(stimulus, response).shape[1:]
        (350, 3)

    Args:
        lattice: the columns.
        dt: duration of a frame in seconds.
        options: stretch of time, number of frames, rings of columns and baseline.
    """

    def __init__(self, lattice: HexLattice, dt: float, options: StripOptions = _STRIPS) -> None:
        self.lattice, self.dt, self.options = lattice, dt, options
        self._plots: dict[tuple[int, bytes], tuple[Figure, StimResponsePlot]] = {}
        self._traces = Figure(figsize=(_WIDTH, 2.0), dpi=_DPI).add_subplot()

    def strip(
        self,
        stimulus: ArrayLike,
        response: ArrayLike,
        *,
        title: str = "",
        column: int | None = None,
        peak_frame: int | None = None,
    ) -> Pixels:
        """Stimulus above response in the last frames before the peak, `(height, width, 3)`.

        Arguments and errors are those of `plot_stim_response`.
        """
        strip = select_strip(
            stimulus,
            response,
            self.lattice,
            self.dt,
            self.options,
            column=column,
            peak_frame=peak_frame,
        )
        # An early peak leaves fewer frames, and another cell type has cells in other columns.
        key = len(strip.frames), np.isfinite(strip.response).all(axis=0).tobytes()
        if key not in self._plots:
            strip = dataclasses.replace(strip, response_label=_RESPONSE_LABEL)
            slots = self.options.n_strips
            frame_width = (_WIDTH - sum(_MARGINS)) / slots - GAP
            height = region_height(frame_width, self.lattice, self.options.max_extent)
            fig = Figure(figsize=(_WIDTH, height), dpi=_DPI)
            self._plots[key] = fig, draw_strip(strip, slots=slots, margins=_MARGINS, fig=fig)
        fig, plot = self._plots[key]
        plot.show(strip, title)
        return _image(fig)

    def trace(self, traces: Mapping[str, ArrayLike], *, peaks: Mapping[str, int]) -> Pixels:
        """Central traces over time with their peaks marked, `(height, width, 3)`.

        Args:
            traces: central responses by name, `(frames,)`; NaN leaves a gap.
            peaks: frame to mark in each.

        Raises:
            ValueError: if there is no trace.
        """
        ax = self._traces
        for line in [*ax.lines]:
            line.remove()
        ax.relim()
        ax.autoscale()
        fig = ax.figure
        assert isinstance(fig, Figure)
        width, height = fig.get_size_inches()
        left, right, top = 0.62, 0.1, 0.06 + 0.16 * len(traces)  # inches; above is the legend
        inside = 1 - (left + right) / width, 1 - (BOTTOM + top) / height
        ax.set_position((left / width, BOTTOM / height, *inside))
        times = {name: 1000 * self.dt * np.arange(len(np.asarray(t))) for name, t in traces.items()}
        plot_traces(ax, times, traces, peaks=peaks)
        ax.set_ylabel(style.RESPONSE_LABEL)
        # The legend takes the width of the picture, which labels of several networks need.
        legend = ax.get_legend()
        assert legend is not None
        legend.set_loc("upper left")
        legend.set_bbox_to_anchor((0.0, 1.0), transform=fig.transFigure)
        for text in legend.get_texts():
            style.fit_width(text, width - 0.35)
        short_ticks(ax)
        return _image(fig)


def _image(fig: Figure) -> Pixels:
    """The pixels of a figure, with its text in thicker strokes."""
    for text in fig.findobj(Text):
        assert isinstance(text, Text)
        text.set_path_effects([withStroke(linewidth=_STROKE, foreground=text.get_color())])
    return figure_image(fig)
