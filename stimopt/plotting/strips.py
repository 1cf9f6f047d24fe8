"""Stimulus above response as strips of hexagonal frames, up to the peak of the response."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure, SubFigure
from numpy.typing import ArrayLike, NDArray

from stimopt.lattice import HexLattice
from stimopt.plotting.hexagons import add_colorbar, frame_size, hex_frame
from stimopt.plotting.selection import (
    baseline_values,
    checked_pair,
    find_peak,
    response_label,
    strip_frames,
    symmetric_limit,
)
from stimopt.plotting.style import (
    DPI,
    LABEL_SIZE,
    LUMINANCE_LABEL,
    RESPONSE_CMAP,
    STIMULUS_CMAP,
    TICK_SIZE,
    TITLE_SIZE,
    figure_size,
    fit_width,
    milliseconds,
    number,
)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Inches: room for the row names, the colour bars, the title and the time axis at the font sizes
# of `style`, and the size of a frame where the figure is not given.
LEFT, RIGHT, TOP, BOTTOM = 0.58, 0.92, 0.32, 0.43
FRAME_WIDTH = 0.62
GAP = 0.045
_MIN_FRAME_WIDTH = 0.15
_MIN_FIGURE_WIDTH = 3.2


@dataclass(frozen=True)
class StimResponsePlot:
    """What `plot_stim_response` drew.

    Attributes:
        fig: the figure, or the part of it that was given.
        axes: `(2, strips)` axes of the frames, stimulus above response.
        artists: `(2, strips)` hexagons.
        time_axis: the axis under the strips, in ms to the peak.
        colorbar_axes: axes of the two colour bars.
        frames: `(strips,)` frames drawn; the last is the peak's.
        times: `(strips,)` their times in seconds from stimulus onset.
        peak_frame: frame at which the central response is largest.
        peak_response: central response there, as given (no baseline taken off).
        limit: the response's colours reach from -limit to limit.
    """

    fig: Figure | SubFigure
    axes: NDArray[np.object_]
    artists: NDArray[np.object_]
    time_axis: Axes
    colorbar_axes: tuple[Axes, Axes]
    frames: Ints
    times: Floats
    peak_frame: int
    peak_response: float
    limit: float


def plot_stim_response(
    stimulus: ArrayLike,
    response: ArrayLike,
    lattice: HexLattice,
    dt: float,
    *,
    seconds: float = 0.2,
    n_strips: int = 10,
    max_extent: int | None = 6,
    baseline: bool | ArrayLike = True,
    title: str = "",
    title_color: str = "black",
    column: int | None = None,
    peak_frame: int | None = None,
    limit: float | None = None,
    slots: int | None = None,
    fig: Figure | SubFigure | None = None,
) -> StimResponsePlot:
    """Draw the last stretch of stimulus and response before the peak, the peak's frame last.

    Luminance is drawn from 0 to 1 in grey, the response in colours symmetric about zero. Where the
    peak comes earlier than `seconds`, fewer frames are drawn.

    Args:
        stimulus: luminance in [0, 1], `(frames, columns)`.
        response: one cell type's voltage, `(frames, columns)`; NaN where it has no cell.
        lattice: the columns.
        dt: duration of a frame in seconds.
        seconds: how far back from the peak to go.
        n_strips: the most frames to draw, evenly spaced in time.
        max_extent: rings drawn around the centre; None for all.
        baseline: what is taken off the response before it is drawn: True for its first frame,
            False for nothing, or the values themselves, `(columns,)` or one number.
        title: printed before the peak's value and time.
        title_color: colour of that line.
        column: whose response has the peak; None is the central one.
        peak_frame: the frame to end with; None finds the peak of that response.
        limit: end of the response's colour scale; None takes the largest magnitude drawn.
        slots: room for as many frames, the drawn ones at its right, so that several plots line up;
            None for just the frames drawn.
        fig: figure or part of a figure to fill; None makes one.

    Returns:
        The figure, its axes and artists, and the peak.

    Raises:
        ValueError: for arrays that do not fit each other or the lattice, a stimulus that is not
            finite, a central response without any number, or a figure too small to draw in.
    """
    stimulus, response = checked_pair(stimulus, response, lattice)
    central = response[:, lattice.center if column is None else column]
    peak = find_peak(central, peak_frame)
    frames = strip_frames(peak, dt, seconds, n_strips)
    shown = (response - baseline_values(response, baseline, lattice))[frames]
    if limit is None:
        limit = symmetric_limit(shown, lattice, max_extent)
    slots = len(frames) if slots is None else max(slots, len(frames))

    fig = _new_figure(lattice, max_extent, slots) if fig is None else fig
    layout = _Layout.fill(fig, lattice, max_extent, slots)
    spacing = 1000.0 * dt * (frames[1] - frames[0] if len(frames) > 1 else 1)
    time_axis = _draw_time_axis(fig, layout, spacing, len(frames))
    axes = np.empty((2, len(frames)), dtype=object)
    artists = np.empty_like(axes)
    bars = []
    for row, (values, low, cmap, name, label) in enumerate(
        (
            (stimulus[frames], 0.0, STIMULUS_CMAP, "stimulus", LUMINANCE_LABEL),
            (shown, -limit, RESPONSE_CMAP, "response", response_label(baseline)),
        )
    ):
        high = 1.0 if row == 0 else limit
        for i, frame in enumerate(values):
            slot = slots - len(frames) + i
            axes[row, i] = fig.add_axes(layout.frame(row, slot))
            artists[row, i] = hex_frame(
                axes[row, i],
                lattice,
                frame,
                vmin=low,
                vmax=high,
                cmap=cmap,
                max_extent=max_extent,
                crosshair=True,
            )
        _name_row(fig, layout, row, name)
        bars.append(_draw_colorbar(fig, layout, row, artists[row, -1], label))
    peak_response = float(central[peak])
    _draw_title(fig, layout, title, title_color, peak_response, peak * dt)
    return StimResponsePlot(
        fig=fig,
        axes=axes,
        artists=artists,
        time_axis=time_axis,
        colorbar_axes=(bars[0], bars[1]),
        frames=frames,
        times=np.asarray(frames * dt, dtype=np.float64),
        peak_frame=peak,
        peak_response=peak_response,
        limit=limit,
    )


def region_height(frame_width: float, lattice: HexLattice, max_extent: int | None) -> float:
    """Inches of height that two rows of frames `frame_width` inches wide take in all."""
    x, y = frame_size(lattice, max_extent)
    return TOP + BOTTOM + GAP + 2 * frame_width * y / x


@dataclass(frozen=True)
class _Layout:
    """Where things stand, in inches from the lower left corner of a `width` x `height` region."""

    width: float
    height: float
    slots: int
    slot_width: float
    frame_width: float
    frame_height: float

    @classmethod
    def fill(
        cls, fig: Figure | SubFigure, lattice: HexLattice, max_extent: int | None, slots: int
    ) -> _Layout:
        width, height = figure_size(fig)
        x, y = frame_size(lattice, max_extent)
        slot_width = (width - LEFT - RIGHT) / slots
        frame_width = min(slot_width - GAP, ((height - TOP - BOTTOM - GAP) / 2) * x / y)
        if frame_width < _MIN_FRAME_WIDTH:
            raise ValueError(
                f"expected room for {slots} frames of at least {_MIN_FRAME_WIDTH} inches, got a "
                f"figure of {width:.2f} x {height:.2f} inches; enlarge it or draw fewer frames"
            )
        return cls(width, height, slots, slot_width, frame_width, frame_width * y / x)

    def rectangle(
        self, left: float, bottom: float, width: float, height: float
    ) -> tuple[float, float, float, float]:
        """Inches into fractions of the region, as axes want them."""
        return (
            left / self.width,
            bottom / self.height,
            width / self.width,
            height / self.height,
        )

    @property
    def top(self) -> float:
        return BOTTOM + 2 * self.frame_height + GAP

    def row_bottom(self, row: int) -> float:
        return BOTTOM + (1 - row) * (self.frame_height + GAP)

    def frame(self, row: int, slot: int) -> tuple[float, float, float, float]:
        left = LEFT + slot * self.slot_width + (self.slot_width - self.frame_width) / 2
        return self.rectangle(left, self.row_bottom(row), self.frame_width, self.frame_height)


def _new_figure(lattice: HexLattice, max_extent: int | None, slots: int) -> Figure:
    width = max(_MIN_FIGURE_WIDTH, LEFT + RIGHT + slots * (FRAME_WIDTH + GAP))
    return Figure(figsize=(width, region_height(FRAME_WIDTH, lattice, max_extent)), dpi=DPI)


def _draw_time_axis(
    fig: Figure | SubFigure, layout: _Layout, spacing: float, n_frames: int
) -> Axes:
    """An axis whose ticks stand under the frames; one slot is `spacing` ms wide."""
    strip_width = layout.slots * layout.slot_width
    ax = fig.add_axes(layout.rectangle(LEFT, BOTTOM - 0.04, strip_width, 0.01))
    ax.set_xlim((0.5 - layout.slots) * spacing, 0.5 * spacing)
    ticks = spacing * np.arange(1 - n_frames, 1)
    ax.set_xticks(ticks, [milliseconds(t) for t in ticks])
    ax.set_yticks([])
    ax.patch.set_alpha(0)
    for side in ("left", "right", "top"):
        ax.spines[side].set_visible(False)
    # The line reaches from the first frame to the last, not over slots without one.
    ax.spines["bottom"].set_bounds(ticks[0], ticks[-1])
    ax.spines["bottom"].set_linewidth(0.6)
    ax.tick_params(axis="x", labelsize=TICK_SIZE, length=2.5, width=0.6, pad=1.5)
    ax.set_xlabel("time to peak (ms)", fontsize=LABEL_SIZE, labelpad=1.5)
    return ax


def _name_row(fig: Figure | SubFigure, layout: _Layout, row: int, name: str) -> None:
    fig.text(
        (LEFT - 0.13) / layout.width,
        (layout.row_bottom(row) + layout.frame_height / 2) / layout.height,
        name,
        fontsize=LABEL_SIZE,
        rotation=90,
        ha="center",
        va="center",
    )


def _draw_colorbar(
    fig: Figure | SubFigure, layout: _Layout, row: int, artist: PolyCollection, label: str
) -> Axes:
    right = LEFT + layout.slots * layout.slot_width
    height = 0.76 * layout.frame_height
    bottom = layout.row_bottom(row) + 0.12 * layout.frame_height
    ax = fig.add_axes(layout.rectangle(right + 0.1, bottom, 0.07, height))
    add_colorbar(ax, artist, label)
    return ax


def _draw_title(
    fig: Figure | SubFigure,
    layout: _Layout,
    title: str,
    color: str,
    peak_response: float,
    peak_time: float,
) -> None:
    peak = f"peak {number(peak_response)} at {milliseconds(1000 * peak_time)} ms"
    text = fig.text(
        LEFT / layout.width,
        (layout.top + 0.08) / layout.height,
        f"{title}: {peak}" if title else peak,
        fontsize=TITLE_SIZE,
        color=color,
        ha="left",
        va="bottom",
    )
    fit_width(text, layout.width - LEFT - 0.05)
