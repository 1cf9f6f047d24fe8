"""Sizes, colours and number formats that all pictures share."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure, SubFigure
from matplotlib.text import Text

DPI = 150
"""Default dots per inch of a figure; the sizes below are in points."""

TITLE_SIZE = 9.0
LABEL_SIZE = 8.0
TICK_SIZE = 7.0
"""The smallest text in any figure; smaller text is hard to read in print."""

STIMULUS_CMAP = "gray"
RESPONSE_CMAP = "coolwarm"
"""Light grey in the middle, so that a response of zero differs from a missing cell, left blank."""

LUMINANCE_LABEL = "luminance"
RESPONSE_LABEL = "response (a.u.)"

SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that the colour-blind can distinguish (Okabe and Ito, Color Universal Design, 2008)."""


def colors(cmap: str, n: int) -> list[str]:
    """Evenly spaced colours of a colour map, from its lower end to its upper, as `#rrggbb`."""
    return [to_hex(color) for color in colormaps[cmap](np.linspace(0, 1, n))]


def figure_size(fig: Figure | SubFigure) -> tuple[float, float]:
    """Width and height of a figure, or of a part of one, in inches."""
    return fig.bbox.width / fig.dpi, fig.bbox.height / fig.dpi


def number(value: float) -> str:
    """Format with three significant digits and a true minus sign, in at most eight characters.

    Values of 1000 and more are rounded to whole numbers; those below 0.001 or above 99,999 get an
    exponent.
    """
    size = abs(value)
    if not np.isfinite(value):
        text = str(value)
    elif size == 0:
        text = "0"
    elif size < 0.001 or size >= 99999.5:
        digits, exponent = f"{value:.1e}".split("e")
        text = f"{digits}e{int(exponent)}"
    elif size >= 999.5:
        text = f"{value:.0f}"
    else:
        text = f"{value:#.3g}".rstrip(".")
    return text.replace("-", "\N{MINUS SIGN}")


def percent(part: float) -> str:
    """Format a part of 1 as whole percent, with a true minus sign."""
    return f"{100 * part:.0f} %".replace("-", "\N{MINUS SIGN}")


def milliseconds(value: float) -> str:
    """Format as whole milliseconds, with tenths where there are any, and a true minus sign."""
    rounded = round(value, 1) + 0.0  # + 0.0 turns -0.0 into 0.0
    text = f"{rounded:.0f}" if rounded == round(rounded) else f"{rounded:.1f}"
    return text.replace("-", "\N{MINUS SIGN}")


def open_axes(ax: Axes) -> None:
    """Leave the left and the lower spine alone, in thin lines, with small tick labels."""
    ax.tick_params(which="both", labelsize=TICK_SIZE, width=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_linewidth(0.6)


def fit_width(text: Text, inches: float) -> None:
    """Shrink a line of text to a width, down to `TICK_SIZE`, then shorten it to end in "…"."""
    fig = text.get_figure(root=True)
    assert fig is not None

    # Of a pixel: a renderer of the figure's own size takes longer to create than text to measure.
    renderer = RendererAgg(1, 1, fig.dpi)  # type: ignore[no-untyped-call]

    def too_wide() -> bool:
        return bool(text.get_window_extent(renderer).width > inches * fig.dpi)

    while too_wide() and float(text.get_fontsize()) > TICK_SIZE:
        text.set_fontsize(max(TICK_SIZE, float(text.get_fontsize()) - 0.5))
    while too_wide() and len(text.get_text()) > 1:
        text.set_text(text.get_text().rstrip("…")[:-1] + "…")


def panels(
    n: int, columns: int, width: float, height: float, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, a number of them in a row, of a size in inches each."""
    columns = min(columns, n)
    rows = -(-n // columns)
    fig = Figure((width * columns + 1.0, height * rows + 0.8), DPI, layout="constrained")
    axes = fig.subplots(rows, columns, squeeze=False, **options).ravel()
    for ax in axes[n:]:
        ax.remove()
    return fig, list(axes[:n])
