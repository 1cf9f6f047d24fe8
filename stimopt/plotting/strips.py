"""Stimulus above response as strips of hexagonal frames, up to the peak of the response."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure, SubFigure
from matplotlib.text import Text
from numpy.typing import ArrayLike

from stimopt import expect
from stimopt.lattice import HexLattice
from stimopt.plotting import style
from stimopt.plotting.hexagons import (
    add_colorbar,
    drawn_columns,
    frame_size,
    hex_frames,
    label_colorbar,
)
from stimopt.plotting.selection import Strip, StripOptions, select_strip

# Inches: room for the row names, the colour bars, the title and the time axis at the font sizes
# of `style`, and the size of a frame in a new figure.
LEFT, RIGHT, TOP, BOTTOM = 0.58, 0.92, 0.32, 0.43
FRAME_WIDTH = 0.62
GAP = 0.045
_MIN_FRAME_WIDTH = 0.15
_MIN_FIGURE_WIDTH = 3.2


@dataclass
class StimResponsePlot:
    """The artists of one strip of stimulus above response.

    Attributes:
        fig: the figure, or the part of a figure, that was drawn on.
        artists: hexagons of stimulus and of response, frame after frame.
        time_axis: the axis under the strips, in ms to the peak.
        colorbars: of stimulus and response.
        title: the line above the frames.
        strip: what is drawn: frames, peak and colour limit.
    """

    fig: Figure | SubFigure
    artists: tuple[PolyCollection, PolyCollection]
    time_axis: Axes
    colorbars: tuple[Colorbar, Colorbar]
    title: Text
    strip: Strip

    def show(self, strip: Strip, title: str = "") -> None:
        """Show another strip in the same axes, which is much faster than a new figure.

        Args:
            strip: as many frames, of the same columns, with cells in the same columns.
            title: printed before the peak's value and time.
        """
        columns = drawn_columns(strip.lattice, strip.max_extent)
        for row, hexagons, bar in zip(strip.rows, self.artists, self.colorbars, strict=True):
            hexagons.set_array(np.ma.masked_invalid(row.values[:, columns]).ravel())
            hexagons.set_clim(row.low, row.high)
            label_colorbar(bar)
        _write_title(self.title, title, strip)
        self.strip = strip


def plot_stim_response(
    stimulus: ArrayLike,
    response: ArrayLike,
    lattice: HexLattice,
    dt: float,
    *,
    options: StripOptions | None = None,
    title: str = "",
    column: int | None = None,
    peak_frame: int | None = None,
    limit: float | None = None,
    fig: Figure | SubFigure | None = None,
) -> StimResponsePlot:
    """Draw the last frames of stimulus and response before the peak; the last is the peak's.

    Luminance is drawn from 0 to 1 in grey, the response in colours symmetric about zero. Where the
    peak comes earlier than `options.seconds`, fewer frames are drawn.

    Example:
        >>> lattice = HexLattice(8)
        >>> stimulus, response = np.random.default_rng(0).random((2, 40, lattice.n_columns))
        >>> plot = plot_stim_response(stimulus, response, lattice, dt=0.01, title="noise")
        >>> plot.strip.peak_frame == int(response[:, lattice.center].argmax())
        True

    Args:
        stimulus: luminance in [0, 1], `(frames, columns)`.
        response: one cell type's voltage, `(frames, columns)`; NaN where it has no cell.
        lattice: the columns.
        dt: duration of a frame in seconds.
        options: stretch of time, number of frames, rings of columns and baseline.
        title: printed before the peak's value and time.
        column: column whose response has the peak; None is the central one.
        peak_frame: last frame to draw; None finds the peak of that response.
        limit: end of the response's colour scale; None takes the largest magnitude drawn.
        fig: figure or part of a figure to fill; None makes one.

    Returns:
        The figure, its axes and artists, and the frames drawn.

    Raises:
        ValueError: for arrays that do not fit each other or the lattice, a stimulus that is not
            finite, a central response without any number, or a figure too small to draw in.
    """
    strip = select_strip(
        stimulus, response, lattice, dt, options, column=column, peak_frame=peak_frame
    )
    strip = strip if limit is None else dataclasses.replace(strip, limit=limit)
    return draw_strip(strip, title=title, fig=fig)


def draw_strip(
    strip: Strip,
    *,
    title: str = "",
    title_color: str = "black",
    slots: int | None = None,
    margins: tuple[float, float] = (LEFT, RIGHT),
    fig: Figure | SubFigure | None = None,
) -> StimResponsePlot:
    """Draw selected frames.

    Args:
        strip: the frames.
        title: printed before the peak's value and time.
        title_color: colour of that line.
        slots: number of frames that there is room for; those drawn stand at the right, so that
            several plots line up. None leaves room for the frames drawn.
        margins: inches left of the frames, for the names of the rows, and right of them, for the
            colour bars.
        fig: figure or part of a figure to fill; None makes one.
    """
    n_frames = len(strip.frames)
    slots = n_frames if slots is None else max(slots, n_frames)
    fig = _new_figure(strip, slots) if fig is None else fig
    layout = _Layout.fill(fig, strip, slots, margins)
    time_axis = _draw_time_axis(fig, layout, 1000 * strip.spacing, n_frames)
    rows, bars = [], []
    for i, row in enumerate(strip.rows):
        pitch = layout.slot_width / layout.frame_width
        options = {"max_extent": strip.max_extent, "slots": slots, "pitch": pitch, **row.scale}
        ax = fig.add_axes(layout.frames(i))
        rows.append(hex_frames(ax, strip.lattice, row.values, **options))
        _name_row(fig, layout, i, row.name)
        bars.append(add_colorbar(fig.add_axes(layout.colorbar(i)), rows[i], row.label))
    return StimResponsePlot(
        fig=fig,
        artists=(rows[0], rows[1]),
        time_axis=time_axis,
        colorbars=(bars[0], bars[1]),
        title=_draw_title(fig, layout, title, title_color, strip),
        strip=strip,
    )


def region_height(frame_width: float, lattice: HexLattice, max_extent: int | None) -> float:
    """Height of two rows of frames `frame_width` inches wide and what surrounds them, in inches."""
    x, y = frame_size(lattice, max_extent)
    return TOP + BOTTOM + GAP + 2 * frame_width * y / x


@dataclass(frozen=True)
class _Layout:
    """Positions in inches from the lower left corner of a `width` x `height` region."""

    width: float
    height: float
    left: float
    slots: int
    slot_width: float
    frame_width: float
    frame_height: float

    @classmethod
    def fill(
        cls, fig: Figure | SubFigure, strip: Strip, slots: int, margins: tuple[float, float]
    ) -> _Layout:
        width, height = style.figure_size(fig)
        x, y = frame_size(strip.lattice, strip.max_extent)
        slot_width = (width - sum(margins)) / slots
        frame_width = min(slot_width - GAP, ((height - TOP - BOTTOM - GAP) / 2) * x / y)
        expect.that(
            frame_width >= _MIN_FRAME_WIDTH,
            f"room for {slots} frames of at least {_MIN_FRAME_WIDTH} inches",
            f"a figure of {width:.2f} x {height:.2f} inches",
            "enlarge it or draw fewer frames",
        )
        frame_height = frame_width * y / x
        return cls(width, height, margins[0], slots, slot_width, frame_width, frame_height)

    def rectangle(
        self, left: float, bottom: float, width: float, height: float
    ) -> tuple[float, float, float, float]:
        """Convert inches into the fractions of the region that axes take."""
        return (
            left / self.width,
            bottom / self.height,
            width / self.width,
            height / self.height,
        )

    @property
    def top(self) -> float:
        return BOTTOM + 2 * self.frame_height + GAP

    @property
    def right(self) -> float:
        return self.left + self.slots * self.slot_width

    def row_bottom(self, row: int) -> float:
        return BOTTOM + (1 - row) * (self.frame_height + GAP)

    def frames(self, row: int) -> tuple[float, float, float, float]:
        width = self.slots * self.slot_width
        return self.rectangle(self.left, self.row_bottom(row), width, self.frame_height)

    def colorbar(self, row: int) -> tuple[float, float, float, float]:
        height = 0.76 * self.frame_height
        bottom = self.row_bottom(row) + 0.12 * self.frame_height
        return self.rectangle(self.right + 0.1, bottom, 0.07, height)


def _new_figure(strip: Strip, slots: int) -> Figure:
    width = max(_MIN_FIGURE_WIDTH, LEFT + RIGHT + slots * (FRAME_WIDTH + GAP))
    height = region_height(FRAME_WIDTH, strip.lattice, strip.max_extent)
    return Figure(figsize=(width, height), dpi=style.DPI)


def _draw_time_axis(
    fig: Figure | SubFigure, layout: _Layout, spacing: float, n_frames: int
) -> Axes:
    """Draw an axis whose ticks stand under the frames; one slot is `spacing` ms wide."""
    strip_width = layout.slots * layout.slot_width
    ax = fig.add_axes(layout.rectangle(layout.left, BOTTOM - 0.04, strip_width, 0.01))
    ax.set_xlim((0.5 - layout.slots) * spacing, 0.5 * spacing)
    ticks = spacing * np.arange(1 - n_frames, 1)
    ax.set_xticks(ticks, [style.milliseconds(t) for t in ticks])
    ax.set_yticks([])
    ax.patch.set_alpha(0)
    for side in ("left", "right", "top"):
        ax.spines[side].set_visible(False)
    # The line reaches from the first frame to the last and not over empty slots.
    ax.spines["bottom"].set_bounds(ticks[0], ticks[-1])
    ax.spines["bottom"].set_linewidth(0.6)
    ax.tick_params(axis="x", labelsize=style.TICK_SIZE, length=2.5, width=0.6, pad=1.5)
    ax.set_xlabel("time to peak (ms)", fontsize=style.LABEL_SIZE, labelpad=1.5)
    return ax


def _name_row(fig: Figure | SubFigure, layout: _Layout, row: int, name: str) -> None:
    fig.text(
        (layout.left - 0.13) / layout.width,
        (layout.row_bottom(row) + layout.frame_height / 2) / layout.height,
        name,
        fontsize=style.LABEL_SIZE,
        rotation=90,
        ha="center",
        va="center",
    )


def _draw_title(
    fig: Figure | SubFigure, layout: _Layout, title: str, color: str, strip: Strip
) -> Text:
    x, y = layout.left / layout.width, (layout.top + 0.08) / layout.height
    text = fig.text(x, y, "", color=color, ha="left", va="bottom")
    _write_title(text, title, strip)
    return text


def _write_title(text: Text, title: str, strip: Strip) -> None:
    text.set_text(f"{title}: {strip.peak_text}" if title else strip.peak_text)
    text.set_fontsize(style.TITLE_SIZE)
    assert text.figure is not None
    width, _ = style.figure_size(text.figure)
    style.fit_width(text, width * (1 - text.get_position()[0]) - 0.05)
