"""Pools of readings that share no unit: each reading is normalized by its own range first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from stimopt import expect
from stimopt.analysis.transfer import ResponseScale
from stimopt.items import Item
from stimopt.optimize.named import name_of
from stimopt.optimize.objectives import POOLS, Pool, find_pool, mean, worst
from stimopt.results import Result, fitted
from stimopt.storage.identity import digest

NORMALIZED = {"normalized": "mean", "normalized_worst": "worst"}
"""Before `:` and the path of the ceilings, where a pool is named; and how readings are pooled."""


def pool_of_items(pool: str | Pool, items: Sequence[Item], sign: int) -> Pool:
    """The pool of a fit, by its name or dotted path, or the function itself.

    `normalized:RANGES.h5` is the mean, and `normalized_worst:RANGES.h5` the smallest, of readings
    normalized by the ceilings in that result of `ResponseRange`.

    Args:
        pool: name or function.
        items: of the fit; those of one cell type stand together.
        sign: of the fit.

    Raises:
        ValueError: for an unknown name, or ceilings that do not fit.
    """
    readings, (kind, _, path) = items[0].readings, str(pool).partition(":")
    if kind not in NORMALIZED:
        return find_pool(pool, len(readings))
    alone = {(item.network, reading.cell_type) for item in items for reading in item.readings}
    cell_types = list(dict.fromkeys(item.cell_type for item in items))
    got, advice = "a contrast, or a network each", "set consensus, and leave the contrast out"
    expect.that(len(alone) == len(cell_types), f"a consensus with pool {pool}", got, advice)
    networks = [reading.network for reading in readings]
    return NormalizedPool.of(fitted(path), cell_types, networks, NORMALIZED[kind], sign=sign)


class NormalizedPool:
    """Pools (reading - grey) / (ceiling - grey): a consensus in which no network's scale counts.

    It is passed as `pool` to a fit with `consensus=True`; the objective then is 0 at grey and 1
    where every network is at its ceiling.

    Example:
        >>> import stimopt
        >>> from stimopt.optimize.normalized import NormalizedPool
        >>> network = stimopt.builtin_network(extent=3).lesion("Mi9")
        >>> ranges = stimopt.fit(stimopt.ResponseRange(network, "T4c", t_stim=0.1), steps=20)
        >>> pool = NormalizedPool.of(ranges, ["T4c"], [0, 1])
        >>> options = dict(t_stim=0.1, consensus=True, pool=pool)
        >>> both = stimopt.fit(stimopt.ResponseRange(network, "T4c", **options), steps=20)
        >>> bool(0.9 < both["objective"][0] < 1.01)
        True

    Args:
        grey: reading at grey, times the sign of the fit, `(cells, readings)`.
        span: from there to the extreme, above 0, likewise.
        pool: of the normalized readings, by name or as a function, see `objectives`.
        weights: of the readings, for `mean` and `worst`, such as `ScoreCard.weights`,
            `(readings,)` or `(cells, readings)`; at least 0. A reading of weight 0 does not
            count in `worst` either.

    Raises:
        ValueError: if shapes do not fit, or for weights that are negative or all 0.
    """

    def __init__(
        self,
        grey: ArrayLike,
        span: ArrayLike,
        pool: str | Pool = "mean",
        weights: ArrayLike | None = None,
    ) -> None:
        self.grey, self.span = (torch.as_tensor(x, dtype=torch.float32) for x in (grey, span))
        shape, advice = tuple(self.grey.shape), "pass a number for each reading"
        expect.shape("grey", self.grey, ("cells", "readings"), advice)
        expect.shape("span", self.span, shape, advice)
        expect.that(bool((self.span > 0).all()), "spans above 0", span, "leave flat cells out")
        given = torch.as_tensor(1.0 if weights is None else weights, dtype=torch.float32)
        fits = tuple(given.shape) in ((), shape[1:], shape)
        expect.that(fits, f"weights {shape[1:]} or {shape}", tuple(given.shape), "pass such")
        self.pool, self.weights = find_pool(pool, shape[1]), given.expand(shape)
        weighs = weights is None or self.pool in (mean, worst)
        expect.that(weighs, "weights with pool 'mean' or 'worst'", repr(pool), "leave them out")
        usable = (self.weights >= 0).all() and (self.weights.sum(dim=1) > 0).all()
        advice = "leave out what no network counts for"
        expect.that(bool(usable), "weights of at least 0, not all 0", given.tolist(), advice)
        # The name under which a run is identified: other numbers are another run.
        numbers = digest(self.grey, self.span, self.weights)
        self.__qualname__ = f"{type(self).__qualname__}({name_of(self.pool, POOLS)}, {numbers})"
        self.ceilings: dict[str, Any] = {}

    @classmethod
    def of(
        cls,
        ranges: Result,
        cell_types: Sequence[str],
        networks: Sequence[int],
        pool: str | Pool = "mean",
        weights: ArrayLike | None = None,
        sign: int = 1,
    ) -> NormalizedPool:
        """From the ceilings of the single networks.

        Args:
            ranges: of `ResponseRange`, by the objective and duration of the fit.
            cell_types: those of the fit, in the same order.
            networks: those of the fit, in the same order.
            pool: as for the class.
            weights: as for the class.
            sign: of the fit.

        Raises:
            ValueError: if a ceiling is missing, and as for the class.
        """
        scale = ResponseScale.of(ranges, cell_types, networks, sign)
        chosen = cls(sign * scale.grey.T, sign * scale.span.T, pool, weights)
        chosen.ceilings = {
            "network_hash": ranges.network_hash,
            "frames": int(ranges["n_frames"].max()),
            "objective": ranges.config.get("objective"),
            "temperature": ranges.config.get("temperature"),
            "sign": sign,
            **ranges.protocol.settings(),
        }
        return chosen

    def require(self, settings: Mapping[str, Any]) -> None:
        """Reject a fit that reads other numbers than those that were sought as ceilings.

        Ceilings that were passed as numbers are taken as they are.

        Args:
            settings: of the fit, and its network's hash.

        Raises:
            ValueError: naming what differs.
        """
        for name, value in self.ceilings.items():
            wanted = settings[name]
            advice = "seek the ceilings with the options of the fit"
            expect.that(value == wanted, f"ceilings with {name} {wanted}", value, advice)

    def __call__(self, values: Tensor) -> Tensor:
        """Readings `(items, readings)` to `(items,)`; items of one cell stand together."""
        cells, readings = self.grey.shape
        fits = values.shape[1] == readings and len(values) % cells == 0
        got = f"{len(values)} items with {values.shape[1]} readings"
        advice = "make the pool for the cell types and networks of the fit, with consensus=True"
        expect.that(fits, f"items of {cells} cell types with {readings} readings", got, advice)
        grey, span, weights = (
            each.to(values).repeat_interleave(len(values) // cells, dim=0)
            for each in (self.grey, self.span, self.weights)
        )
        normalized = (values - grey) / span
        if self.pool is mean:
            return (normalized * weights).sum(dim=1) / weights.sum(dim=1)
        return self.pool(normalized.masked_fill(weights == 0, torch.inf))
