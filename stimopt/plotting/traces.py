"""Curves: central responses over time, losses over steps, greyness against tolerance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.typing import LineStyleType
from numpy.typing import ArrayLike, NDArray

from stimopt.plotting.style import (
    LABEL_SIZE,
    RESPONSE_LABEL,
    SERIES,
    TICK_SIZE,
    milliseconds,
    number,
)

Floats = NDArray[np.float64]


def plot_traces(
    ax: Axes,
    time_ms: ArrayLike | Mapping[str, ArrayLike],
    traces: Mapping[str, ArrayLike],
    *,
    peaks: bool = True,
    legend: bool = True,
    colors: Sequence[str] = SERIES,
    linestyles: Sequence[LineStyleType] = ("-", (0, (4, 1.5))),
    xlabel: str = "time (ms)",
) -> dict[str, Line2D]:
    """Draw central responses over each other.

    Args:
        ax: axes to draw on.
        time_ms: times in ms, `(frames,)`, for all traces; or for each its own by name.
        traces: central responses by name, `(frames,)`; NaN leaves a gap.
        peaks: mark each largest value, and name value and time in the legend.
        legend: name the traces.
        colors: taken in turn.
        linestyles: taken in turn; every second is dashed unless told otherwise, as a prediction
            that meets its target would hide it.
        xlabel: label of the time axis.

    Returns:
        The lines by name.

    Raises:
        ValueError: if a trace does not fit its times, or there is none.
    """
    if not traces:
        raise ValueError("expected at least one trace, got none; give {name: trace}")
    lines = {}
    for i, (name, values) in enumerate(traces.items()):
        time, trace = _checked_trace(name, time_ms, values)
        color = colors[i % len(colors)]
        label = name
        if peaks and not np.isnan(trace).all():
            top = int(np.nanargmax(trace))
            label = f"{name}: peak {number(trace[top])} at {milliseconds(time[top])} ms"
            ax.plot(time[top], trace[top], "o", color=color, ms=4, mec="white", mew=0.6, zorder=3)
        style = linestyles[i % len(linestyles)]
        (lines[name],) = ax.plot(time, trace, ls=style, color=color, lw=1.3, label=label)
    finish_axes(ax, xlabel, f"central {RESPONSE_LABEL}")
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

    Args:
        ax: axes to draw on.
        losses: values by name, `(steps + 1,)`; one named `total` is drawn in black.
        scale: of the loss axis; `symlog` for losses of both signs over several decades.

    Returns:
        The lines by name.

    Raises:
        ValueError: if there is none, or one is not one-dimensional.
    """
    if not losses:
        raise ValueError("expected at least one loss, got none; give {name: losses}")
    colors = iter(SERIES * len(losses))
    lines = {}
    for name, values in losses.items():
        values = np.asarray(values, dtype=np.float64)
        if values.ndim != 1:
            raise ValueError(
                f"expected losses {name!r} of shape (steps + 1,), got {values.shape}; "
                "give those of one item"
            )
        total = name.rsplit("/", 1)[-1] == "total"
        (lines[name],) = ax.plot(
            values,
            color="black" if total else next(colors),
            lw=1.6 if total else 1.2,
            zorder=3 if total else 2,
            label=f"{name}: {number(values[-1])} at the end" if len(values) else name,
        )
    ax.set_yscale(scale)
    finish_axes(ax, "step", "loss")
    _add_legend(ax, list(lines.values()))
    return lines


def plot_tradeoff(
    ax: Axes, tolerance: ArrayLike, greyness: ArrayLike, *, chosen: float | None = None
) -> Line2D:
    """Draw how near to grey a stimulus can come when its response may stray by a tolerance.

    Args:
        ax: axes to draw on.
        tolerance: fractions of the target trace's range, positive, `(points,)`.
        greyness: sum of squares to grey reached at each, `(points,)`; NaN where no stimulus met
            the tolerance, which leaves a gap.
        chosen: a tolerance among them to mark.

    Returns:
        The curve.

    Raises:
        ValueError: if the two do not fit, a tolerance is not positive, or `chosen` is not among
            them.
    """
    x = np.asarray(tolerance, dtype=np.float64)
    y = np.asarray(greyness, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise ValueError(
            f"expected tolerances and greyness of one shape (points,), got {x.shape} and {y.shape}"
            "; give one greyness per tolerance"
        )
    if not (x > 0).all():
        raise ValueError(
            f"expected tolerances > 0, got {x.min()}; the axis is logarithmic, leave that point out"
        )
    order = np.argsort(x)
    x, y = x[order], y[order]
    (line,) = ax.plot(100 * x, y, "o-", color=SERIES[0], lw=1.3, ms=4, mec="white", mew=0.6)
    ax.set_xscale("log")
    ax.set_xticks(100 * x, [f"{100 * t:g}" for t in x])
    ax.minorticks_off()
    if chosen is not None:
        found = np.flatnonzero(np.isclose(x, chosen))
        if not len(found):
            raise ValueError(f"expected chosen among {x.tolist()}, got {chosen}; name one of them")
        i = int(found[0])
        ax.plot(100 * x[i], y[i], "o", color=SERIES[1], ms=6, mec="white", mew=0.6, zorder=3)
        ax.annotate(
            f"{100 * x[i]:g} %: {number(y[i])}",
            (100 * x[i], y[i]),
            xytext=(6, 6),
            textcoords="offset points",
            fontsize=TICK_SIZE,
            color=SERIES[1],
        )
    finish_axes(ax, "tolerance (% of the target's range)", "distance to grey (sum of squares)")
    return line


def finish_axes(ax: Axes, xlabel: str, ylabel: str) -> None:
    """Labels and sizes that all curves share, and no more frame than the two axes."""
    ax.set_xlabel(xlabel, fontsize=LABEL_SIZE)
    ax.set_ylabel(ylabel, fontsize=LABEL_SIZE)
    ax.tick_params(which="both", labelsize=TICK_SIZE, width=0.6)
    ax.xaxis.get_offset_text().set_fontsize(TICK_SIZE)
    ax.yaxis.get_offset_text().set_fontsize(TICK_SIZE)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_linewidth(0.6)


def _add_legend(ax: Axes, lines: Sequence[Line2D]) -> None:
    # Above the axes, where no curve can run beneath it.
    ax.legend(
        handles=lines,
        fontsize=TICK_SIZE,
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
        if name not in time_ms:
            raise ValueError(
                f"expected times for every trace, got none for {name!r}; add them under that name"
            )
        time_ms = time_ms[name]
    time = np.asarray(time_ms, dtype=np.float64)
    trace = np.asarray(values, dtype=np.float64)
    if trace.ndim != 1 or time.shape != trace.shape:
        raise ValueError(
            f"expected trace {name!r} and its times of one shape (frames,), got {trace.shape} and "
            f"{time.shape}; give one time per frame"
        )
    return time, trace
