"""Cells of results of any kind, each with all stimuli sought for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.lattice import HexLattice
from stimopt.report.optima_tuning import TuningText
from stimopt.results.items import Span, cells_of
from stimopt.results.result import Result
from stimopt.results.three_optima import KINDS, ThreeOptima

Floats = NDArray[Any]
_MISSED = {"tolerance_met": "tolerance missed", "level_met": "level missed"}


@dataclass(frozen=True)
class Panel:
    """One stimulus and the response of a cell's type to it.

    Attributes:
        name: of the stimulus, distinct among those of a cell.
        kind: of the result it comes from.
        stimulus: luminance in [0, 1], `(frames, columns)`.
        response: `(frames, columns)`; NaN where the type has no cell.
        lattice: the columns.
        dt: duration of a frame in seconds.
        column: index of the column read out.
        peak_frame: frame at which the response of that peaks.
        remark: what the fit has missed; empty if nothing.
    """

    name: str
    kind: str
    stimulus: Floats
    response: Floats
    lattice: HexLattice
    dt: float
    column: int
    peak_frame: int
    remark: str

    @property
    def peak(self) -> float:
        """Response of the cell read out at its peak."""
        return float(self.response[self.peak_frame, self.column])


class Source(NamedTuple):
    """Where the stimulus of a panel is stored."""

    name: str
    result: Result
    row: int


@dataclass
class PageItem:
    """One cell of one network, with all stimuli sought for it.

    Attributes:
        cell_type: name of its type.
        network: name of its network, or how many networks are read together.
        network_hash: of all networks of its results.
        u, v: column read out.
        sources: of its panels; the arrays stay where they are until `panels` is called.
    """

    cell_type: str
    network: str
    network_hash: str
    u: int
    v: int
    sources: list[Source] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Cell type, and the column unless it is the central one."""
        return self.cell_type if self.u == self.v == 0 else f"{self.cell_type} ({self.u}, {self.v})"

    def panels(self) -> list[Panel]:
        """All stimuli and responses, read now."""
        return [_panel(*source) for source in self.sources]

    @property
    def stable(self) -> bool:
        """Whether the responses mean something."""
        return all(result.is_stable(row) for _, result, row in self.sources)

    @property
    def tuning(self) -> TuningText:
        """Tuning to the artificial optimum, where it was measured."""
        for _, result, row in self.sources:
            if "preferred_direction_deg" in result.variables:
                return TuningText.of_item(result, row)
        return TuningText()

    @property
    def span(self) -> Span:
        """From the response at grey to the ceiling, from the first result that has them."""
        spans = (Span.of(result, row) for _, result, row in self.sources)
        return next((span for span in spans if span.known), Span(math.nan, math.nan))

    @property
    def floor(self) -> float:
        """Lowest response, from a result that has the ceiling, too; NaN if unknown."""
        spanned = {id(result) for _, result, row in self.sources if Span.of(result, row).known}
        floors = (
            float(result[result.extreme][row])
            for _, result, row in self.sources
            if id(result) in spanned and result.signs[row] == -1
        )
        return next(floors, math.nan)

    def fraction(self, response: float) -> float:
        """How far a response is from grey (0) to the ceiling (1), or to the floor (-1) if known."""
        span, down = self.span, self.span.grey - self.floor
        if response < span.grey and down > 0:
            return (response - span.grey) / down
        return span.fraction(response)


def page_items(results: Iterable[Result | ThreeOptima]) -> list[PageItem]:
    """One item for each cell of each network, in the order in which they appear.

    Stimuli of the same cell from several results, seeds, fractions or tolerances are panels of one
    item.

    Raises:
        ValueError: for results under several protocols, whose responses have no common scale.
    """
    items: dict[tuple[Any, ...], PageItem] = {}
    parts = [part for each in results for part in _parts(each)]
    for result in parts:
        same, advice = result.protocol == parts[0].protocol, "write a page for each protocol"
        expect.that(
            same, f"results under {parts[0].protocol}", f"one under {result.protocol}", advice
        )
        rows: dict[tuple[Any, ...], list[int]] = {}
        for row, cell in enumerate(cells_of(result)):
            key = (cell.cell_type, _networks(result, row), cell.u, cell.v)
            rows.setdefault(key, []).append(row)
        for (cell_type, networks, u, v), own in rows.items():
            names = result.network_names
            name = names[networks[0]] if len(networks) == 1 else f"{len(networks)} networks"
            new = PageItem(cell_type, name, result.network_hash, u, v)
            item = items.setdefault((result.network_hash, cell_type, networks, u, v), new)
            taken = {source.name for source in item.sources}
            for row, name in zip(own, _names(result, own), strict=True):
                item.sources.append(Source(_unused(name, taken), result, row))
    return list(items.values())


def _parts(result: Result | ThreeOptima) -> list[Result]:
    return [result] if isinstance(result, Result) else [getattr(result, kind) for kind in KINDS]


def _networks(result: Result, row: int) -> tuple[int, ...]:
    if "reading_network" in result.variables:
        return tuple(sorted(set(map(int, result["reading_network"][row]))))
    return (int(result["network"][row]),)


def _names(result: Result, rows: Sequence[int]) -> list[str]:
    """The kind, with what distinguishes the labels where there are several."""
    kind = "ceiling" if result.kind == "range" else result.kind
    if "bound" in result.variables:
        return [str(result["bound"][row]) for row in rows]
    if len(rows) == 1:
        return [kind]
    labels = [str(result["label"][row]).split("-") for row in rows]
    shared = 0
    while len({tuple(label[: shared + 1]) for label in labels}) == 1:
        if shared >= min(map(len, labels)):
            break
        shared += 1
    return [f"{kind} {'-'.join(label[shared:])}".strip() for label in labels]


def _unused(name: str, taken: set[str]) -> str:
    unique, i = name, 2
    while unique in taken:
        unique, i = f"{name} ({i})", i + 1
    taken.add(unique)
    return unique


def _panel(name: str, result: Result, row: int) -> Panel:
    n_frames, lattice = int(result["n_frames"][row]), HexLattice(result.extent)
    missed = [
        text for variable, text in _MISSED.items()
        if variable in result.variables and not result[variable][row]
    ]  # fmt: skip
    return Panel(
        name=name,
        kind=result.kind,
        stimulus=np.asarray(result["stimulus"][row])[:n_frames],
        response=np.asarray(result["response"][row])[:n_frames],
        lattice=lattice,
        dt=result.protocol.dt,
        column=int(lattice.index(int(result["readout_u"][row]), int(result["readout_v"][row]))),
        peak_frame=result.frame_of_peak(row),
        remark=", ".join(missed),
    )
