"""Pictures into files, whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from stimopt.plotting.style import DPI

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


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, renamed to `path` at the end, removed on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
