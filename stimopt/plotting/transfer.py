"""How far optima made for one network, or for several at once, drive others."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from stimopt import expect
from stimopt.plotting import style

NUMBERED = 10
"""Most networks for which each response is written into its square."""


def plot_transfer(ax: Axes, values: ArrayLike, names: Sequence[str], title: str = "") -> AxesImage:
    """Draw the matrix of one cell type.

    Args:
        ax: the axes.
        values: normalized responses, `(made for, shown to)`; 0 is grey, 1 the ceiling.
        names: of the networks.
        title: such as the cell type.

    Returns:
        The image, for a colour bar.

    Raises:
        ValueError: if the matrix does not fit the names.
    """
    values = np.asarray(values, dtype=np.float64)
    expect.shape("a transfer matrix", values, (len(names), len(names)), "pass a name per network")
    image = ax.imshow(values, cmap=style.RESPONSE_CMAP, vmin=-1, vmax=1)
    for axis in (ax.xaxis, ax.yaxis):
        _name_networks(axis, names)
    ax.set_xlabel("shown to", fontsize=style.LABEL_SIZE)
    ax.set_ylabel("made for", fontsize=style.LABEL_SIZE)
    ax.set_title(title, fontsize=style.TITLE_SIZE)
    if len(names) <= NUMBERED:
        # An empty square is a response that is no number.
        for i, j in np.argwhere(np.isfinite(values)):
            value = values[i, j]
            color = "white" if abs(value) > 0.7 else "black"
            text = f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
            ax.text(j, i, text, ha="center", va="center", size=style.TICK_SIZE, color=color)
    return image


def plot_transfers(
    values: ArrayLike, names: Sequence[str], cell_types: Sequence[str], *, columns: int = 9
) -> Figure:
    """Draw the matrices of all cell types, the most general ones first.

    Example:
        >>> from stimopt.plotting.transfer import plot_transfers
        >>> figure = plot_transfers([[[1.0], [0.5]], [[0.2], [1.0]]], ["a", "b"], ["T4c"])

    Args:
        values: normalized responses, `(made for, shown to, types)`.
        names: of the networks.
        cell_types: names along the type axis.
        columns: matrices in a row.

    Raises:
        ValueError: if the values do not fit the names.
    """
    values = np.asarray(values, dtype=np.float64)
    n = len(names)
    expect.shape("transfer matrices", values, (n, n, len(cell_types)), "pass a name for each")
    counted = np.isfinite(values) & ~np.eye(n, dtype=bool)[:, :, None]
    others = np.ma.array(values, mask=~counted).mean(axis=(0, 1)).filled(0)
    fig, axes = style.panels(len(cell_types), columns, 1.0, 1.25)
    order = np.argsort(-others, kind="stable")
    for place, (ax, t) in enumerate(zip(axes, order, strict=True)):
        image = ax.imshow(values[:, :, t], cmap=style.RESPONSE_CMAP, vmin=-1, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"{cell_types[t]}  {style.number(others[t])}", fontsize=style.TICK_SIZE)
        if n <= NUMBERED and place % columns == 0:
            _name_networks(ax.yaxis, names)
        if n <= NUMBERED and place + columns >= len(cell_types):
            _name_networks(ax.xaxis, names)
            ax.xaxis.set_tick_params(rotation=90)
    bar = fig.colorbar(image, ax=axes, shrink=0.5, aspect=30)
    bar.set_label("response\n(0 grey, 1 ceiling)", fontsize=style.LABEL_SIZE)
    bar.ax.tick_params(labelsize=style.TICK_SIZE)
    shown = "" if n <= NUMBERED else f" ({n}, in the order passed)"
    label = f"shown to{shown}; the number is the mean without the diagonal"
    width, height = fig.get_size_inches()
    room = 0.065 * max(map(len, _short(names))) if n <= NUMBERED else 0.0
    lines = textwrap.wrap(label, int(12 * (width + room)))
    fig.set_size_inches(width + room, height + room + 0.12 * len(lines))
    fig.supxlabel("\n".join(lines), fontsize=style.LABEL_SIZE)
    fig.supylabel("made for", fontsize=style.LABEL_SIZE)
    return fig


def _name_networks(axis: XAxis | YAxis, names: Sequence[str]) -> None:
    """Write the last part of each name beside its row or column."""
    axis.set_ticks(range(len(names)), _short(names), fontsize=style.TICK_SIZE)
    axis.set_tick_params(length=0)


def _short(names: Sequence[str]) -> list[str]:
    return [name.rsplit("/", 1)[-1] for name in names]


def plot_consensus(
    consensus: ArrayLike, single: ArrayLike, cell_types: Sequence[str], left_out: Sequence[str]
) -> Figure:
    """Draw responses of networks left out to a consensus against those to single optima.

    On the left all of them; on the right, for each cell type, how much more the consensus drives:
    a dot for each network left out, and a bar for their mean.

    Example:
        >>> from stimopt.plotting.transfer import plot_consensus
        >>> figure = plot_consensus([0.8, 0.7], [0.6, 0.7], ["T4c", "T4c"], ["a", "b"])

    Args:
        consensus: normalized responses, `(rows,)`; 0 is grey, 1 the ceiling.
        single: to the median optimum of a single network, `(rows,)`.
        cell_types: of each row.
        left_out: name of the network of each row.

    Raises:
        ValueError: if there is none, or the numbers do not fit.
    """
    y, x = np.asarray(consensus, dtype=np.float64), np.asarray(single, dtype=np.float64)
    rows = (len(left_out),)
    expect.that(rows[0], "responses of networks left out", "none", "make stimuli without them")
    for name, values in (("consensus", y), ("single", x), ("cell types", np.array(cell_types))):
        expect.shape(name, values, rows, "pass one for each network left out")
    names, networks = list(dict.fromkeys(cell_types)), list(dict.fromkeys(left_out))
    place = np.array([names.index(name) for name in cell_types])
    fig, (left, right) = style.panels(2, 2, 2.7, max(2.2, 0.14 * len(names)))
    for name, color in zip(networks, itertools.cycle(style.SERIES), strict=False):
        own = np.array([each == name for each in left_out])
        left.plot(x[own], y[own], "o", ms=3, color=color, label=name.rsplit("/", 1)[-1])
        right.plot((y - x)[own], place[own], "o", ms=3, color=color)
    ends = [min(x.min(), y.min()), max(x.max(), y.max())]
    left.plot(ends, ends, color="0.6", lw=0.7, zorder=0)
    left.set_aspect("equal", anchor="N")
    left.set_xlabel("median single optimum (0 grey, 1 ceiling)", fontsize=style.LABEL_SIZE)
    left.set_ylabel("consensus (0 grey, 1 ceiling)", fontsize=style.LABEL_SIZE)
    size = style.TICK_SIZE
    left.legend(title="network left out", fontsize=size, title_fontsize=size, frameon=False)
    gains = [float((y - x)[place == t].mean()) for t in range(len(names))]
    right.barh(range(len(names)), gains, color="0.85", zorder=0)
    right.axvline(0, color="0.6", lw=0.7)
    right.set_yticks(range(len(names)), names)
    right.set_ylim(len(names) - 0.5, -0.5)
    right.locator_params(axis="x", nbins=5)
    right.set_xlabel("consensus less median single optimum", fontsize=style.LABEL_SIZE)
    for ax in (left, right):
        style.open_axes(ax)
    return fig
