"""The whole walk on one page: each optimum as a strip, then their central traces together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from stimopt.lattice import HexLattice
from stimopt.plotting.selection import checked_pair, find_peak, strip_frames, symmetric_limit
from stimopt.plotting.strips import (
    FRAME_WIDTH,
    GAP,
    LEFT,
    RIGHT,
    plot_stim_response,
    region_height,
)
from stimopt.plotting.style import (
    DPI,
    LABEL_SIZE,
    SERIES,
    TITLE_SIZE,
    figure_size,
    fit_width,
    number,
)
from stimopt.plotting.traces import plot_traces

Floats = NDArray[np.float64]

_WIDTH = 8.2
"""Inches; fits the width of an A4 page (8.27)."""

_HEAD, _TRACES = 0.34, 2.1
_TRACE_TOP, _TRACE_BOTTOM = 0.14, 0.46


def walk_figure(
    results: Sequence[tuple[str, ArrayLike, ArrayLike]],
    lattice: HexLattice,
    dt: float,
    cell_type: str,
    *,
    seconds: float = 0.2,
    n_strips: int = 10,
    max_extent: int | None = 6,
    shared_scale: bool = False,
    title: str | None = None,
    peak_frames: Sequence[int | None] | None = None,
) -> Figure:
    """Draw several stimuli of one cell type over their responses, and the central traces below.

    All end with the frame of their own peak. The traces stand on the time axis of the frames above,
    with the responses at the peak written at their ends.

    Args:
        results: name, stimulus `(frames, columns)` in [0, 1] and response `(frames, columns)` of
            each, in the order drawn; numbers of frames may differ.
        lattice: the columns.
        dt: duration of a frame in seconds.
        cell_type: named in the heading.
        seconds: how far back from the peak to go.
        n_strips: the most frames to draw of each.
        max_extent: rings drawn around the centre; None for all.
        shared_scale: one colour scale for all responses, instead of one for each.
        title: heading in place of the usual one.
        peak_frames: frame each ends with; None finds the peak of the central response.

    Returns:
        A figure 8.2 inches wide.

    Raises:
        ValueError: if there is no result, two share a name, or one is not fit to be drawn.
    """
    names = [name for name, _, _ in results]
    if not names or len(set(names)) != len(names):
        raise ValueError(
            f"expected results with names of their own, got {names}; name each stimulus once"
        )
    pairs = [checked_pair(stimulus, response, lattice) for _, stimulus, response in results]
    given = [None] * len(pairs) if peak_frames is None else peak_frames
    peaks = [
        find_peak(response[:, lattice.center], peak)
        for (_, response), peak in zip(pairs, given, strict=True)
    ]
    frames = [strip_frames(peak, dt, seconds, n_strips) for peak in peaks]
    limits = [
        symmetric_limit((response - response[0])[drawn], lattice, max_extent)
        for (_, response), drawn in zip(pairs, frames, strict=True)
    ]
    slots = max(len(drawn) for drawn in frames)
    # Few frames are not blown up: they keep the size at which ten fit, within reason.
    frame_width = min((_WIDTH - LEFT - RIGHT) / slots - GAP, 2 * FRAME_WIDTH)
    heights = [_HEAD, *[region_height(frame_width, lattice, max_extent)] * len(pairs), _TRACES]
    fig = Figure(figsize=(_WIDTH, sum(heights)), dpi=DPI)
    parts = fig.subfigures(len(heights), 1, height_ratios=heights, hspace=0, squeeze=False)[:, 0]
    _draw_heading(parts[0], title or f"What {cell_type} responds to most")
    plots = [
        plot_stim_response(
            stimulus,
            response,
            lattice,
            dt,
            seconds=seconds,
            n_strips=n_strips,
            max_extent=max_extent,
            title=name,
            title_color=color,
            peak_frame=peak,
            limit=max(limits) if shared_scale else limit,
            slots=slots,
            fig=part,
        )
        for name, color, (stimulus, response), peak, limit, part in zip(
            names, cycle(SERIES), pairs, peaks, limits, parts[1:-1], strict=False
        )
    ]
    centrals = {
        name: response[:, lattice.center] for name, (_, response) in zip(names, pairs, strict=True)
    }
    _draw_traces(
        parts[-1], centrals, peaks, dt, max(plots, key=lambda plot: len(plot.frames)).time_axis
    )
    return fig


def _draw_heading(part: SubFigure, heading: str) -> None:
    text = part.text(
        LEFT / _WIDTH,
        0.5,
        heading,
        fontsize=TITLE_SIZE + 2,
        fontweight="bold",
        ha="left",
        va="center",
    )
    fit_width(text, _WIDTH - LEFT - 0.05)


def _draw_traces(
    part: SubFigure,
    centrals: Mapping[str, Floats],
    peaks: Sequence[int],
    dt: float,
    time_axis: Axes,
) -> None:
    """Central responses up to their peaks, on the time axis of the frames above."""
    width, height = figure_size(part)
    ax = part.add_axes(
        (
            LEFT / width,
            _TRACE_BOTTOM / height,
            1 - (LEFT + RIGHT) / width,
            1 - (_TRACE_TOP + _TRACE_BOTTOM) / height,
        )
    )
    times, traces = {}, {}
    for (name, trace), peak in zip(centrals.items(), peaks, strict=True):
        time = 1000 * dt * (np.arange(peak + 1) - peak)
        inside = time >= time_axis.get_xlim()[0]
        times[name], traces[name] = time[inside], trace[: peak + 1][inside]
    plot_traces(ax, times, traces, peaks=False, legend=False, linestyles=("-",))
    ax.set_xlabel(time_axis.get_xlabel())
    ax.set_xticks(time_axis.get_xticks(), [t.get_text() for t in time_axis.get_xticklabels()])
    ax.set_xlim(time_axis.get_xlim())
    ax.margins(y=0.08)
    ax.yaxis.labelpad = 1.5
    _keep_tick_labels_short(ax)
    ax.axvline(0, color="0.75", lw=0.6, zorder=0)
    ax.grid(axis="y", color="0.9", lw=0.5)
    ax.set_axisbelow(True)
    _name_peaks(ax, {name: float(trace[-1]) for name, trace in traces.items()})


def _keep_tick_labels_short(ax: Axes) -> None:
    """At most four characters and a sign, which is what the margin holds."""
    low, high = ax.get_ylim()
    # A range below a twentieth of the values would need further digits to tell ticks apart.
    span = max(high - low, 0.05 * max(abs(low), abs(high)))
    middle = (low + high) / 2
    ax.set_ylim(middle - span / 2, middle + span / 2)
    # Steps of 1, 2 or 5 and not 2.5, which takes a digit more.
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.ticklabel_format(axis="y", style="sci", scilimits=(-1, 3), useOffset=False)


def _name_peaks(ax: Axes, peaks: Mapping[str, float]) -> None:
    """Write name and response beside the right end of each trace, none over another."""
    low, high = ax.get_ylim()
    height = ax.get_window_extent().height / ax.figure.dpi
    line = 1.25 * LABEL_SIZE / 72  # inches
    heights = [height * (value - low) / (high - low) for value in peaks.values()]
    for (name, value), color, y in zip(
        peaks.items(), cycle(SERIES), spread(heights, 2 * line, height), strict=False
    ):
        ax.plot(0, value, "o", color=color, ms=4.5, mec="white", mew=0.6, zorder=4)
        for text, dy, weight in ((name, 0.5, "normal"), (number(value), -0.5, "bold")):
            label = ax.text(
                1.01,
                (y + dy * line) / height,
                text,
                transform=ax.transAxes,
                color=color,
                fontsize=LABEL_SIZE,
                fontweight=weight,
                ha="left",
                va="center",
            )
            fit_width(label, RIGHT - 0.12)


def spread(centers: Sequence[float], gap: float, height: float) -> list[float]:
    """Move labels so that neighbours are `gap` apart and all stay within 0 and `height`.

    Their order is kept, and each moves no further up than the one below it demands.
    """
    placed = np.asarray(centers, dtype=np.float64)
    order = np.argsort(placed, kind="stable")
    lowest = gap / 2
    for i in order:
        placed[i] = lowest = max(placed[i], lowest)
        lowest += gap
    highest = height - gap / 2
    for i in order[::-1]:
        placed[i] = highest = min(placed[i], highest)
        highest -= gap
    return [float(y) for y in placed]
