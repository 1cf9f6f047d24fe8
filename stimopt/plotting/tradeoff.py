"""Greyness of a stimulus against the tolerance that its response may use."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from stimopt import expect
from stimopt.plotting import style
from stimopt.plotting.traces import finish_axes


def plot_tradeoff(tolerance: ArrayLike, greyness: ArrayLike, title: str = "") -> Figure:
    """Draw the distance to grey that a stimulus reaches for each tolerance of its response.

    Args:
        tolerance: fractions of the target trace's range, positive, `(points,)`.
        greyness: sum of squares to grey reached for each, `(points,)`; NaN where no stimulus met
            the tolerance, which leaves a gap.
        title: cell type and network.

    Returns:
        A figure of its own.

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
    finish_axes(ax, "tolerance (% of the target's range)", "distance to grey (sum of squares)")
    ax.set_title(title, fontsize=style.LABEL_SIZE)
    return fig
