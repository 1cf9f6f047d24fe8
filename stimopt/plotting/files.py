"""Write figures to files, whole or not at all, and render them to arrays."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stimopt import expect
from stimopt.plotting import style
from stimopt.storage.files import replacing

Pixels = NDArray[np.uint8]

# None leaves an entry out. Without dates and versions the same figure is the same bytes.
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None, "Creator": None},
}
# Half of the time of the default level, 6, for files of about the same size.
_PNG_OPTIONS: dict[str, Any] = {"pil_kwargs": {"compress_level": 3}}


def save_figure(fig: Figure, path: str | Path, *, dpi: float = style.DPI) -> Path:
    """Write a figure as PNG, PDF or SVG, chosen by the suffix.

    The figure is written to a temporary file, which then replaces `path`: a failure leaves an older
    file intact. The same figure is written as the same bytes. Missing folders are created.

    Example:
        >>> path = save_figure(Figure(), "figure.png")

    Args:
        fig: the figure.
        path: name of the file; ends in .png, .pdf or .svg.
        dpi: dots per inch of a PNG.

    Returns:
        The path.

    Raises:
        ValueError: for another suffix.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    listed, advice = ", ".join(_METADATA), "the suffix chooses the format"
    expect.that(suffix in _METADATA, f"a file name ending in {listed}", repr(path.name), advice)
    # matplotlib names the clip paths of an SVG by a hash with a random salt. A fixed salt makes the
    # names repeatable; the setting is restored after writing.
    fixed_salt = matplotlib.rc_context({"svg.hashsalt": "stimopt"})
    with fixed_salt if suffix == ".svg" else nullcontext(), replacing(path) as part:
        options = _PNG_OPTIONS if suffix == ".png" else {}
        fig.savefig(part, format=suffix[1:], dpi=dpi, metadata=_METADATA[suffix], **options)
    return path


def figure_image(fig: Figure, *, dpi: float | None = None) -> Pixels:
    """Render a figure as pixels `(height, width, 3)`: red, green, blue, 0 to 255.

    Args:
        fig: the figure.
        dpi: dots per inch, to which the figure is set; None leaves it unchanged.
    """
    if dpi is not None:
        fig.set_dpi(dpi)
    canvas = FigureCanvasAgg(fig)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels: Pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]
    return pixels
