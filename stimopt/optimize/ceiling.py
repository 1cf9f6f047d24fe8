"""The ceiling of a cell: the largest response that any stimulus in [0, 1] gives; and its floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stimopt import expect
from stimopt.items import Item
from stimopt.networks.model import ResponseModel
from stimopt.optimize.objective_module import ObjectiveModule
from stimopt.optimize.region import (
    Fall,
    RegionSteps,
    Rounds,
    StepsToRegionOptimum,
    from_grey,
    largest_size,
    optimality_residual,
)
from stimopt.optimize.side_by_side import Places
from stimopt.optimize.starts import (
    NATURALISTIC,
    kind_of_start,
    naturalistic_peak,
    noise,
    starting_stimulus,
)
from stimopt.optimize.steps import descend
from stimopt.optimize.sums import TINY, length
from stimopt.optimize.terms import ACTIVITY, Terms, with_total
from stimopt.protocol import GREY, Protocol
from stimopt.results import Variable
from stimopt.results.variables import array_of
from stimopt.storage.identity import digest

CEILING, FLOOR = "ceiling", "floor"
RANGE_STARTS = ("grey", "noise")
RANGE_STEPS, RANGE_LIMIT = 50, 0.2
"""Usual steps until the limit of a step has fallen to nothing, and the limit in the first one: with
0.4 what a good start has of the optimum is lost (`benchmarks/optimizers.md`)."""
TRIAL = 10
"""Steps that all starts are given before, side by side: then a ceiling takes sixty and rounds."""
SEEDS_APART = 1_000_003
"""Between the seeds of the noise at the places of one cell."""
ROUNDS = Rounds(Fall(20, 0.1), least=0.005)
"""Rounds after that; the least improvement is a part of the range."""


class ResponseRange(StepsToRegionOptimum, ObjectiveModule):
    """Seeks the largest response a cell can give to any stimulus, and with `floor` the lowest too.

    There is no penalty and no weight. The starts are tried side by side, around the cell and cells
    of its type around it (`stimopt.optimize.side_by_side`), where noise of other seeds fills the
    places that are left; on a small lattice they are tried one after the other. The best one goes
    on. The result says how far apart the starts were then, and whether the best has ended where
    nothing rises.

    Args:
        network: the frozen network.
        cell_types: a name, several (a list, or with commas between), or `all`.
        protocol: pre-stimulus, step, baseline and read-out window.
        starts: `grey`, `noise`, and `naturalistic:RESULT.h5`, the winner in a search result up to
            its peak. The first has most room.
        floor: seek the lowest response too.
        sign: -1 seeks the lowest response alone.
        anneal: steps until the limit of a step has fallen to nothing. Rounds of 20 steps follow; an
            item stops after a round that raised it by 0.5 % of its range or less.
        trial: steps that all starts are given before; from then on only the best one of each cell
            goes on. With 0 the first start alone is followed.
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
    chosen: Tensor

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
        expect.whole("trial in steps", trial, f"{TRIAL} is usual", at_least=0)

        def drawn(start: str, items: Sequence[Item], n_frames: int) -> Tensor:
            if start.startswith(NATURALISTIC):
                return naturalistic_peak(start, network, items, protocol.dt, n_frames)
            return starting_stimulus(network, items, n_frames, protocol.dt, start)

        super().__init__(
            network,
            cell_types,
            protocol,
            sign=sign,
            variants=bounds if floor else ("",),
            start=partial(drawn, starts[0]),
            optimizer=descend,
            **options,
        )
        self.bounds = bounds * (len(self.items) // len(bounds))
        self.set_signs(torch.tensor([1 if bound == CEILING else -1 for bound in self.bounds]))
        self.register_buffer("at_grey", grey_objective(self), persistent=False)
        start, n_frames = self.luminance().detach(), self.stimulus.shape[1]
        others = [drawn(other, self.items, n_frames) for other in starts[1:]]
        self._given = [start.clone(), *others]
        self.starts = [kind_of_start(start) for start in starts]
        """Kinds of the starts."""
        self._trial = trial
        reference, fall = -self.at_grey, Fall(anneal, RANGE_LIMIT)
        self.region = RegionSteps(start, fall, rounds=ROUNDS, reference=reference)
        tried = torch.full((len(self.items), len(starts)), torch.nan)
        self.register_buffer("tried", tried)
        self.register_buffer("chosen", torch.zeros(len(self.items), dtype=torch.int64))
        self._settings |= {
            "starts": self.starts,
            "starts_sha256": digest(*self._given),
            "floor": floor,
            "anneal": anneal,
            "trial": trial,
        }

    def begin(self) -> None:
        """Try the starts before the first step."""
        if self._trial and self._given and bool(self.record.running.any()):
            with self.network.busy():
                self._try_starts()

    @torch.no_grad()
    def _try_starts(self) -> None:
        """Give all starts a few steps, and go on from the best one of every item."""
        places = Places(self.network, self.items).to(self.device)
        numbers = torch.arange(places.column.shape[1], device=self.device)
        there = numbers < places.count[:, None]
        n_starts = places.count.clamp(min=len(self._given))
        best, start = torch.full_like(self.at_grey, -torch.inf), self.stimulus.detach().clone()
        for batch in range(int((n_starts / places.count).ceil().max())):
            number = batch * places.count[:, None] + numbers
            tried = there & (number < n_starts[:, None])
            together = places.together(map(self._starts, number.unbind(1)))
            self.stimulus.copy_(self.parametrization.parameters(together))
            for _ in range(self._trial):
                self._step_apart(places)
            values = self._values_at(places, self.luminance()).masked_fill(~tried, -torch.inf)
            values = torch.where(values.isnan(), -torch.inf, values)
            for each, value in zip(number.unbind(1), values.unbind(1), strict=True):
                is_given = (each < len(self._given)) & value.isfinite()
                self.tried[is_given, each[is_given]] = value[is_given].to(self.tried)
            value, place = values.max(dim=1)
            better = (value > best) & self.record.running
            best = torch.where(better, value, best)
            ahead = number.gather(1, place[:, None])[:, 0]
            self.chosen.copy_(torch.where(better, ahead, self.chosen))
            found = places.apart(self.stimulus, place)
            start = torch.where(better[:, None, None], found, start)
            self.region.restart()
        self.stimulus.copy_(start)
        self._given = []

    def _starts(self, number: Tensor) -> Tensor:
        """The start of that number of every item, `(items, frames, columns)`.

        After those given comes noise of other seeds.
        """
        number = number.cpu()
        shown = torch.empty_like(self._given[0])
        for n, given in enumerate(self._given):
            shown[number == n] = given[number == n]
        more = torch.where(number >= len(self._given))[0].tolist()
        if more:
            seeds = {i: self.items[i].seed + int(number[i]) * SEEDS_APART for i in more}
            seeded = [replace(self.items[i], seed=seed % 2**63) for i, seed in seeds.items()]
            shown[more] = noise(seeded, *shown.shape[1:]).to(shown)
        return shown.to(self.stimulus)

    def _step_apart(self, places: Places) -> None:
        """One step, in which the starts at all places have gradients of one length."""
        pixels = self.stimulus.detach()
        with torch.enable_grad():
            leaf = pixels.clone().requires_grad_()
            values = self._values_at(places, self.parametrization.luminance(leaf))
            (gradient,) = torch.autograd.grad(values.sum(), leaf)
        # Where one place has no numbers, the others still have.
        gradient, pull = gradient.nan_to_num(0.0, 0.0, 0.0), torch.zeros_like(gradient)
        for place in range(places.column.shape[1]):
            own = gradient * places.owned(place)[:, None, :]
            pull += own / length(own).clamp(min=TINY)[:, None, None]
        self.stimulus.add_(self.region.step(pixels, self.region_optimum(-pull, pixels)))
        self.project_()

    def _values_at(self, places: Places, luminance: Tensor) -> Tensor:
        """The objective at every place, `(items, places)`."""
        responses = self.respond(luminance, places.readout)
        each = responses.chunk(places.column.shape[1], dim=1)
        return torch.stack([self.objective_values(response) for response in each], dim=1)

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

    def driven(self) -> Tensor:
        """The objective at noise: at one start, such as grey, all paths may be silent."""
        return self.objective_at_noise()

    def extra_variables(self) -> dict[str, Variable]:
        """Objective at grey and at the best iterate, with the residual there."""
        pixels = self.parametrization.parameters(self.record.best_stimulus)
        best = pixels.clone().requires_grad_()
        with torch.enable_grad():
            values = self.objective_values(self.respond(self.parametrization.luminance(best)))
            (gradient,) = torch.autograd.grad(values.sum(), best)
        signs = self.signs.to(values)
        names = [self.starts[n] if n < len(self.starts) else "noise" for n in self.chosen.tolist()]
        spread = [_spread(tried) for tried in array_of(self.tried)]
        return {
            "sign": Variable(("item",), array_of(self.signs)),
            "bound": Variable(("item",), np.array(self.bounds)),
            "start": Variable(("item",), np.array(names)),
            "start_spread": Variable(("item",), np.array(spread), "objective"),
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
