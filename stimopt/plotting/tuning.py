"""Responses to moving edges against their direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.projections.polar import PolarAxes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from stimopt import expect
from stimopt.plotting import style

_ON, _OFF = style.SERIES[1], "#333333"


class Tuning(NamedTuple):
    """Direction tuning of one cell.

    Args:
        on: responses to bright edges, `(directions,)`.
        off: responses to dark ones, likewise.
        preferred_deg: preferred direction in degrees; NaN if there is none.
    """

    on: ArrayLike
    off: ArrayLike
    preferred_deg: float


def plot_tunings(
    angles_deg: ArrayLike, tunings: Mapping[str, Tuning], title: str, *, columns: int = 4
) -> Figure:
    """Draw the direction tuning of several cell types, a panel for each.

    Example:
        >>> from stimopt.plotting.tuning import Tuning, plot_tunings
        >>> upward = Tuning([1, 3, 1, 0], [0, 0, 0, 0], preferred_deg=90.0)
        >>> figure = plot_tunings([0, 90, 180, 270], {"T4c": upward}, "network 000")

    Args:
        angles_deg: directions of motion, `(directions,)`.
        tunings: by cell type.
        title: of the figure.
        columns: panels in a row.

    Raises:
        ValueError: if there is no cell type, and as for `plot_tuning`.
    """
    expect.that(tunings, "at least one cell type", "none", "pass {type: Tuning(on, off, angle)}")
    fig, axes = style.panels(len(tunings), columns, 1.9, 2.0, subplot_kw={"projection": "polar"})
    for ax, (name, (on, off, preferred)) in zip(axes, tunings.items(), strict=True):
        arrow = None if np.isnan(preferred) else preferred
        plot_tuning(ax, angles_deg, on, off, preferred_deg=arrow, title=name)
    fig.suptitle(title, fontsize=style.TITLE_SIZE)
    shown, size = axes[0].get_legend_handles_labels(), style.TICK_SIZE
    fig.legend(*shown, loc="outside lower center", ncols=2, frameon=False, fontsize=size)
    return fig


def plot_tuning(
    ax: Axes,
    angles_deg: ArrayLike,
    responses_on: ArrayLike,
    responses_off: ArrayLike,
    *,
    preferred_deg: float | None = None,
    title: str = "",
) -> tuple[Line2D, Line2D]:
    """Draw direction tuning to bright (ON) and dark (OFF) edges on polar axes.

    Args:
        ax: polar axes (`fig.add_subplot(projection="polar")`).
        angles_deg: directions of motion in degrees, 0 right and 90 up, `(directions,)`.
        responses_on: responses to bright edges, `(directions,)`; negative ones are drawn inside a
            dotted circle at zero.
        responses_off: responses to dark edges, `(directions,)`.
        preferred_deg: direction of an arrow, in degrees.
        title: of the axes.

    Returns:
        The closed ON and OFF curves.

    Raises:
        ValueError: if the axes are not polar or the arrays do not fit.
    """
    polar = 'create them with fig.add_subplot(projection="polar")'
    expect.that(isinstance(ax, PolarAxes), "polar axes", type(ax).__name__, polar)
    assert isinstance(ax, PolarAxes)
    angles = np.asarray(angles_deg, dtype=np.float64)
    on = np.asarray(responses_on, dtype=np.float64)
    off = np.asarray(responses_off, dtype=np.float64)
    expect.that(
        angles.ndim == 1 and len(angles) > 0 and angles.shape == on.shape == off.shape,
        "angles and responses of one shape (directions,)",
        f"{angles.shape}, {on.shape} and {off.shape}",
        "pass one response per direction",
    )
    order = np.argsort(angles % 360)
    around = np.append(order, order[0])
    theta = np.deg2rad(angles[around])
    lines = []
    for values, color, name in ((on, _ON, "ON edge"), (off, _OFF, "OFF edge")):
        lines += ax.plot(theta, values[around], "o-", color=color, lw=1.3, ms=3, label=name)
    low, high = min(0.0, np.nanmin([on, off])), max(0.0, np.nanmax([on, off]))
    if low < 0:
        ax.plot(np.linspace(0, 2 * np.pi, 181), np.zeros(181), ":", color="0.3", lw=0.8)
    if preferred_deg is not None:
        ax.annotate(
            "",
            xy=(np.deg2rad(preferred_deg), high),
            xytext=(np.deg2rad(preferred_deg), low),
            arrowprops={"arrowstyle": "-|>", "color": style.SERIES[0], "lw": 1.2},
        )
    ax.set_title(title, fontsize=style.LABEL_SIZE)
    _label_axes(ax, low, high, largest=float(angles[int(np.nanargmax(np.fmax(on, off)))]))
    return lines[0], lines[1]


def _label_axes(ax: PolarAxes, low: float, high: float, largest: float) -> None:
    """Set limits and labels.

    Args:
        ax: polar axes.
        low: smallest response, at most 0.
        high: largest one, at least 0.
        largest: its direction in degrees.
    """
    # The centre stays open even where nothing is negative, or all is zero.
    span = (high - low) or 1.0
    ax.set_ylim(low - 0.02 * span, high + 0.08 * span if high > low else 1.0)
    ax.set_xticks(
        np.deg2rad(np.arange(0, 360, 45)), ["right", "", "up", "", "left", "", "down", ""]
    )
    ax.tick_params(labelsize=style.TICK_SIZE)
    ticks = MaxNLocator(3).tick_values(low, high)
    ax.set_yticks([tick for tick in ticks if tick and low <= tick <= high])
    # The scale stands opposite the largest response and between the spokes, where space is free.
    ax.set_rlabel_position(float(45 * np.floor((largest + 180) / 45) + 22.5) % 360)
    ax.grid(lw=0.4)
    ax.spines["polar"].set_linewidth(0.6)
