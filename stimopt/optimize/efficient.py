"""The efficient optimum: the stimulus nearest to grey that drives a cell far; ladders of such."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stimopt import expect
from stimopt.networks.model import ResponseModel
from stimopt.optimize import penalties
from stimopt.optimize.at_level import LEVEL_STEPS, WITHIN, GreyestAtLevel
from stimopt.protocol import Protocol
from stimopt.results import Result

LEVELS = (-1.0, -0.8, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


class EfficientGenerator(GreyestAtLevel):
    """Seeks the stimulus nearest to grey that reaches a fraction of the way to the ceiling.

    There is no weight and no unit: the fraction alone decides.

    Args:
        network: the frozen network.
        cell_types: a name, several (a list, or with commas between), or `all`.
        protocol: pre-stimulus, step, baseline and read-out window.
        ceiling: result of `range_fit` for these cells, or its file.
        fraction: of the way from the response at grey to the ceiling, in (0, 1].
        anneal: steps over which the limit of a step falls to nothing; each item then stops.
        **options: as for `ObjectiveModule`, and as for the ceiling; with `sign` -1 the way leads
            to the floor.

    Raises:
        ValueError: for a fraction out of range, or a ceiling of other cells, networks or options.

    Example:
        >>> import stimopt
        >>> network = stimopt.builtin_network(extent=3)
        >>> ceiling = stimopt.fit(stimopt.ResponseRange(network, "T4c", t_stim=0.1))
        >>> fit = stimopt.EfficientGenerator(network, "T4c", t_stim=0.1, ceiling=ceiling)
        >>> bool(stimopt.fit(fit)["level_met"][0])
        True
    """

    def __init__(
        self,
        network: ResponseModel,
        cell_types: str | list[str] = "T4c",
        protocol: Protocol | None = None,
        *,
        ceiling: str | Path | Result | None = None,
        fraction: float = 0.9,
        anneal: int = LEVEL_STEPS,
        **options: Any,
    ) -> None:
        self.require(fraction, anneal)
        super().__init__(
            network, cell_types, protocol, (fraction,), math.inf, ceiling, anneal, **options
        )
        # At the ceiling itself the level is met, so that there is a best stimulus from the start.
        start = self.record.best_stimulus
        self.record.best_score.copy_(penalties.grey_sum(start))

    @staticmethod
    def require(fraction: float = 0.9, anneal: int = LEVEL_STEPS) -> None:
        """Reject a fraction or a number of steps out of range."""
        expect.number("fraction", fraction, "0.9 is usual", above=0, at_most=1)
        _require_steps(anneal)


class ResponseLadder(GreyestAtLevel):
    """Seeks the stimulus nearest to grey at each of several levels, from floor to ceiling.

    Args:
        network: the frozen network.
        cell_types: a name, several (a list, or with commas between), or `all`.
        protocol: pre-stimulus, step, baseline and read-out window.
        ceiling: result of `range_fit` for these cells, or its file.
        levels: of the way from the response at grey (0) to the ceiling (1) or the floor (-1).
        anneal: steps over which the limit of a step falls to nothing; each item then stops.
        **options: as for `ObjectiveModule`, and as for the ceiling.

    Raises:
        ValueError: for levels that repeat or lie outside, or a ceiling that does not fit.

    Example:
        >>> import stimopt
        >>> network = stimopt.builtin_network(extent=3)
        >>> options = {"cell_types": "T4c", "t_stim": 0.1, "levels": [-0.5, 0.0, 0.5]}
        >>> ceiling = stimopt.fit(stimopt.ResponseLadder.range_fit(network, **options))
        >>> ladder = stimopt.fit(stimopt.ResponseLadder(network, ceiling=ceiling, **options))
        >>> ladder["level_met"]
        array([ True,  True,  True])
    """

    needs_floor = True

    def __init__(
        self,
        network: ResponseModel,
        cell_types: str | list[str] = "T4c",
        protocol: Protocol | None = None,
        *,
        ceiling: str | Path | Result | None = None,
        levels: Sequence[float] = LEVELS,
        anneal: int = LEVEL_STEPS,
        **options: Any,
    ) -> None:
        self.require(levels, anneal)
        super().__init__(
            network, cell_types, protocol, tuple(levels), WITHIN, ceiling, anneal, **options
        )

    @staticmethod
    def require(levels: Sequence[float] = LEVELS, anneal: int = LEVEL_STEPS) -> None:
        """Reject levels that repeat or lie outside, or a number of steps out of range."""
        expect.that(np.ndim(levels) == 1, "levels as a list", levels, "write [0.5, 1]")
        for level in levels:
            expect.number("a level", level, "0 is grey, 1 the ceiling", at_least=-1, at_most=1)
        once = len(set(levels)) == len(levels) > 0
        expect.that(once, "levels, once each", list(levels), "leave out the repeated ones")
        _require_steps(anneal)


def _require_steps(anneal: int) -> None:
    expect.whole("anneal in steps", anneal, f"{LEVEL_STEPS} is usual", at_least=1)
