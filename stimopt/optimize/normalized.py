"""Pools of readings that share no unit: each reading is normalized by its own range first."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from stimopt import expect
from stimopt.analysis.transfer import ResponseScale
from stimopt.optimize.objectives import POOLS
from stimopt.results.result import Result
from stimopt.storage.identity import digest


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
        pool: `mean` or `worst`.
        weights: of the readings in the mean, such as scores, `(readings,)`; at least 0.

    Raises:
        ValueError: if shapes do not fit, or for weights that are negative or go with `worst`.
    """

    def __init__(
        self,
        grey: ArrayLike,
        span: ArrayLike,
        pool: str = "mean",
        weights: Sequence[float] | None = None,
    ) -> None:
        expect.one_of("pool", pool, ("mean", "worst"))
        self.grey = torch.as_tensor(grey, dtype=torch.float32)
        self.span = torch.as_tensor(span, dtype=torch.float32)
        expect.shape("grey", self.grey, ("cells", "readings"), "pass a number for each reading")
        expect.shape("span", self.span, tuple(self.grey.shape), "pass a number for each reading")
        expect.that(bool((self.span > 0).all()), "spans above 0", span, "leave flat cells out")
        self.pool, self.weights = POOLS[pool], None
        if weights is not None:
            expect.that(pool == "mean", "weights with pool 'mean'", repr(pool), "leave them out")
            self.weights = torch.as_tensor(weights, dtype=torch.float32)
            readings = (self.grey.shape[1],)
            expect.shape("weights", self.weights, readings, "pass one for each network")
            usable = bool((self.weights >= 0).all()) and float(self.weights.sum()) > 0
            expect.that(usable, "weights of at least 0, not all 0", weights, "leave networks out")
        # The name under which a run is identified: other numbers are another run.
        numbers = digest(self.grey, self.span, self.weights)
        self.__qualname__ = f"{type(self).__qualname__}({pool}, {numbers})"

    @classmethod
    def of(
        cls,
        ranges: Result,
        cell_types: Sequence[str],
        networks: Sequence[int],
        pool: str = "mean",
        weights: Sequence[float] | None = None,
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
        return cls(sign * scale.grey.T, sign * scale.span.T, pool, weights)

    def __call__(self, values: Tensor) -> Tensor:
        """Readings `(items, readings)` to `(items,)`; items of one cell stand together."""
        cells, readings = self.grey.shape
        expect.that(
            values.shape[1] == readings and len(values) % cells == 0,
            f"items of {cells} cell types with {readings} readings",
            f"{len(values)} items with {values.shape[1]} readings",
            "make the pool for the cell types and networks of the fit, with consensus=True",
        )
        grey, span = (
            each.to(values).repeat_interleave(len(values) // cells, dim=0)
            for each in (self.grey, self.span)
        )
        normalized = (values - grey) / span
        if self.weights is None:
            return self.pool(normalized)
        weights = self.weights.to(values)
        return (normalized * weights).sum(dim=1) / weights.sum()
