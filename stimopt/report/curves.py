"""What a response costs in contrast: for each tolerance, and for each level of the response."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.items import Item, label_items
from stimopt.plotting import Figure, plot_ladder, plot_tradeoff, save_figure
from stimopt.results.items import rows_by_cell
from stimopt.results.result import Result, read
from stimopt.storage.files import safe_names


class Tradeoff(NamedTuple):
    """Greyness against tolerance, for one cell type of one network.

    Args:
        label: cell type, and what else varies.
        tolerance: fractions of the target's range, ascending, `(points,)`.
        greyness: sum of squares to grey of the greyest stimulus at each tolerance, `(points,)`; NaN
            where only the start met it.
    """

    label: str
    tolerance: NDArray[Any]
    greyness: NDArray[Any]


class Ladder(NamedTuple):
    """Contrast against response, for one cell type of one network.

    Args:
        label: cell type, and what else varies.
        level: of the way from grey (0) to the ceiling (1) or the floor (-1), ascending, `(rungs,)`.
        response: what is sought of the response, at each rung, `(rungs,)`.
        contrast: root mean square over pixels and frames of (x - 0.5) / 0.5 there, `(rungs,)`; NaN
            where the level was not reached.
    """

    label: str
    level: NDArray[Any]
    response: NDArray[Any]
    contrast: NDArray[Any]


def tradeoffs(result: Result) -> list[Tradeoff]:
    """The trade-off of every cell type and network in a result of `StimulusRegularizer`.

    Raises:
        ValueError: for a result of another kind.
    """
    regularized = result.kind == "regularized" and "grey_distance" in result.variables
    advice = "pass that of stimopt regularize"
    expect.that(regularized, "a regularized result", f"a {result.kind} one", advice)
    # The start meets any tolerance, so it is no point of the curve.
    met = result["tolerance_met"] & (result["best_step"] > 0)
    greyness = np.where(met, result["grey_distance"], np.nan)
    # The shortest decimal of a float32: 0.02, not 0.0199999996.
    tolerance = np.array([float(str(value)) for value in result["tolerance"]])
    return [
        Tradeoff(label, tolerance[rows], greyness[rows])
        for label, rows in _rows_of_curves(result, tolerance)
    ]


def ladders(result: Result) -> list[Ladder]:
    """The curve of every cell type and network in a result of `ResponseLadder`.

    Raises:
        ValueError: for a result of another kind.
    """
    advice = "pass that of stimopt generate --method ladder"
    expect.that("fraction" in result.variables, "a ladder", f"a {result.kind} result", advice)
    pixels = result["n_frames"] * result["stimulus"].shape[2]
    contrast = 2 * np.sqrt(result["grey_distance"] / pixels)
    contrast = np.where(result["level_met"], contrast, np.nan)
    return [
        Ladder(label, result["fraction"][rows], result["objective"][rows], contrast[rows])
        for label, rows in _rows_of_curves(result, result["fraction"])
    ]


def write_tradeoffs(folder: str | Path) -> list[Path]:
    """Draw the trade-offs of `result.h5` in a folder beside it and return the figures' paths."""
    curves = [curve for curve in tradeoffs(_result_in(folder)) if len(curve.tolerance) > 1]
    figures = [plot_tradeoff(curve.tolerance, curve.greyness, curve.label) for curve in curves]
    return _save(figures, [curve.label for curve in curves], "tradeoff", folder)


def write_ladders(folder: str | Path) -> list[Path]:
    """Draw the ladders of `result.h5` in a folder beside it and return the figures' paths."""
    curves = [curve for curve in ladders(_result_in(folder)) if len(curve.level) > 1]
    figures = [plot_ladder(c.level, c.response, c.contrast, c.label) for c in curves]
    return _save(figures, [curve.label for curve in curves], "ladder", folder)


def _rows_of_curves(result: Result, order: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Label of every cell and seed, and the rows of its items, by `order`."""
    curves: dict[Item, list[int]] = {}
    for cell, rows in rows_by_cell(result).items():
        for row in rows:
            curves.setdefault(Item((cell,), int(result["seed"][row])), []).append(row)
    labels = label_items([*curves], result.network_names)
    for label, found in zip(labels, map(np.array, curves.values()), strict=True):
        yield label, found[np.argsort(order[found], kind="stable")]


def _result_in(folder: str | Path) -> Result:
    return read(Path(folder) / "result.h5")


def _save(figures: list[Figure], labels: list[str], what: str, folder: str | Path) -> list[Path]:
    paths = [Path(folder) / f"{what}-{name}.png" for name in safe_names(labels)]
    return [save_figure(figure, path) for figure, path in zip(figures, paths, strict=True)]
