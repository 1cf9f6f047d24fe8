"""Why a cell responds: stimulus and sensitivity, currents over time, and where each comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import ArrayLike

from stimopt import expect
from stimopt.lattice import Floats, HexLattice
from stimopt.plotting import style
from stimopt.plotting.hexagons import add_colorbar, frame_size, hex_frames
from stimopt.plotting.selection import FRAMES, RINGS, Row, strip_frames, symmetric_limit
from stimopt.protocol import BEFORE_PEAK

MAIN = 8
"""Sources with a line, a bar and a map of their own; the others are summed."""
_MAP_RINGS = 3
_WIDTH, _LEFT, _RIGHT = 8.2, 0.075, 0.88
_PITCH = 1.05
"""Distance of neighbouring frames, in widths of a frame."""


@dataclass(frozen=True)
class Explanation:
    """What `plot_explanation` draws of one stimulus.

    Attributes:
        stimulus: luminance, `(frames, columns)`.
        sensitivity: gradient of the response at the peak, `(frames, columns)`.
        sources: names of the inputs.
        changes: currents less those before onset, `(frames, sources)`.
        contributions: to the voltage at the peak, `(sources,)`.
        maps: contribution of the cell in each column around the cell, `(sources, columns)`; NaN
            where there is no synapse.
        clip_contributions: under the best clip, `(sources,)`; None if not known.
        lesioned: part of the response left without a source type, `(sources,)`; None if not known.
        peak_frame: last frame drawn.
    """

    stimulus: Floats
    sensitivity: Floats
    sources: Sequence[str]
    changes: Floats
    contributions: Floats
    maps: Floats
    peak_frame: int
    clip_contributions: Floats | None = None
    lesioned: Floats | None = None


def plot_explanation(
    explained: Explanation, lattice: HexLattice, dt: float, *, title: str = ""
) -> Figure:
    """Draw stimulus over sensitivity, then currents by source, their shares, and their places.

    Args:
        explained: of one stimulus.
        lattice: the columns.
        dt: duration of a frame in seconds.
        title: of the figure.

    Returns:
        A figure 8.2 inches wide.

    Raises:
        ValueError: for arrays that do not fit each other or the lattice.
    """
    shape, n_sources = explained.stimulus.shape, len(explained.sources)
    columns, advice = lattice.n_columns, "pass one item of one explanation"
    expect.shape("a stimulus", explained.stimulus, ("frames", columns), advice)
    expect.shape("a sensitivity", explained.sensitivity, shape, advice)
    expect.shape("changes of currents", explained.changes, (shape[0], n_sources), advice)
    expect.shape("maps", explained.maps, (n_sources, columns), advice)
    order = main_sources(explained.contributions)
    heights = (0.35, 1.95, 2.55, 1.4)
    fig = Figure(figsize=(_WIDTH, sum(heights)), dpi=style.DPI)
    head, strip, curves, places = _parts(fig, heights)
    head.text(_LEFT, 0.4, title, fontsize=style.TITLE_SIZE + 2, fontweight="bold", va="center")
    frames = strip_frames(explained.peak_frame, dt, BEFORE_PEAK, FRAMES, explained.stimulus)
    _draw_strip(strip, explained, lattice, frames, dt)
    colors = dict(zip(order, cycle(style.SERIES), strict=False))
    left, right = curves.subfigures(1, 2, width_ratios=(1.25, 1), squeeze=False)[0]
    _draw_currents(left, explained, colors, dt)
    _draw_shares(right, explained, colors)
    _draw_maps(places, explained, lattice, colors)
    return fig


def _parts(fig: Figure, heights: Sequence[float]) -> list[SubFigure]:
    return list(fig.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])


def main_sources(contributions: ArrayLike) -> list[int]:
    """Numbers of the sources with the largest contributions, largest first; none that is zero."""
    size = np.abs(np.asarray(contributions, dtype=np.float64))
    order = np.argsort(-size, kind="stable")[:MAIN]
    return [int(s) for s in order if size[s] > 0]


def _draw_strip(
    part: SubFigure, explained: Explanation, lattice: HexLattice, frames: ArrayLike, dt: float
) -> None:
    """Stimulus above sensitivity in the last frames before the peak."""
    shown = np.asarray(frames)
    gradient = explained.sensitivity[shown]
    limit = symmetric_limit(gradient, lattice, RINGS)
    rows = (
        Row("stimulus", explained.stimulus[shown], 0.0, 1.0, style.STIMULUS_CMAP, "luminance"),
        Row("sensitivity", gradient, -limit, limit, style.RESPONSE_CMAP, "gradient"),
    )
    for row, bottom in zip(rows, (0.6, 0.17), strict=True):
        ax = _draw_row(part, row, lattice, bottom)
    width, height = frame_size(lattice, RINGS)
    for k, frame in enumerate(shown, 1 - len(shown)):
        time = style.milliseconds(1000 * dt * (frame - explained.peak_frame))
        place = k * _PITCH * width, -0.52 * height
        ax.text(*place, time, ha="center", va="top", fontsize=style.TICK_SIZE)
    middle = (_LEFT + _RIGHT) / 2
    text, size = "time to peak (ms)", style.LABEL_SIZE
    part.text(middle, 0.02, text, ha="center", va="bottom", fontsize=size)


def _draw_row(part: SubFigure, row: Row, lattice: HexLattice, bottom: float) -> Axes:
    """Draw frames up to the right end, with name and colour bar; returns their axes."""
    ax = part.add_axes((_LEFT, bottom, _RIGHT - _LEFT, 0.37))
    options = {"max_extent": RINGS, "slots": FRAMES, "pitch": _PITCH, **row.scale}
    drawn = hex_frames(ax, lattice, row.values, **options)
    name = part.text(_LEFT - 0.02, bottom + 0.185, row.name, fontsize=style.LABEL_SIZE)
    name.set(rotation=90, ha="center", va="center")
    add_colorbar(part.add_axes((_RIGHT + 0.02, bottom + 0.025, 0.01, 0.32)), drawn, row.label)
    return ax


def _draw_currents(
    part: SubFigure, explained: Explanation, colors: Mapping[int, str], dt: float
) -> None:
    """Currents by source, relative to onset, up to the peak."""
    ax = part.add_axes((0.13, 0.19, 0.83, 0.67))
    stop = explained.peak_frame + 1
    first = max(0, stop - 1 - round(BEFORE_PEAK / dt))
    time = 1000 * dt * np.arange(first - stop + 1, 1)
    total = explained.changes[first:stop].sum(axis=1)
    ax.axhline(0, color="0.75", lw=0.6)
    (line,) = ax.plot(time, total, color="0.35", lw=2.2, alpha=0.5, label="sum")
    # Above the axes, where no line runs; the others are named by the colours of the bars.
    ax.legend(
        handles=[line],
        loc="lower right",
        bbox_to_anchor=(1, 1),
        borderaxespad=0.2,
        fontsize=style.TICK_SIZE,
        frameon=False,
    )
    for s, color in colors.items():
        first_round = list(colors).index(s) < len(style.SERIES)
        ax.plot(
            time,
            explained.changes[first:stop, s],
            "-" if first_round else "--",
            color=color,
            lw=1.3,
            label=explained.sources[s],
        )
    ax.set_title("input current, change since onset", fontsize=style.TITLE_SIZE, loc="left")
    ax.set_xlabel("time to peak (ms)", fontsize=style.LABEL_SIZE, labelpad=1.5)
    ax.set_ylabel("current (a.u.)", fontsize=style.LABEL_SIZE, labelpad=1.5)
    _finish(ax)


def _draw_shares(part: SubFigure, explained: Explanation, colors: Mapping[int, str]) -> None:
    """Contribution of each source to the peak, and what is left of the response without it."""
    ax = part.add_axes((0.24, 0.19, 0.5, 0.67))
    order, rest = list(colors), [s for s in range(len(explained.sources)) if s not in colors]
    names = [explained.sources[s] for s in order]
    values = [float(explained.contributions[s]) for s in order]
    clips = None
    if explained.clip_contributions is not None and np.isfinite(explained.clip_contributions).all():
        clips = [float(explained.clip_contributions[s]) for s in order]
    if rest:
        names.append(f"{len(rest)} others")
        values.append(float(explained.contributions[rest].sum()))
        if clips is not None and explained.clip_contributions is not None:
            clips.append(float(explained.clip_contributions[rest].sum()))
    y = np.arange(len(names))
    shades = [*colors.values(), *["0.6"] * (len(names) - len(order))]
    ax.barh(y, values, color=shades, height=0.62)
    if clips is not None:
        ax.plot(clips, y, "d", color="black", ms=4, mec="white", mew=0.6, label="best clip")
        ax.legend(fontsize=style.TICK_SIZE, frameon=False, loc="lower right", handletextpad=0.2)
    ax.axvline(0, color="0.4", lw=0.6)
    ax.set_yticks(y, names, fontsize=style.TICK_SIZE)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_title("share in the peak", fontsize=style.TITLE_SIZE, loc="left")
    ax.set_xlabel("voltage since onset (a.u.)", fontsize=style.LABEL_SIZE, labelpad=1.5)
    if explained.lesioned is not None:
        ax.text(1.04, 1.03, "left without", transform=ax.transAxes, fontsize=style.TICK_SIZE)
        for row, s in enumerate(order):
            if np.isfinite(left := explained.lesioned[s]):
                ax.text(
                    1.24,
                    row,
                    style.percent(left),
                    transform=ax.get_yaxis_transform(),
                    va="center",
                    ha="right",
                    fontsize=style.TICK_SIZE,
                )
    _finish(ax)


def _draw_maps(
    part: SubFigure, explained: Explanation, lattice: HexLattice, colors: Mapping[int, str]
) -> None:
    """Where the cells of each source stand around the cell, coloured by their contributions."""
    part.text(_LEFT - 0.03, 0.97, "where they come from", fontsize=style.TITLE_SIZE, va="top")
    if not colors:
        return
    maps = explained.maps[list(colors)]
    limit = symmetric_limit(maps, lattice, _MAP_RINGS)
    all_width = len(colors) / MAIN * (_RIGHT - _LEFT + 0.03)
    ax = part.add_axes((_LEFT - 0.03, 0.0, all_width, 0.72))
    drawn = hex_frames(
        ax,
        lattice,
        maps,
        vmin=-limit,
        vmax=limit,
        cmap=style.RESPONSE_CMAP,
        max_extent=_MAP_RINGS,
        pitch=_PITCH,
    )
    width, height = frame_size(lattice, _MAP_RINGS)
    for k, (s, color) in enumerate(colors.items(), 1 - len(colors)):
        place, size = (k * _PITCH * width, 0.55 * height), style.LABEL_SIZE
        ax.text(*place, explained.sources[s], ha="center", color=color, fontsize=size)
    add_colorbar(part.add_axes((_RIGHT + 0.02, 0.13, 0.01, 0.44)), drawn, "share (a.u.)")


def _finish(ax: Axes) -> None:
    style.open_axes(ax)
    ax.tick_params(length=2.5, pad=1.5)
