"""How often flies are named right, against the number of trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from stimopt import expect
from stimopt.plotting import style

Curve = Sequence[ArrayLike]
"""Fraction, and the lower and upper end of its interval, `(trials,)` each."""


def plot_identification(
    curves: Mapping[str, Mapping[str, Curve]],
    chance: Mapping[str, float] | None = None,
    *,
    columns: int = 3,
) -> Figure:
    """Draw a panel for each cell type, with a curve and its interval for each set of stimuli.

    Example:
        >>> from stimopt.plotting.identification import plot_identification
        >>> figure = plot_identification({"T4c": {"edges": ([0.5, 0.9], [0.4, 0.8], [0.6, 1.0])}})

    Args:
        curves: by cell type, then by set of stimuli.
        chance: fraction named right by guessing, by cell type.
        columns: panels in a row.

    Raises:
        ValueError: if there is none.
    """
    expect.that(curves, "at least one cell type", "none", "pass {type: {set: curve}}")
    fig, axes = style.panels(len(curves), columns, 2.3, 1.7, sharex=True, sharey=True)
    for ax, (name, sets) in zip(axes, curves.items(), strict=True):
        for (label, (fraction, low, high)), color in zip(sets.items(), style.SERIES, strict=False):
            trials = 1 + np.arange(len(np.asarray(fraction)))
            ax.fill_between(trials, low, high, color=color, alpha=0.15, lw=0)
            ax.plot(trials, fraction, color=color, lw=1.3, label=label)
        if chance is not None:
            ax.axhline(chance[name], color="0.6", lw=0.7, ls=":")
        ax.set_ylim(0, 1.02)
        ax.set_title(name, fontsize=style.LABEL_SIZE)
        style.open_axes(ax)
    shown, size = axes[0].get_legend_handles_labels(), style.TICK_SIZE
    fig.legend(*shown, loc="outside upper center", ncols=4, frameon=False, fontsize=size)
    fig.supxlabel("trials", fontsize=style.LABEL_SIZE)
    fig.supylabel("fraction named right", fontsize=style.LABEL_SIZE)
    return fig
