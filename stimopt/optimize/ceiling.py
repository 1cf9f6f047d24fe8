"""The ceiling of a cell: the largest response that any stimulus in [0, 1] gives; and its floor."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stimopt import expect
from stimopt.items import Item, label_items
from stimopt.networks.model import ResponseModel
from stimopt.optimize.objective_module import ObjectiveModule
from stimopt.optimize.record import StopReason
from stimopt.optimize.region import (
    Fall,
    RegionSteps,
    Rounds,
    StepsToRegionOptimum,
    from_grey,
    largest_size,
    optimality_residual,
)
from stimopt.optimize.starts import (
    NATURALISTIC,
    kind_of_start,
    naturalistic_peak,
    starting_stimulus,
)
from stimopt.optimize.steps import descend
from stimopt.optimize.terms import ACTIVITY, Terms, with_total
from stimopt.protocol import GREY, Protocol
from stimopt.results import Result, Variable
from stimopt.results.items import select_items
from stimopt.results.variables import array_of

CEILING, FLOOR = "ceiling", "floor"
RANGE_STARTS = ("grey", "noise")
RANGE_STEPS, RANGE_LIMIT = 50, 0.2
"""Usual steps until the limit of a step has fallen to nothing, and the limit in the first one: with
0.4 what a good start has of the optimum is lost (`benchmarks/optimizers.md`)."""
TRIAL = 5
"""Steps after which the order of the starts is that of their ceilings, nearly always."""
ROUNDS = Rounds(Fall(20, 0.1), least=0.005)
"""Rounds after that; the least improvement is a part of the range."""


class Extreme(NamedTuple):
    """What one item of a fit of `ResponseRange` seeks."""

    bound: str
    start: str


class ResponseRange(StepsToRegionOptimum, ObjectiveModule):
    """Seeks the largest response a cell can give to any stimulus, and with `floor` the lowest too.

    There is no penalty and no weight. Every start is an item of the fit. After a trial the best one
    of each cell goes on and the others stop; the result says how far apart they were then, and
    whether the best has ended where nothing rises.

    Args:
        network: the frozen network.
        cell_types: a name, several (a list, or with commas between), or `all`.
        protocol: pre-stimulus, step, baseline and read-out window.
        starts: `grey`, `noise`, and `naturalistic:RESULT.h5`, the winner in a search result up to
            its peak.
        floor: seek the lowest response too.
        sign: -1 seeks the lowest response alone.
        anneal: steps until the limit of a step has fallen to nothing. Rounds of 20 steps follow; an
            item stops after a round that raised it by 0.5 % of its range or less.
        trial: steps that all starts are given; from then on only the best one of each cell goes on.
            With 0, or as many as `anneal` or more, all go on to the end, for twice the gradients
            and now and then a higher ceiling.
        **options: as for `ObjectiveModule`.

    Raises:
        ValueError: for names, durations, starts or shapes that do not fit.

    Example:
        >>> import stimopt
        >>> network = stimopt.builtin_network(extent=3)
        >>> ceiling = stimopt.fit(stimopt.ResponseRange(network, "T4c", t_stim=0.1))
        >>> bool(ceiling["objective"][0] > ceiling["grey_objective"][0])
        True
    """

    kind = "range"
    usual_steps = RANGE_STEPS + 9 * ROUNDS.fall.n
    at_grey: Tensor
    tried: Tensor

    def __init__(
        self,
        network: ResponseModel,
        cell_types: str | list[str] = "T4c",
        protocol: Protocol | None = None,
        *,
        starts: Sequence[str] = RANGE_STARTS,
        floor: bool = False,
        sign: Literal[1, -1] = 1,
        anneal: int = RANGE_STEPS,
        trial: int = TRIAL,
        **options: Any,
    ) -> None:
        protocol = Protocol() if protocol is None else protocol
        listed = not isinstance(starts, str)
        once = listed and len(starts) > 0 and len(set(starts)) == len(starts)
        expect.that(once, "a list of starts, once each", starts, "['grey', 'noise'] is usual")
        bounds = (FLOOR,) if sign == -1 else (CEILING, FLOOR) if floor else (CEILING,)
        extremes = [Extreme(bound, start) for bound in bounds for start in starts]

        def first(items: Sequence[Item], n_frames: int) -> Tensor:
            cells = items[:: len(extremes)]
            parts = []
            for start in starts:
                if start.startswith(NATURALISTIC):
                    part = naturalistic_peak(start, network, cells, protocol.dt, n_frames)
                else:
                    part = starting_stimulus(network, cells, n_frames, protocol.dt, start)
                parts.append(part)
            return torch.stack(parts * len(bounds), dim=1).flatten(0, 1)

        names = [f"{bound} {kind_of_start(start)}" for bound, start in extremes]
        super().__init__(
            network,
            cell_types,
            protocol,
            sign=sign,
            variants=names,
            start=first,
            optimizer=descend,
            **options,
        )
        self.extremes = extremes * (len(self.items) // len(extremes))
        self.set_signs(torch.tensor([1 if e.bound == CEILING else -1 for e in self.extremes]))
        self.register_buffer("at_grey", grey_objective(self), persistent=False)
        expect.whole("trial in steps", trial, f"{TRIAL} is usual", at_least=0)
        self._starts = tuple(starts)
        self._trial = trial if len(starts) > 1 and trial < anneal else 0
        start, reference = self.luminance().detach(), -self.at_grey
        fall = Fall(anneal, RANGE_LIMIT)
        self.region = RegionSteps(start, fall, rounds=ROUNDS, reference=reference)
        self.register_buffer("tried", torch.full_like(reference, torch.inf))
        self._settings |= {
            "starts": [kind_of_start(start) for start in starts],
            "floor": floor,
            "anneal": anneal,
            "trial": self._trial,
        }

    def losses(self, luminance: Tensor, responses: Tensor) -> Terms:
        """The objective, `(items,)`, to be made large."""
        return with_total({ACTIVITY: -self.objective_values(responses)})

    def region_optimum(self, gradient: Tensor, luminance: Tensor) -> Tensor:
        """Black or white, by the sign of the gradient; grey where nothing depends on the pixel.

        An item that depends on no pixel at all goes to its inverse, where other rectifiers open.
        """
        direction = self.region.mean_direction(-gradient)
        felt = direction.flatten(1).any(dim=1)[:, None, None]
        return torch.where(felt, from_grey(largest_size(direction), direction), 1 - luminance)

    def stop_settled(self) -> None:
        """Stop the starts that are behind another one of their cell after the trial, too."""
        score, running = self.record.best_score, self.record.running
        if self._trial and int(self.region.done) == self._trial:
            self.tried.copy_(score)
            of_cell = score.masked_fill(~running, torch.inf).reshape(-1, len(self._starts))
            places = torch.arange(len(self._starts), device=score.device)
            behind = places != of_cell.argmin(dim=1, keepdim=True)
            self.record.stop(behind.flatten(), StopReason.BEHIND)
        super().stop_settled()

    def driven(self) -> Tensor:
        """The objective at noise: at one start, such as grey, all paths may be silent."""
        return self.objective_at_noise()

    def result(self) -> Result:
        """The best of the starts for every cell, and how far apart they were after the trial."""
        scores, tried = (-each.cpu().numpy() for each in (self.record.best_score, self.tried))
        # The starts of a cell and bound follow each other.
        groups = np.arange(len(self.items)).reshape(-1, len(self._starts))
        best = [int(rows[np.argmax(scores[rows])]) for rows in groups]
        result = select_items(super().result(), best)
        floor = len({each.bound for each in self.extremes}) > 1
        items = [
            replace(self.items[i], variant=self.extremes[i].bound if floor else "") for i in best
        ]
        labels = np.array(label_items(items, self.network.names))
        compared = tried if np.isfinite(tried).any() else scores  # the fit may have ended before
        spread = np.array([_spread(compared[rows]) for rows in groups])
        own = {
            "label": Variable(("item",), labels),
            "bound": Variable(("item",), np.array([self.extremes[i].bound for i in best])),
            "start": Variable(("item",), np.array([self.extremes[i].start for i in best])),
            "start_spread": Variable(("item",), spread, "objective"),
        }
        return dataclasses.replace(result, variables={**result.variables, **own})

    def extra_variables(self) -> dict[str, Variable]:
        """Objective at grey and at the best iterate, with the residual there."""
        pixels = self.parametrization.parameters(self.record.best_stimulus)
        best = pixels.clone().requires_grad_()
        with torch.enable_grad():
            values = self.objective_values(self.respond(self.parametrization.luminance(best)))
            (gradient,) = torch.autograd.grad(values.sum(), best)
        signs = self.signs.to(values)
        return {
            "sign": Variable(("item",), array_of(self.signs)),
            "objective": Variable(("item",), array_of(signs * values), "objective"),
            "grey_objective": Variable(("item",), array_of(signs * self.at_grey), "objective"),
            "optimality_residual": Variable(
                ("item",), array_of(optimality_residual(gradient, best)), "part of the gradient"
            ),
        }


def _spread(scores: NDArray[Any]) -> float:
    """Largest less smallest of the finite ones; NaN if there is none."""
    finite = scores[np.isfinite(scores)]
    return float(np.ptp(finite)) if len(finite) else np.nan


@torch.no_grad()
def grey_objective(module: ObjectiveModule) -> Tensor:
    """Objective of every item at grey, `(items,)`; the sign is in it."""
    grey = torch.full_like(module.record.best_stimulus, GREY)
    return module.objective_values(module.respond(grey))
