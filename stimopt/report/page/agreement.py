"""How alike the optima of one cell type are in several networks."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stimopt.plotting.hexagons import drawn_columns
from stimopt.plotting.selection import RINGS
from stimopt.protocol import BEFORE_PEAK, GREY, Protocol
from stimopt.report.page.items import PageItem, Panel


def likeness_vector(panels: Sequence[Panel]) -> NDArray[Any] | None:
    """Contrast of the artificial optimum in the last 200 ms before its peak, of length 1.

    None without an artificial optimum, or for a grey one.
    """
    panel = next((panel for panel in panels if panel.kind == "artificial"), None)
    if panel is None:
        return None
    last = Protocol(dt=panel.dt).frames(BEFORE_PEAK)
    shown = panel.stimulus[: panel.peak_frame + 1][-last:, drawn_columns(panel.lattice, RINGS)]
    # Grey before the stimulus.
    contrast = np.pad(np.float32(shown - GREY), ((last - len(shown), 0), (0, 0)))
    length = float(np.linalg.norm(contrast))
    return contrast.ravel() / length if 0 < length < math.inf else None


def agreement(items: Sequence[PageItem], vectors: Sequence[NDArray[Any] | None]) -> list[float]:
    """Mean cosine of each item's vector with those of the same cell in the other networks.

    NaN where there is no other of the same length.
    """
    arrays = [np.asarray(math.nan if vector is None else vector) for vector in vectors]
    cells = [(i.cell_type, i.u, i.v, a.shape) for i, a in zip(items, arrays, strict=True)]
    total, number = defaultdict[Any, Any](float), Counter(cells)
    for cell, array in zip(cells, arrays, strict=True):
        total[cell] = total[cell] + array
    return [
        float((array * total[cell]).sum() - 1) / (number[cell] - 1 or math.nan)
        for cell, array in zip(cells, arrays, strict=True)
    ]
