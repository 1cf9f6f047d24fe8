"""How alike the optima of one cell type are in several networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stimopt.plotting.hexagons import drawn_columns
from stimopt.plotting.selection import RINGS, SECONDS
from stimopt.protocol import GREY, Protocol
from stimopt.report.page.items import PageItem, Panel


def likeness_vector(panels: Sequence[Panel]) -> NDArray[Any] | None:
    """Contrast of the artificial optimum in the last 200 ms before its peak, of length 1.

    None without an artificial optimum, or for a grey one.
    """
    panel = next((panel for panel in panels if panel.kind == "artificial"), None)
    if panel is None:
        return None
    last = Protocol(dt=panel.dt).frames(SECONDS)
    shown = panel.stimulus[: panel.peak_frame + 1][-last:, drawn_columns(panel.lattice, RINGS)]
    contrast = np.zeros((last, shown.shape[1]), dtype=np.float32)
    contrast[last - len(shown) :] = shown - GREY  # grey before the stimulus
    length = float(np.linalg.norm(contrast))
    return contrast.ravel() / length if 0 < length < math.inf else None


def agreement(items: Sequence[PageItem], vectors: Sequence[NDArray[Any] | None]) -> list[float]:
    """Mean cosine of each item's vector with those of the same cell in the other networks.

    NaN where there is no other of the same length.
    """
    cells: dict[tuple[Any, ...], list[int]] = {}
    for i, (item, vector) in enumerate(zip(items, vectors, strict=True)):
        if vector is not None:
            cells.setdefault((item.cell_type, item.u, item.v, len(vector)), []).append(i)
    values = [math.nan] * len(items)
    for members in cells.values():
        matrix = np.stack([vector for i in members if (vector := vectors[i]) is not None])
        if len(members) > 1:
            others = matrix @ matrix.sum(axis=0) - 1
            for i, value in zip(members, others / (len(members) - 1), strict=True):
                values[i] = float(value)
    return values
