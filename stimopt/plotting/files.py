"""Figures into files, whole or not at all, and into arrays."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stimopt.plotting.style import DPI
from stimopt.storage.files import replacing

Pixels = NDArray[np.uint8]

# None leaves an entry out: no dates and no versions, so the same figure gives the same bytes.
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None, "Creator": None},
}


def save_figure(fig: Figure, path: str | Path, *, dpi: float = DPI) -> Path:
    """Write a figure as PNG, PDF or SVG, chosen by the suffix.

    The file is written beside its place and renamed into it: a failure leaves an older file as it
    was. The same figure gives the same bytes. Missing folders are made.

    Args:
        fig: the figure.
        path: where to; ends in .png, .pdf or .svg.
        dpi: dots per inch of a PNG.

    Returns:
        The path.

    Raises:
        ValueError: for another suffix.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _METADATA:
        raise ValueError(
            f"expected a file name ending in {', '.join(_METADATA)}, got {path.name!r}; "
            "the suffix chooses the format"
        )
    # SVG names its clip paths by a hash salted at random unless told; the setting lasts as long
    # as the writing.
    fixed_names = matplotlib.rc_context({"svg.hashsalt": "stimopt"})
    with fixed_names if suffix == ".svg" else nullcontext(), replacing(path) as part:
        fig.savefig(part, format=suffix[1:], dpi=dpi, metadata=_METADATA[suffix])
    return path


def figure_image(fig: Figure, *, dpi: float | None = None) -> Pixels:
    """A figure as pixels `(height, width, 3)`, red, green, blue, 0 to 255.

    Args:
        fig: the figure.
        dpi: dots per inch; None keeps the figure's own. The figure is left at it.
    """
    if dpi is not None:
        fig.set_dpi(dpi)
    canvas = FigureCanvasAgg(fig)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels: Pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]
    return pixels
