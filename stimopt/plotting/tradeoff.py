"""The figure of a trade-off between greyness and tolerance."""

from __future__ import annotations

from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from stimopt.plotting.style import DPI, LABEL_SIZE
from stimopt.plotting.traces import plot_tradeoff


def tradeoff_figure(tolerance: ArrayLike, greyness: ArrayLike, title: str = "") -> Figure:
    """A figure of its own for `plot_tradeoff`.

    Args:
        tolerance: fractions of the target trace's range, positive, `(points,)`.
        greyness: sum of squares to grey reached at each, `(points,)`; NaN leaves a gap.
        title: whose trade-off it is.
    """
    fig = Figure(figsize=(3.6, 2.6), dpi=DPI, layout="constrained")
    ax = fig.add_subplot()
    plot_tradeoff(ax, tolerance, greyness)
    ax.set_title(title, fontsize=LABEL_SIZE)
    return fig
