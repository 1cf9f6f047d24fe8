"""The three optima of every cell type side by side, under one protocol."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stimopt import expect
from stimopt.items import Reading
from stimopt.lattice import HexLattice
from stimopt.results.items import Span, cells_of, rows_by_cell, select_items
from stimopt.results.responses import Singles
from stimopt.results.result import Result, read, write

KINDS = ("naturalistic", "regularized", "artificial")
"""The groups of a file of the three optima, in the order in which they are sought."""


@dataclass(frozen=True)
class OptimalStimulus:
    """A stimulus and the response to it: the naturalistic optimum, and what all three have.

    Attributes:
        stimulus: luminance, `(frames, columns)`.
        response: of the cell type in every column, `(frames, columns)`; NaN where it has no cell.
        central_response: of the cell read out, `(frames,)`.
        peak_frame: frame at which the central response peaks within the read-out window.
    """

    stimulus: Singles
    response: Singles
    central_response: Singles
    peak_frame: int

    @property
    def peak(self) -> float:
        """Central response at its peak within the read-out window."""
        return float(self.central_response[self.peak_frame])


@dataclass(frozen=True)
class ArtificialStimulus(OptimalStimulus):
    """The artificial optimum: a stimulus that a fit has found.

    Attributes:
        losses: total loss from the start (step 0) on, `(steps + 1,)`.
    """

    losses: Singles


@dataclass(frozen=True)
class RegularizedStimulus(OptimalStimulus):
    """The regularized optimum: the best clip pulled to grey.

    Attributes:
        losses: total loss from the start (step 0) on, `(steps + 1,)`.
        central_target_response: central response to the clip, `(frames,)`.
    """

    losses: Singles
    central_target_response: Singles


@dataclass(frozen=True)
class ItemOptima:
    """The three optima of one cell type, network and seed.

    Attributes:
        label: short name, distinct among the items.
        cell_type: name of the cell type.
        network: position of the network.
        seed: of the artificial optimum's start.
        naturalistic: the best clip.
        regularized: that clip pulled to grey.
        artificial: the stimulus that a fit has found.
        span: response at grey and ceiling; unknown if the artificial optimum was sought without
            a ceiling.
        aim: fraction of the way from grey to the ceiling that was sought; NaN for a weighted loss.
    """

    label: str
    cell_type: str
    network: int
    seed: int
    naturalistic: OptimalStimulus
    regularized: RegularizedStimulus
    artificial: ArtificialStimulus
    span: Span
    aim: float

    @property
    def optima(self) -> dict[str, OptimalStimulus]:
        """All three by name, in the order of `KINDS`."""
        return {kind: getattr(self, kind) for kind in KINDS}


@dataclass(frozen=True)
class ThreeOptima(Sequence[ItemOptima]):
    """Results of search, regularization and generation; `optima[i]` has the three of one item.

    Items are those of the generation. Items that differ only in their seed share the clip and its
    regularization.

    Args:
        naturalistic: of a search; cell types that the others lack are left out.
        regularized: of a regularization that started from it.
        artificial: of a generation.

    Raises:
        ValueError: if they are not of one network and protocol, or one lacks an item.

    Example:
        >>> optima = stimopt.read("logs/optima_T4c/optima.h5")  # doctest: +SKIP
        >>> optima[0].artificial.peak  # doctest: +SKIP
    """

    naturalistic: Result
    regularized: Result
    artificial: Result

    def __post_init__(self) -> None:
        shared = (self.artificial.network_hash, self.artificial.protocol)
        for kind in KINDS:
            result = getattr(self, kind)
            expect.that(
                result.kind == kind,
                f"a result of kind {kind}",
                result.kind,
                "pass the results of search, regularize and generate in this order",
            )
            expect.that(
                (result.network_hash, result.protocol) == shared,
                "results of one network and protocol",
                f"a {kind} one of another",
                "run the three with the same options",
            )
        rows = _rows(self.naturalistic, dict.fromkeys(self._cells))
        object.__setattr__(self, "naturalistic", select_items(self.naturalistic, rows))
        _rows(self.regularized, self._cells)

    @classmethod
    def read(cls, path: str | Path) -> ThreeOptima:
        """Read a file of the three optima.

        Raises:
            ValueError: if it is missing, damaged or of another kind.
        """
        return cls(**{kind: read(path, kind) for kind in KINDS})

    def write(self, path: str | Path) -> Path:
        """Write one file with a group for each kind, whole or not at all, and return its path."""
        return write(path, {kind: getattr(self, kind) for kind in KINDS})

    @property
    def lattice(self) -> HexLattice:
        """Lattice of the stimuli and responses."""
        return HexLattice(self.artificial.extent)

    @property
    def dt(self) -> float:
        """Duration of a frame in seconds."""
        return self.artificial.protocol.dt

    @cached_property
    def _cells(self) -> list[Reading]:
        """The cell of each item."""
        return cells_of(self.artificial)

    @cached_property
    def _shared_rows(self) -> dict[str, list[int]]:
        """Row of each item's clip, and of that clip pulled to grey."""
        results = (self.naturalistic, self.regularized)
        return {result.kind: _rows(result, self._cells) for result in results}

    def __len__(self) -> int:
        return len(self._cells)

    def __iter__(self) -> Iterator[ItemOptima]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        cell, clip = self._cells[i], self._shared_rows["naturalistic"][i]
        aims = self.artificial.variables.get("fraction")
        regularized, row = self.regularized, self._shared_rows["regularized"][i]
        return ItemOptima(
            label=str(self.artificial["label"][i]),
            cell_type=cell.cell_type,
            network=cell.network,
            seed=int(self.artificial["seed"][i]),
            naturalistic=OptimalStimulus(**_optimum(self.naturalistic, clip)),
            regularized=RegularizedStimulus(
                **_optimum(regularized, row),
                losses=regularized["losses"][:, row],
                central_target_response=_of_item(regularized, "central_target_response", row),
            ),
            artificial=ArtificialStimulus(
                **_optimum(self.artificial, i), losses=self.artificial["losses"][:, i]
            ),
            span=Span.of(self.artificial, i),
            aim=np.nan if aims is None else float(aims.values[i]),
        )


def _rows(result: Result, cells: Collection[Reading]) -> list[int]:
    """The row of each cell in a result; its first, if it has several."""
    rows = rows_by_cell(result)
    if missing := [cell for cell in cells if cell not in rows]:
        cell = missing[0]
        others = dict.fromkeys(f"{c.cell_type} at u={c.u}, v={c.v}" for c in rows)
        raise ValueError(
            f"expected {cell.cell_type} of network {cell.network} at u={cell.u}, v={cell.v} among "
            f"the {result.kind} optima, got {', '.join(others)}; run it for that cell"
        )
    return [rows[cell][0] for cell in cells]


def _optimum(result: Result, i: int) -> dict[str, Any]:
    names = ("stimulus", "response", "central_response")
    arrays = {name: _of_item(result, name, i) for name in names}
    return {**arrays, "peak_frame": result.frame_of_peak(i)}


def _of_item(result: Result, name: str, i: int) -> Singles:
    """An array of one item, cut to the item's own length."""
    values: Singles = result[name][i, : int(result["n_frames"][i])]
    return values
