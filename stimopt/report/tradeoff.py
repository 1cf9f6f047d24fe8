"""How near to grey a stimulus comes when its response may stray by so much."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stimopt.plotting import save_figure
from stimopt.plotting.tradeoff import tradeoff_figure
from stimopt.results.result import Result, read


class Tradeoff(NamedTuple):
    """Greyness against tolerance, for one cell type of one network.

    Args:
        label: cell type, and the network where there are several.
        tolerance: fractions of the target's range, ascending, `(points,)`.
        greyness: sum of squares to grey of the greyest stimulus found at each, `(points,)`; NaN
            where none but the start met the tolerance.
    """

    label: str
    tolerance: NDArray[Any]
    greyness: NDArray[Any]


def tradeoffs(result: Result) -> list[Tradeoff]:
    """The trade-off of every cell type and network in a result of `StimulusRegularizer`.

    Raises:
        ValueError: for a result of another kind.
    """
    if result.kind != "regularized" or "grey_distance" not in result.variables:
        raise ValueError(
            f"expected a regularized result, got a {result.kind} one; give that of stimopt "
            "regularize"
        )
    several = len(result.network_names) > 1
    curves: dict[str, list[tuple[float, float]]] = {}
    for i, cell_type in enumerate(result["cell_type"]):
        label = f"{cell_type}-{int(result['network'][i])}" if several else str(cell_type)
        # The start meets any tolerance; where nothing greyer did, nothing was found.
        met = bool(result["tolerance_met"][i]) and int(result["best_step"][i]) > 0
        greyness = float(result["grey_distance"][i]) if met else np.nan
        # The shortest decimal of the float32 kept: 0.02, not 0.0199999996.
        tolerance = float(str(result["tolerance"][i]))
        curves.setdefault(label, []).append((tolerance, greyness))
    return [Tradeoff(name, *np.array(sorted(points)).T) for name, points in curves.items()]


def write_tradeoffs(folder: str | Path) -> list[Path]:
    """Draw the trade-offs of `result.h5` in a folder, beside it; gives the files written."""
    folder = Path(folder)
    written = []
    for curve in tradeoffs(read(folder / "result.h5")):
        if len(curve.tolerance) > 1:
            figure = tradeoff_figure(curve.tolerance, curve.greyness, curve.label)
            name = f"tradeoff-{curve.label}.png".replace("/", "_")
            written.append(save_figure(figure, folder / name))
    return written
