"""The three optima of a cell type in one figure: each as a strip, then their central traces."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import ArrayLike

from stimopt import expect
from stimopt.lattice import Floats, HexLattice
from stimopt.plotting import strips, style
from stimopt.plotting.selection import Strip, StripOptions, select_strip
from stimopt.plotting.traces import plot_traces, short_ticks

_WIDTH = 8.2
"""Inches; fits the width of an A4 page (8.27)."""

_HEAD, _TRACES = 0.34, 2.1
_CEILING_COLOR = "0.35"
_TRACE_TOP, _TRACE_BOTTOM = 0.14, 0.46


def plot_optima(
    results: Sequence[tuple[str, ArrayLike, ArrayLike]],
    lattice: HexLattice,
    dt: float,
    cell_type: str,
    *,
    options: StripOptions | None = None,
    shared_scale: bool = False,
    title: str | None = None,
    peak_frames: Sequence[int | None] | None = None,
    details: Sequence[str] | None = None,
    grey_and_ceiling: tuple[float, float] | None = None,
    column: int | None = None,
) -> Figure:
    """Draw several stimuli of one cell type over their responses, and the central traces below.

    Each strip ends with the frame of its peak. The traces share the time axis of the frames above
    and end with the value of the peak. If the ceiling is known, the part of the way from grey to it
    follows in percent.

    Args:
        results: name, stimulus `(frames, columns)` in [0, 1] and response `(frames, columns)` of
            each, in the order drawn; numbers of frames may differ.
        lattice: the columns.
        dt: duration of a frame in seconds.
        cell_type: named in the heading.
        options: stretch of time, number of frames, rings of columns and baseline.
        shared_scale: one colour scale for all responses, instead of one for each.
        title: heading in place of the usual one.
        peak_frames: last frame of each; None finds the peak of the central response.
        details: what is written after the name of each.
        grey_and_ceiling: response at grey, and the largest response to any stimulus.
        column: of the cell whose traces are drawn; None is the central one.

    Returns:
        A figure 8.2 inches wide.

    Raises:
        ValueError: if there is no result, two share a name, or one cannot be drawn.
    """
    names = [name for name, _, _ in results]
    unique = len(names) > 0 and len(set(names)) == len(names)
    expect.that(unique, "results with different names", names, "name each stimulus once")
    selected = [
        select_strip(stimulus, response, lattice, dt, options, column=column, peak_frame=peak)
        for (_, stimulus, response), peak in zip(
            results, peak_frames or [None] * len(results), strict=True
        )
    ]
    if shared_scale:
        limit = max(strip.limit for strip in selected)
        selected = [dataclasses.replace(strip, limit=limit) for strip in selected]
    slots = max(len(strip.frames) for strip in selected)
    fig, parts = _page(selected[0], len(results), slots)
    _draw_heading(parts[0], title or f"What {cell_type} responds to most")
    plots = [
        strips.draw_strip(strip, title=f"{name}{detail}", title_color=color, slots=slots, fig=part)
        for name, detail, color, strip, part in zip(
            names,
            [f", {text}" if text else "" for text in details or [""] * len(names)],
            cycle(style.SERIES),
            selected,
            parts[1:-1],
            strict=False,
        )
    ]
    column = lattice.center if column is None else column
    centrals = {
        name: np.asarray(response, dtype=np.float64)[: strip.peak_frame + 1, column]
        for (name, _, response), strip in zip(results, selected, strict=True)
    }
    longest = max(plots, key=lambda plot: len(plot.strip.frames))
    _draw_traces(parts[-1], centrals, dt, longest.time_axis, grey_and_ceiling)
    return fig


def _page(strip: Strip, n_strips: int, slots: int) -> tuple[Figure, Sequence[SubFigure]]:
    """A figure with a part for the heading, for each strip, and for the traces."""
    # A few frames are not enlarged to fill the width, but stay near the usual size.
    widest = (_WIDTH - strips.LEFT - strips.RIGHT) / slots - strips.GAP
    frame_width = min(widest, 2 * strips.FRAME_WIDTH)
    height = strips.region_height(frame_width, strip.lattice, strip.max_extent)
    heights = [_HEAD, *[height] * n_strips, _TRACES]
    fig = Figure(figsize=(_WIDTH, sum(heights)), dpi=style.DPI)
    parts = fig.subfigures(len(heights), 1, height_ratios=heights, hspace=0, squeeze=False)
    return fig, list(parts[:, 0])


def _draw_heading(part: SubFigure, heading: str) -> None:
    text = part.text(
        strips.LEFT / _WIDTH,
        0.5,
        heading,
        fontsize=style.TITLE_SIZE + 2,
        fontweight="bold",
        ha="left",
        va="center",
    )
    style.fit_width(text, _WIDTH - strips.LEFT - 0.05)


def _draw_traces(
    part: SubFigure,
    centrals: Mapping[str, Floats],
    dt: float,
    time_axis: Axes,
    grey_and_ceiling: tuple[float, float] | None,
) -> None:
    """Draw central responses up to their peaks, on the time axis of the frames above."""
    width, height = style.figure_size(part)
    ax = part.add_axes(
        (
            strips.LEFT / width,
            _TRACE_BOTTOM / height,
            1 - (strips.LEFT + strips.RIGHT) / width,
            1 - (_TRACE_TOP + _TRACE_BOTTOM) / height,
        )
    )
    times, traces = {}, {}
    for name, trace in centrals.items():
        time = 1000 * dt * np.arange(1 - len(trace), 1)
        inside = time >= time_axis.get_xlim()[0]
        times[name], traces[name] = time[inside], trace[inside]
    plot_traces(ax, times, traces, peaks=False, legend=False, linestyles=("-",))
    ax.set_xlabel(time_axis.get_xlabel())
    ax.set_xticks(time_axis.get_xticks(), [t.get_text() for t in time_axis.get_xticklabels()])
    ax.set_xlim(time_axis.get_xlim())
    if grey_and_ceiling is not None:
        ax.axhline(grey_and_ceiling[1], color=_CEILING_COLOR, lw=1, ls=(0, (4, 3)), zorder=1)
    ax.margins(y=0.08)
    ax.yaxis.labelpad = 1.5
    short_ticks(ax)
    ax.axvline(0, color="0.75", lw=0.6, zorder=0)
    ax.grid(axis="y", color="0.9", lw=0.5)
    ax.set_axisbelow(True)
    peaks = {name: float(trace[-1]) for name, trace in traces.items()}
    _name_peaks(ax, peaks, grey_and_ceiling)


def _name_peaks(
    ax: Axes, peaks: Mapping[str, float], grey_and_ceiling: tuple[float, float] | None
) -> None:
    """Write name and response beside the right end of each trace, without overlap."""
    low, high = ax.get_ylim()
    texts = {name: style.number(value) for name, value in peaks.items()}
    colors = dict(zip(peaks, cycle(style.SERIES), strict=False))
    if grey_and_ceiling is not None:
        grey, ceiling = grey_and_ceiling
        texts = {
            name: f"{text} ({style.percent((peaks[name] - grey) / (ceiling - grey))})"
            for name, text in texts.items()
        }
        peaks = {**peaks, "ceiling": ceiling}
        texts["ceiling"], colors["ceiling"] = style.number(ceiling), _CEILING_COLOR
    height = ax.get_window_extent().height / ax.figure.dpi
    line = 1.25 * style.LABEL_SIZE / 72  # inches
    heights = [height * (value - low) / (high - low) for value in peaks.values()]
    for (name, value), y in zip(peaks.items(), spread(heights, 2 * line, height), strict=True):
        color = colors[name]
        if color != _CEILING_COLOR:
            ax.plot(0, value, "o", color=color, ms=4.5, mec="white", mew=0.6, zorder=4)
        for text, dy, weight in ((name, 0.5, "normal"), (texts[name], -0.5, "bold")):
            label = ax.text(
                1.01,
                (y + dy * line) / height,
                text,
                transform=ax.transAxes,
                color=color,
                fontsize=style.LABEL_SIZE,
                fontweight=weight,
                ha="left",
                va="center",
            )
            style.fit_width(label, strips.RIGHT - 0.12)


def spread(centers: Sequence[float], gap: float, height: float) -> list[float]:
    """Move labels so that neighbours are `gap` apart and all stay within 0 and `height`.

    The labels keep their order, and none moves further up than the one below it demands.
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
