"""Greyness that a stimulus reaches for each tolerance of its response."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.plotting import plot_tradeoff, save_figure
from stimopt.report.figures import safe_names
from stimopt.results.result import Result, read


class Tradeoff(NamedTuple):
    """Greyness against tolerance, for one cell type of one network.

    Args:
        label: cell type, and the network where there are several.
        tolerance: fractions of the target's range, ascending, `(points,)`.
        greyness: sum of squares to grey of the greyest stimulus at each tolerance, `(points,)`; NaN
            where only the start met it.
    """

    label: str
    tolerance: NDArray[Any]
    greyness: NDArray[Any]


def tradeoffs(result: Result) -> list[Tradeoff]:
    """The trade-off of every cell type and network in a result of `StimulusRegularizer`.

    Raises:
        ValueError: for a result of another kind.
    """
    regularized = result.kind == "regularized" and "grey_distance" in result.variables
    advice = "pass that of stimopt regularize"
    expect.that(regularized, "a regularized result", f"a {result.kind} one", advice)
    several = len(result.network_names) > 1
    curves: dict[str, list[tuple[float, float]]] = {}
    for i, cell_type in enumerate(result["cell_type"]):
        label = f"{cell_type}-{int(result['network'][i])}" if several else str(cell_type)
        # The start meets any tolerance, so it is no point of the curve.
        met = bool(result["tolerance_met"][i]) and int(result["best_step"][i]) > 0
        greyness = float(result["grey_distance"][i]) if met else np.nan
        # The shortest decimal of a float32: 0.02, not 0.0199999996.
        tolerance = float(str(result["tolerance"][i]))
        curves.setdefault(label, []).append((tolerance, greyness))
    return [Tradeoff(name, *np.array(sorted(points)).T) for name, points in curves.items()]


def write_tradeoffs(folder: str | Path) -> list[Path]:
    """Draw the trade-offs of `result.h5` in a folder beside it and return the figures' paths."""
    folder = Path(folder)
    curves = [curve for curve in tradeoffs(read(folder / "result.h5")) if len(curve.tolerance) > 1]
    return [
        save_figure(
            plot_tradeoff(curve.tolerance, curve.greyness, curve.label),
            folder / f"tradeoff-{name}.png",
        )
        for curve, name in zip(curves, safe_names([c.label for c in curves]), strict=True)
    ]
