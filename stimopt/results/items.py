"""The items of results: the cells they read out, and where responses lie from grey to ceiling."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stimopt.items import Reading
from stimopt.results.result import Result


def cells_of(result: Result) -> list[Reading]:
    """The cell of every item."""
    names = ("cell_type", "readout_u", "readout_v", "network")
    return [Reading(*row) for row in zip(*(result[name].tolist() for name in names), strict=True)]


def rows_by_cell(result: Result) -> dict[Reading, list[int]]:
    """The items of every cell, by number, in the order in which cells appear."""
    rows: dict[Reading, list[int]] = {}
    for row, cell in enumerate(cells_of(result)):
        rows.setdefault(cell, []).append(row)
    return rows


def readings_of(result: Result) -> list[tuple[Reading, ...]]:
    """All cells that every item reads, its own first."""
    if "reading_cell_type" not in result.variables:
        return [(cell,) for cell in cells_of(result)]
    names = ("cell_type", "u", "v", "network")
    columns = (result[f"reading_{name}"].tolist() for name in names)
    return [
        tuple(Reading(*reading) for reading in zip(*item, strict=True))
        for item in zip(*columns, strict=True)
    ]


def seeking_grey(result: Result) -> NDArray[np.bool_]:
    """Which items are the rung of a ladder at grey, which seeks no drive, `(items,)`."""
    if "fraction" not in result.variables:
        return np.zeros(len(result["label"]), dtype=bool)
    return np.asarray(result["fraction"] == 0)


def select_items(result: Result, rows: Sequence[int]) -> Result:
    """A result with only some of its items, in the order of `rows`."""
    variables = {
        name: variable._replace(
            values=variable.values.take(np.asarray(rows, int), variable.dims.index("item"))
        )
        if "item" in variable.dims
        else variable
        for name, variable in result.variables.items()
    }
    return dataclasses.replace(result, variables=variables)


class Span(NamedTuple):
    """The responses between which a cell can be driven: at grey, and its ceiling.

    Args:
        grey: response at grey; NaN if unknown.
        ceiling: largest response of the cell read out to any stimulus; NaN if unknown.
    """

    grey: float
    ceiling: float

    @classmethod
    def of(cls, result: Result, i: int) -> Span:
        """The span of an item, if its result has a ceiling that peaks can be compared with.

        Such a ceiling is a response of the same cell in one frame: neither a mean over a window,
        nor a pool of several readings, nor the floor.
        """
        comparable = (
            {result.extreme, "grey_objective"} <= result.variables.keys()
            and result.config.get("objective") == "last_frame"
            and "reading_response" not in result.variables
            and result.signs[i] == 1
        )
        if not comparable:
            return cls(math.nan, math.nan)
        return cls(float(result["grey_objective"][i]), float(result[result.extreme][i]))

    @property
    def known(self) -> bool:
        """Whether both ends are numbers, and apart."""
        return not math.isnan(self.grey + self.ceiling) and self.grey != self.ceiling

    def fraction(self, response: float) -> float:
        """How far a response is on the way from grey (0) to the ceiling (1); NaN if unknown."""
        way = self.ceiling - self.grey
        return (response - self.grey) / way if way != 0 else math.nan
