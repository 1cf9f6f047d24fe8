"""Sizes, colours and number formats that all pictures share."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure, SubFigure
from matplotlib.text import Text

DPI = 150
"""Dots per inch of a figure unless told otherwise; sizes below are in points at that size."""

TITLE_SIZE = 9.0
LABEL_SIZE = 8.0
TICK_SIZE = 7.0
"""The smallest text anywhere; smaller is hard to read in print."""

STIMULUS_CMAP = "gray"
RESPONSE_CMAP = "coolwarm"
"""Light grey in the middle, so that no response differs from no cell, which is left blank."""

LUMINANCE_LABEL = "luminance"
RESPONSE_LABEL = "response (a.u.)"

SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours told apart by the colour-blind (Okabe and Ito, Color Universal Design, 2008)."""


def figure_size(fig: Figure | SubFigure) -> tuple[float, float]:
    """Width and height in inches, of a part of a figure too."""
    return fig.bbox.width / fig.dpi, fig.bbox.height / fig.dpi


def number(value: float) -> str:
    """Three significant digits, at most eight characters, with a true minus sign.

    Whole numbers have all their digits; beyond 0.001 and 99,999 an exponent is written.
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


def milliseconds(value: float) -> str:
    """Whole milliseconds, tenths where there are any, with a true minus sign."""
    rounded = round(value, 1) + 0.0  # + 0.0 turns -0.0 into 0.0
    text = f"{rounded:.0f}" if rounded == round(rounded) else f"{rounded:.1f}"
    return text.replace("-", "\N{MINUS SIGN}")


def fit_width(text: Text, inches: float) -> None:
    """Shrink a line of text to a width, to `TICK_SIZE` at least, then cut its end off with "…"."""
    fig = text.get_figure(root=True)
    assert fig is not None

    def too_wide() -> bool:
        return bool(text.get_window_extent().width > inches * fig.dpi)

    while too_wide() and float(text.get_fontsize()) > TICK_SIZE:
        text.set_fontsize(max(TICK_SIZE, float(text.get_fontsize()) - 0.5))
    while too_wide() and len(text.get_text()) > 1:
        text.set_text(text.get_text().rstrip("…")[:-1] + "…")
