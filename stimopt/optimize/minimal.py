"""The minimal stimulus: the fewest columns, and the shortest stretch of time, that drive a cell."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stimopt import expect
from stimopt.networks.model import ResponseModel
from stimopt.optimize.at_level import GreyestAtLevel
from stimopt.optimize.record import StopReason
from stimopt.optimize.region import Fall, RegionSteps, from_grey, largest_size
from stimopt.optimize.terms import VIOLATION, Terms
from stimopt.protocol import GREY, Protocol
from stimopt.results import Result, Variable
from stimopt.results.variables import array_of

FRACTION, POLISH = 0.85, 10
FIRST_LIMIT = 0.2
"""Luminance that a pixel may move in the first step of a round. All steps of a usual round carry it
from black to white; longer ones leave the optimum for a worse one."""
TRIES = 8
"""Columns whose removal fails, each by itself, before the search for fewer ends."""
STRETCH = 0.99
"""Of the way to the ceiling: what the frames before the stretch may take is the rest."""


class MinimalGenerator(GreyestAtLevel):
    """Seeks the fewest columns, then the shortest stretch, in which a stimulus reaches a level.

    All else is exactly grey. Within a region of the network the response is linear, r = r0 + g (x -
    1/2), so a column adds the sum over its frames of g (x - 1/2), and the fewest columns are those
    that add most: this is group sparsity, solved exactly. The search goes by rounds from the
    ceiling down. At first frames are left out at either end of the stretch, as long as 99 % of the
    way to the ceiling is reached; else the columns would leave nothing for a shorter stretch. Then
    a round leaves out the columns that add least, as many as the linear response allows, and then
    seeks the largest response on the columns that are left (black and white there, by steps toward
    the optimum of each region). If that misses the level, half as many are left out instead; at
    last one, and then another one. Once no column can be left out, frames are again.

    What is left is minimal in that no smaller support is reached by leaving out one of the columns
    that add least; for a linear cell it is the smallest of all.

    Args:
        network: the frozen network.
        cell_types: a name, several (a list, or with commas between), or `all`.
        protocol: pre-stimulus, step, baseline and read-out window.
        ceiling: result of `range_fit` for these cells, or its file.
        fraction: of the way from the response at grey to the ceiling, in (0, 1], that is reached.
        polish: steps of a round, after each change of the support.
        **options: as for `ObjectiveModule`, and as for the ceiling.

    Raises:
        ValueError: for a fraction or number out of range, or a ceiling that does not fit.

    Example:
        >>> import stimopt
        >>> network = stimopt.builtin_network(extent=3)
        >>> options = {"cell_types": "T4c", "t_stim": 0.1}
        >>> ceiling = stimopt.fit(stimopt.MinimalGenerator.range_fit(network, **options))
        >>> minimal = stimopt.fit(stimopt.MinimalGenerator(network, ceiling=ceiling, **options))
        >>> bool(minimal["columns_used"][0] < 37 and minimal["level_met"][0])
        True
    """

    usual_steps = 600
    columns: Tensor
    first: Tensor
    last: Tensor
    good_columns: Tensor
    good_first: Tensor
    good_last: Tensor
    value: Tensor
    slack: Tensor
    cut: Tensor
    tried: Tensor
    phase: Tensor

    def __init__(
        self,
        network: ResponseModel,
        cell_types: str | list[str] = "T4c",
        protocol: Protocol | None = None,
        *,
        ceiling: str | Path | Result | None = None,
        fraction: float = FRACTION,
        polish: int = POLISH,
        **options: Any,
    ) -> None:
        self.require(fraction, polish)
        sharp = options.get("bandwidth") is None
        advice = "leave bandwidth out: filters spread light beyond a support"
        expect.that(sharp, "a minimal stimulus of pixels", "filters before it", advice)
        super().__init__(
            network, cell_types, protocol, (fraction,), math.inf, ceiling, polish, **options
        )
        n, frames, columns = self.stimulus.shape
        for prefix in ("", "good_"):
            self.register_buffer(f"{prefix}columns", torch.ones((n, columns), dtype=torch.bool))
            self.register_buffer(f"{prefix}first", torch.zeros(n, dtype=torch.int64))
            self.register_buffer(f"{prefix}last", torch.full((n,), frames - 1))
        self.register_buffer("value", torch.zeros((n, frames, columns)))
        self.register_buffer("slack", torch.zeros(n))
        self.register_buffer("cut", torch.full((n,), columns))
        self.register_buffer("tried", torch.zeros(n, dtype=torch.int64))
        # 0: frames that the ceiling hardly needs; 1: columns; 2: frames.
        self.register_buffer("phase", torch.zeros(n, dtype=torch.int64))
        self.region = RegionSteps(self.stimulus.detach(), Fall(polish, FIRST_LIMIT))
        # The ceiling needs no polish: the first gradient decides what is left out.
        self.region.done.fill_(polish)

    @staticmethod
    def require(fraction: float = FRACTION, polish: int = POLISH) -> None:
        """Reject values out of range."""
        expect.number("fraction", fraction, f"{FRACTION:g} is usual", above=0, at_most=1)
        expect.whole("polish in steps", polish, f"{POLISH} is usual", at_least=2)

    # -- within a round ---------------------------------------------------------------------------

    def luminance(self) -> Tensor:
        """The stimulus on its support and grey elsewhere, `(items, frames, columns)`."""
        luminance = super().luminance()
        if not hasattr(self, "columns"):  # while the module is being built
            return luminance
        return torch.where(self.support, luminance, GREY)

    @property
    def support(self) -> Tensor:
        """Pixels that may differ from grey, `(items, frames, columns)`, bool."""
        frame = torch.arange(self.stimulus.shape[1], device=self.columns.device)
        shown = (frame >= self.first[:, None]) & (frame <= self.last[:, None])
        return shown[:, :, None] & self.columns[:, None, :]

    def region_optimum(self, gradient: Tensor, luminance: Tensor) -> Tensor:
        """Black or white on the support, by the sign of the gradient."""
        direction = self.region.mean_direction(-gradient)
        return from_grey(largest_size(direction), direction)

    def score(self, terms: Terms) -> Tensor:
        """Size of a support on which the level is met; on the same one the largest response."""
        frames = self.last - self.first + 1
        size = self.columns.sum(dim=1) * (self.stimulus.shape[1] + 1) + frames
        return torch.where(terms[VIOLATION] <= 0, size + terms[VIOLATION], torch.inf)

    # -- between rounds ---------------------------------------------------------------------------

    def stop_settled(self) -> None:
        """No item stops for short steps: a round ends with them."""

    def replace_gradient(self, gradient: Tensor) -> None:
        """At the end of a round change the support, in place of a step."""
        if not self.region.annealed:
            super().replace_gradient(gradient)
            return
        self._change_support(-gradient)
        gradient.zero_()
        self.region.restart()

    @torch.no_grad()
    def _change_support(self, pull: Tensor) -> None:
        """Keep supports on which the level is met, restore the others, and remove the next part.

        Args:
            pull: gradient of the objective, `(items, frames, columns)`.
        """
        slack = -self._missing - self._reserve
        met = slack >= 0
        for good, now in (
            (self.good_columns, self.columns),
            (self.good_first, self.first),
            (self.good_last, self.last),
            (self.value, pull * (self.luminance() - GREY)),
            (self.slack, slack),
        ):
            good.copy_(torch.where(met.reshape(-1, *[1] * (good.ndim - 1)), now, good))
        halved = torch.div(self.cut, 2, rounding_mode="floor").clamp(min=1)
        self.tried.copy_(torch.where(met, 0, self.tried + (self.cut == 1)))
        self.cut.copy_(torch.where(met, self.cut, halved))
        self.columns.copy_(self.good_columns)
        self.first.copy_(self.good_first)
        self.last.copy_(self.good_last)
        done = [i for i in torch.where(self.record.running)[0].tolist() if not self._leave_out(i)]
        self.stimulus.copy_(torch.where(self.support, self.record.best_stimulus, GREY))
        stop = torch.zeros_like(met)
        stop[done] = True
        self.record.stop(stop, StopReason.SETTLED)

    @property
    def _reserve(self) -> Tensor:
        """Part of the response that the first frames may not take, `(items,)`."""
        reserve = (STRETCH - self.fraction).clamp(min=0.0) * self.span
        return torch.where(self.phase == 0, reserve, 0.0)

    def _leave_out(self, i: int) -> bool:
        """Leave out frames or columns of an item; False if nothing is left to be tried."""
        while self.phase[i] < 3:
            if self._leave_out_columns(i) if self.phase[i] == 1 else self._leave_out_frames(i):
                return True
            self.slack[i] += self._reserve[i]
            self.phase[i] += 1
            self.cut[i], self.tried[i] = self.columns.shape[1] + len(self.value[i]), 0
        return False

    def _leave_out_columns(self, i: int) -> bool:
        columns = np.flatnonzero(array_of(self.columns[i]))
        added = array_of(self.value[i].sum(dim=0))[columns]
        order = np.argsort(added, kind="stable")
        chosen = self._choose(i, columns[order], added[order], TRIES)
        self.columns[i, torch.as_tensor(chosen)] = False
        return len(chosen) > 0

    def _leave_out_frames(self, i: int) -> bool:
        first, last = int(self.first[i]), int(self.last[i])
        added = array_of(self.value[i].sum(dim=1))
        # The order itself begins at the other end where the first was tried.
        order = from_the_ends(added, first, last, other=bool(self.tried[i]))
        chosen = self._choose(i, order, added[order], 2, shifted=False)
        left = np.setdiff1d(np.arange(first, last + 1), chosen)
        self.first[i], self.last[i] = int(left[0]), int(left[-1])
        return len(chosen) > 0

    def _choose(
        self, i: int, order: NDArray[Any], added: NDArray[Any], tries: int, shifted: bool = True
    ) -> NDArray[Any]:
        """Which of the groups in `order` to leave out next; none if no more is to be tried.

        Args:
            i: the item.
            order: groups, `(groups,)`, the first ones to be left out first.
            added: what each adds to the response, `(groups,)`.
            tries: of one group.
            shifted: whether another try leaves out the next group of the order.
        """
        tried = int(self.tried[i])
        allowed = int((np.cumsum(added) <= float(self.slack[i])).sum())
        n = 1 if tried else max(1, min(allowed, int(self.cut[i]), len(order) - 1))
        if tried >= min(tries, len(order)) or len(order) < 2:
            return order[:0]
        self.cut[i] = n
        start = tried if shifted else 0
        return order[start : start + n]

    def extra_variables(self) -> dict[str, Variable]:
        """Those of any level, and the size of the support."""
        differs = self.record.best_stimulus != GREY
        frames = array_of(differs.any(dim=2))
        first = frames.argmax(axis=1)
        last = frames.shape[1] - 1 - frames[:, ::-1].argmax(axis=1)
        used = np.where(frames.sum(axis=1) > 0, last - first + 1, 0)
        return {
            **super().extra_variables(),
            "columns_used": Variable(("item",), array_of(differs.any(dim=1).sum(dim=1)), "columns"),
            "frames_used": Variable(("item",), used, "frames"),
        }


def from_the_ends(
    added: NDArray[Any], first: int, last: int, *, other: bool = False
) -> NDArray[np.int64]:
    """Frames of a stretch in an order in which a stretch is left at any time.

    The end that adds less comes first.

    Args:
        added: what each frame adds, `(frames,)`.
        first: frame of the stretch.
        last: frame of the stretch.
        other: begin with the other end.
    """
    order = []
    while first <= last:
        from_start = (added[first] <= added[last]) != other
        other = False
        order.append(first if from_start else last)
        first, last = (first + 1, last) if from_start else (first, last - 1)
    return np.array(order, np.int64)
