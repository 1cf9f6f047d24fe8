"""Curves: responses over time, losses over steps, and greyness over tolerance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import LineStyleType
from numpy.typing import ArrayLike

from stimopt import expect
from stimopt.lattice import Floats
from stimopt.plotting import style


def plot_traces(
    ax: Axes,
    time_ms: ArrayLike | Mapping[str, ArrayLike],
    traces: Mapping[str, ArrayLike],
    *,
    peaks: bool | Mapping[str, int] = True,
    legend: bool = True,
    colors: Sequence[str] = style.SERIES,
    linestyles: Sequence[LineStyleType] = ("-", (0, (4, 1.5))),
    xlabel: str = "time (ms)",
) -> dict[str, Line2D]:
    """Draw central responses over each other.

    Example:
        >>> figure = Figure(figsize=(6, 3), layout="constrained")
        >>> lines = plot_traces(figure.add_subplot(), [0, 10, 20], {"T4c": [0.0, 1.2, 0.4]})

    Args:
        ax: axes to draw on.
        time_ms: times in ms, `(frames,)`, for all traces; or by name, for each its own.
        traces: central responses by name, `(frames,)`; NaN leaves a gap.
        peaks: mark a frame of each trace, and write its value and time in the legend: True for
            the largest value, or the frames by name.
        legend: name the traces.
        colors: taken in turn.
        linestyles: taken in turn. Every second line is dashed by default, because a prediction
            that meets its target would hide it.
        xlabel: label of the time axis.

    Returns:
        The lines by name.

    Raises:
        ValueError: if a trace does not fit its times, or there is none.
    """
    expect.that(traces, "at least one trace", "none", "pass {name: trace}")
    lines = {}
    for i, (name, values) in enumerate(traces.items()):
        time, trace = _checked_trace(name, time_ms, values)
        color = colors[i % len(colors)]
        label = name
        if peaks and not np.isnan(trace).all():
            top = peaks[name] if isinstance(peaks, Mapping) else int(np.nanargmax(trace))
            value, at = style.number(trace[top]), style.milliseconds(time[top])
            label = f"{name}: peak {value} at {at} ms"
            ax.plot(time[top], trace[top], "o", color=color, ms=4, mec="white", mew=0.6, zorder=3)
        line = linestyles[i % len(linestyles)]
        (lines[name],) = ax.plot(time, trace, ls=line, color=color, lw=1.3, label=label)
    # Every tick shows its own value, not "4.5" under a common "1e-1".
    ax.ticklabel_format(axis="y", style="plain", useOffset=False)
    _finish_axes(ax, xlabel, f"central {style.RESPONSE_LABEL}")
    if legend:
        _add_legend(ax, list(lines.values()))
    return lines


def plot_losses(
    ax: Axes,
    losses: Mapping[str, ArrayLike],
    *,
    scale: Literal["linear", "log", "symlog"] = "linear",
) -> dict[str, Line2D]:
    """Draw losses over steps, from the start (step 0) on.

    Example:
        >>> figure = Figure(figsize=(6, 3), layout="constrained")
        >>> lines = plot_losses(figure.add_subplot(), {"total": [3.0, 1.5, 1.2]})

    Args:
        ax: axes to draw on.
        losses: values by name, `(steps + 1,)`; one named `total` is drawn in black.
        scale: of the loss axis; `symlog` for losses of both signs over several decades.

    Returns:
        The lines by name.

    Raises:
        ValueError: if there is none, or one is not one-dimensional.
    """
    expect.that(losses, "at least one loss", "none", "pass {name: losses}")
    colors = iter(style.SERIES * len(losses))
    lines = {}
    for name, values in losses.items():
        values = np.asarray(values, dtype=np.float64)
        advice = "pass the losses of one item"
        expect.that(
            values.ndim == 1, f"losses {name!r} of shape (steps + 1,)", values.shape, advice
        )
        total = name.rsplit("/", 1)[-1] == "total"
        (lines[name],) = ax.plot(
            values,
            color="black" if total else next(colors),
            lw=1.6 if total else 1.2,
            zorder=3 if total else 2,
            label=f"{name}: {style.number(values[-1])} at the end" if len(values) else name,
        )
    ax.set_yscale(scale)
    if scale == "linear":
        ax.ticklabel_format(axis="y", style="plain", useOffset=False)
    _finish_axes(ax, "step", "loss")
    _add_legend(ax, list(lines.values()))
    return lines


def plot_tradeoff(tolerance: ArrayLike, greyness: ArrayLike, title: str = "") -> Figure:
    """Draw the distance to grey that a stimulus reaches for each tolerance of its response.

    Args:
        tolerance: fractions of the target trace's range, positive, `(points,)`.
        greyness: sum of squares to grey reached for each, `(points,)`; NaN where no stimulus met
            the tolerance, which leaves a gap.
        title: cell type and network.

    Returns:
        A new figure.

    Raises:
        ValueError: if the two do not fit, or a tolerance is not positive.
    """
    x = np.asarray(tolerance, dtype=np.float64)
    y = np.asarray(greyness, dtype=np.float64)
    expect.that(
        x.ndim == 1 and x.shape == y.shape and len(x) > 0,
        "tolerances and greyness of one shape (points,)",
        f"{x.shape} and {y.shape}",
        "pass one greyness per tolerance",
    )
    advice = "the axis is logarithmic: leave that point out"
    expect.that((x > 0).all(), "tolerances > 0", x.min(), advice)
    order = np.argsort(x)
    x, y = x[order], y[order]
    fig = Figure(figsize=(3.6, 2.6), dpi=style.DPI, layout="constrained")
    ax = fig.add_subplot()
    ax.plot(100 * x, y, "o-", color=style.SERIES[0], lw=1.3, ms=4, mec="white", mew=0.6)
    ax.set_xscale("log")
    ax.set_xticks(100 * x, [f"{100 * t:g}" for t in x])
    ax.minorticks_off()
    ax.ticklabel_format(axis="y", style="plain", useOffset=False)
    _finish_axes(ax, "tolerance (% of the target's range)", "distance to grey (sum of squares)")
    ax.set_title(title, fontsize=style.LABEL_SIZE)
    return fig


def plot_ladder(
    level: ArrayLike, response: ArrayLike, contrast: ArrayLike, title: str = ""
) -> Figure:
    """Draw the response that a stimulus of each contrast can drive, up to ceiling and floor.

    Args:
        level: of the way from grey (0) to the ceiling (1) or the floor (-1), ascending, `(rungs,)`.
        response: at each, `(rungs,)`.
        contrast: root mean square contrast at each, 0 to 1, `(rungs,)`; NaN leaves a gap.
        title: cell type and network.

    Returns:
        A new figure.

    Raises:
        ValueError: if the three do not fit.
    """
    levels, y, x = (np.asarray(v, dtype=np.float64) for v in (level, response, contrast))
    expect.that(
        levels.ndim == 1 and levels.shape == y.shape == x.shape and len(x) > 0,
        "levels, responses and contrasts of one shape (rungs,)",
        f"{levels.shape}, {y.shape} and {x.shape}",
        "pass one of each per rung",
    )
    fig = Figure(figsize=(3.6, 2.6), dpi=style.DPI, layout="constrained")
    ax = fig.add_subplot()
    for name, branch, color, side in (
        ("toward the ceiling", levels >= 0, style.SERIES[1], 1),
        ("toward the floor", levels <= 0, style.SERIES[0], -1),
    ):
        ax.plot(100 * x[branch], y[branch], "o-", color=color, lw=1.3, ms=4, mec="white", mew=0.6)
        known = np.flatnonzero(branch & np.isfinite(x))
        if len(known) > 1:
            last = known[-1 if side > 0 else 0]
            ax.annotate(
                name,
                (100 * x[last], y[last]),
                (0, 5 * side),
                textcoords="offset points",
                ha="right",
                va="bottom" if side > 0 else "top",
                fontsize=style.TICK_SIZE,
                color=color,
            )
    ax.margins(y=0.12)
    ax.set_xlim(left=0)
    _finish_axes(ax, "RMS contrast (%)", style.RESPONSE_LABEL)
    short_ticks(ax)
    ax.set_title(title, fontsize=style.LABEL_SIZE)
    return fig


def _finish_axes(ax: Axes, xlabel: str, ylabel: str) -> None:
    """Set the labels and sizes that all curves share."""
    ax.set_xlabel(xlabel, fontsize=style.LABEL_SIZE)
    ax.set_ylabel(ylabel, fontsize=style.LABEL_SIZE)
    style.open_axes(ax)


def short_ticks(ax: Axes) -> None:
    """Shorten the ticks of the response axis to what a fixed margin holds.

    The axis label, and not a number above the axis, names the power of ten that very small and very
    large responses are counted in.
    """
    low, high = ax.get_ylim()
    # A range below a twentieth of the values would need more digits to distinguish the ticks.
    span = max(high - low, 0.05 * max(abs(low), abs(high)))
    middle = (low + high) / 2
    ax.set_ylim(middle - span / 2, middle + span / 2)
    # Steps of 2.5 would take a digit more than 1, 2 or 5.
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3), useOffset=False)
    formatter = ax.yaxis.get_major_formatter()
    formatter.set_locs(list(ax.get_yticks()))
    if power := formatter.get_offset():
        ax.yaxis.get_offset_text().set_visible(False)
        ax.set_ylabel(ax.get_ylabel().replace("(", f"({power} "))


def _add_legend(ax: Axes, lines: Sequence[Line2D]) -> None:
    # Above the axes, where it covers no curve.
    ax.legend(
        handles=lines,
        fontsize=style.TICK_SIZE,
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        borderaxespad=0.2,
        handlelength=1.8,
    )


def _checked_trace(
    name: str, time_ms: ArrayLike | Mapping[str, ArrayLike], values: ArrayLike
) -> tuple[Floats, Floats]:
    if isinstance(time_ms, Mapping):
        advice = "add them under that name"
        expect.that(name in time_ms, "times for every trace", f"none for {name!r}", advice)
        time_ms = time_ms[name]
    time = np.asarray(time_ms, dtype=np.float64)
    trace = np.asarray(values, dtype=np.float64)
    expect.that(
        trace.ndim == 1 and time.shape == trace.shape,
        f"trace {name!r} and its times of one shape (frames,)",
        f"{trace.shape} and {time.shape}",
        "pass one time per frame",
    )
    return time, trace
