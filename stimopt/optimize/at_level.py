"""The stimulus nearest to grey that drives a cell to a level between its floor and its ceiling."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from stimopt import expect
from stimopt.items import Item
from stimopt.networks.model import ResponseModel
from stimopt.optimize import penalties
from stimopt.optimize.ceiling import CEILING, FLOOR, ResponseRange, grey_objective
from stimopt.optimize.objective_module import ObjectiveModule
from stimopt.optimize.record import StopReason
from stimopt.optimize.region import (
    Fall,
    RegionSteps,
    StepsToRegionOptimum,
    from_grey,
    nearest_to_grey,
)
from stimopt.optimize.steps import descend
from stimopt.optimize.sums import length
from stimopt.optimize.terms import ACTIVITY, GREY_LOSS, MULTIPLIER, VIOLATION, Terms, with_total
from stimopt.protocol import GREY, Protocol
from stimopt.results import Result, Variable, read
from stimopt.results.items import readings_of, rows_by_cell
from stimopt.results.variables import array_of
from stimopt.storage.identity import as_json, digest

FIRST_LIMIT = 0.05
"""Steps from the ceiling: with longer ones some items leave for a worse optimum."""
AIM = 0.003
"""The level aimed at is higher than the promised one by this part of the range: steps come to it
from both sides, and the best iterate is one that reaches it."""
CORRECTION, LARGEST_EXTRA = 0.2, 0.1
"""Part of what is missing that is asked for on top at the next step, and the most of it in all, as
a part of the range."""
WITHIN = 0.01
"""A rung of a ladder exceeds its level by no more than this part of the range."""
LEVEL_STEPS = 100
"""Steps from the ceiling to a level."""
SMALLEST = 1e-12
"""Multiplier, so that the gradient of the response can be had from that of the Lagrangian."""
ROUNDING = 1e-5
"""Part of the range by which a level may be missed when it is simulated again."""


class GreyestAtLevel(StepsToRegionOptimum, ObjectiveModule):
    """Minimises sum (x - 0.5)^2 subject to objective(x) >= level, and x in [0, 1].

    The level lies a fraction of the way from the objective at grey to the ceiling, or for a
    negative fraction to the floor. What is optimised is the Lagrangian

        sum (x - 0.5)^2 + m (level - objective(x)),

    whose optimum within a region is known for every multiplier m, and m is the one at which it
    meets the level: the band of `stimopt.optimize.band` with one lower bound, solved exactly. The
    best iterate is the greyest that meets the level.

    A cell that no stimulus drives beyond its response at grey has no such level. Its item stays
    grey and says so as its reason to stop.
    """

    kind = "artificial"
    usual_steps = LEVEL_STEPS
    needs_floor: ClassVar[bool] = False
    fraction: Tensor
    at_grey: Tensor
    span: Tensor
    level: Tensor
    highest: Tensor
    multiplier: Tensor
    extra: Tensor

    def __init__(
        self,
        network: ResponseModel,
        cell_types: str | list[str],
        protocol: Protocol | None,
        fractions: Sequence[float],
        within: float,
        ceiling: str | Path | Result | None,
        anneal: int,
        *,
        sign: Literal[1, -1] = 1,
        variants: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        extremes = _range_of(ceiling)

        def rows_of(items: Sequence[Item]) -> list[int]:
            bounds = [FLOOR if sign * fraction < 0 else CEILING for fraction in fractions]
            return _find_rows(extremes, network, items, bounds * (len(items) // len(bounds)))

        def start(items: Sequence[Item], n_frames: int) -> Tensor:
            stimulus = torch.as_tensor(extremes["stimulus"][rows_of(items)])
            shape = (len(items), n_frames, network.lattice.n_columns)
            advice = "seek the ceiling with the same t_stim and network"
            expect.shape("stimuli of the ceiling", stimulus, shape, advice)
            return stimulus

        if variants is None:
            variants = [f"level {f:g}" for f in fractions] if len(fractions) > 1 else [""]
        super().__init__(
            network,
            cell_types,
            protocol,
            sign=sign,
            variants=variants,
            start=start,
            optimizer=descend,
            **options,
        )
        self._extremes, self._rows = extremes, rows_of(self.items)
        self._require_same_ceiling()
        self._set_levels(fractions, within)
        self.region = RegionSteps(
            self.luminance().detach(), Fall(anneal, FIRST_LIMIT), momentum=0.9
        )
        self._settings |= {
            "fractions": list(fractions),
            "anneal": anneal,
            "ceiling_sha256": digest(self.at_grey, self.span),
        }

    def _require_same_ceiling(self) -> None:
        """Reject a ceiling of something else than these items make large."""
        extremes, advice = self._extremes, "seek the ceiling with the same options"
        same = (extremes.network_hash, extremes.protocol) == (
            self.network.content_hash,
            self.protocol,
        )
        expected, got = "this network under this protocol", "another network or protocol"
        expect.that(same, f"a ceiling of {expected}", f"one of {got}", advice)
        own = as_json(self.settings())
        for name in ("objective", "temperature", "pool", "parametrization"):
            found, wanted = extremes.config.get(name), own[name]
            # The chunks of a campaign that differ in a setting have none together.
            same = name not in extremes.config or found == wanted
            expect.that(same, f"a ceiling with {name} = {wanted}", found, advice)
        readings = readings_of(extremes)
        for item, row in zip(self.items, self._rows, strict=True):
            found, wanted = (
                ", ".join(reading.cell_type for reading in each)
                for each in (readings[row], item.readings)
            )
            same = readings[row] == item.readings
            expect.that(same, f"a ceiling of responses of {wanted}", found, advice)

    def _set_levels(self, fractions: Sequence[float], within: float) -> None:
        """The level of each item, which lies on the way from its response at grey."""
        n = len(self.items)
        fraction = torch.tensor(list(fractions) * (n // len(fractions)))
        self.set_signs(self.signs * torch.where(fraction < 0, -1, 1))
        at_grey = grey_objective(self)
        extreme = self.signs * torch.as_tensor(self._extremes["objective"][self._rows])
        span = (extreme - at_grey).to(self.stimulus)
        flat = ~(span > 0)
        expect.that(
            not bool(flat.all()),
            "a response that some stimulus drives beyond the one at grey",
            "none"
            if bool(torch.isfinite(extreme - at_grey).any())
            else "voltages that are not finite",
            "check that photoreceptors reach the cell within the stimulus, and that the network is "
            "stable at protocol.dt",
        )
        self._stay_grey(flat)
        span = torch.where(flat, 1.0, span)
        for name, value in (
            ("fraction", fraction),
            ("at_grey", at_grey),
            ("span", span),
            ("level", at_grey + fraction.abs() * span),
            ("highest", at_grey + (fraction.abs() + within) * span),
            ("multiplier", torch.ones(n)),
            ("extra", torch.zeros(n)),
        ):
            self.register_buffer(name, value)

    @staticmethod
    def require(*arguments: Any, **own: Any) -> None:
        """Reject values of a subclass's own options; its parameters are their names.

        Raises:
            ValueError: for a value out of range.
        """

    @classmethod
    def range_fit(
        cls,
        network: ResponseModel,
        cell_types: str | list[str] = "T4c",
        protocol: Protocol | None = None,
        **options: Any,
    ) -> ResponseRange:
        """The fit of the ceiling, for a ladder of the floor too, that comes before this one.

        Args:
            network: the frozen network.
            cell_types: as for the class.
            protocol: as for the class.
            **options: as for the class and for `ResponseRange`. Those of the class alone are
                checked here, before the time is spent.

        Raises:
            ValueError: as for the class and for `ResponseRange`.
        """
        names = inspect.signature(cls.require).parameters
        cls.require(**{name: options.pop(name) for name in [*options] if name in names})
        return ResponseRange(network, cell_types, protocol, floor=cls.needs_floor, **options)

    def aim(self, level: Tensor, *, at_grey: Tensor, fall: Fall) -> None:
        """Aim at other levels, which the start need not reach, with steps of another size.

        Args:
            level: of the objective, `(items,)`.
            at_grey: objective that the way to it is measured from, `(items,)`.
            fall: of the limit of a step.
        """
        self.level.copy_(level)
        self.at_grey.copy_(at_grey)
        self.record.best_score.fill_(torch.inf)
        self.region.fall = fall

    @property
    def flat(self) -> Tensor:
        """Items that nothing drives beyond their response at grey, `(items,)`, bool."""
        return self.record.stop_reason == StopReason.CONSTANT.code

    @torch.no_grad()
    def _stay_grey(self, flat: Tensor) -> None:
        """Stop items `(items,)` whose response cannot be raised, and report them."""
        if not bool(flat.any()):
            return
        self.stimulus[flat] = GREY
        self.record.best_stimulus[flat] = GREY
        self.record.stop(flat, StopReason.CONSTANT)
        rank_zero_warn(
            f"expected responses that some stimulus drives beyond those at grey, got none for "
            f"{', '.join(self.labels_of(flat))}; their stimuli stay grey"
        )

    def losses(self, luminance: Tensor, responses: Tensor) -> Terms:
        """The Lagrangian and its parts, each `(items,)`, and how far the level is missed.

        The distance to grey passes no gradient: its part of a step is exact.
        """
        missing = self.level - self.objective_values(responses)
        self._missing = missing.detach()  # `region_optimum` needs it again
        distance = penalties.grey_sum(luminance.detach())
        loss = {ACTIVITY: self.multiplier * missing, GREY_LOSS: distance}
        return {
            **with_total(loss),
            VIOLATION: self._missing / self.span,
            MULTIPLIER: self.multiplier.clone(),
        }

    def score(self, terms: Terms) -> Tensor:
        """Distance to grey of what meets the level, infinite for what does not."""
        over = -terms[VIOLATION] * self.span
        met = (over >= 0) & (self.level + over <= self.highest)
        return torch.where(met, terms[GREY_LOSS], torch.inf)

    def driven(self) -> Tensor:
        """The objective at noise: at the ceiling, black and white, all paths may be silent."""
        return self.objective_at_noise()

    def region_optimum(self, gradient: Tensor, luminance: Tensor) -> Tensor:
        """The nearest stimulus to grey at which the linear response meets the level."""
        direction, missing = self.linear_response(gradient)
        factor = nearest_to_grey(direction, luminance, missing)
        self.multiplier.copy_((2 * factor).clamp(min=SMALLEST))
        return from_grey(factor, direction)

    def linear_response(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Mean gradient of the objective, `(items, frames, columns)`, and what the level lacks.

        Args:
            gradient: of the total loss.
        """
        pull = -gradient / self.multiplier[:, None, None]
        direction = self.region.mean_direction(pull) * length(pull)[:, None, None]
        missing = self._missing + AIM * self.span
        # A linear response promises more than the true one gives where borders of regions are near:
        # what is missing again and again is asked for on top.
        extra = (
            (self.extra + CORRECTION * missing).clamp(min=0.0).minimum(LARGEST_EXTRA * self.span)
        )
        self.extra.copy_(extra)
        return direction, missing + extra

    def extra_variables(self) -> dict[str, Variable]:
        """The level and whether it is met by the best iterate, simulated anew; the ceiling."""
        best = self.record.best_stimulus
        with torch.no_grad():
            values = self.objective_values(self.respond(best))
        signs, objective = self.signs.to(values), "objective"
        reached = ((values - self.at_grey) / self.span).masked_fill(self.flat, torch.nan)
        rounding = ROUNDING * self.span
        met = (values > self.level - rounding) & (values < self.highest + rounding) & ~self.flat
        extreme = self._extremes["objective"][self._rows]
        return {
            "sign": Variable(("item",), array_of(self.signs)),
            "fraction": Variable(("item",), array_of(self.fraction), "of the way from grey"),
            "fraction_reached": Variable(("item",), array_of(reached), "of the way from grey"),
            "level_met": Variable(("item",), array_of(met)),
            "objective": Variable(("item",), array_of(signs * values), objective),
            "grey_objective": Variable(("item",), array_of(signs * self.at_grey), objective),
            "ceiling": Variable(("item",), extreme, objective),
            "grey_distance": Variable(
                ("item",), array_of(penalties.grey_sum(best)), "sum of squares"
            ),
            **{
                f"ceiling_{name}": Variable(("item",), self._extremes[name][self._rows])
                for name in ("start_spread", "optimality_residual")
            },
        }


def _range_of(ceiling: str | Path | Result | None) -> Result:
    """The result of `ResponseRange` that is passed or read."""
    advice = "pass the result of stimopt.fit(EfficientGenerator.range_fit(...)) as ceiling"
    expect.that(ceiling is not None, "the ceiling of the cells", "none", advice)
    assert ceiling is not None
    result = ceiling if isinstance(ceiling, Result) else read(ceiling)
    fits = isinstance(result, Result) and result.kind == "range"
    expect.that(fits, "the result of a ResponseRange", "another file", "seek the ceiling first")
    assert isinstance(result, Result)
    return result


def _find_rows(
    extremes: Result, network: ResponseModel, items: Sequence[Item], bounds: Sequence[str]
) -> list[int]:
    """Row of the extreme that the level of each item lies on the way to."""
    rows = rows_by_cell(extremes)
    of_row = list(zip(extremes["seed"], extremes["bound"], strict=True))
    pairs = zip(extremes["bound"], extremes["cell_type"], strict=True)
    present = ", ".join(sorted({f"{bound} of {name}" for bound, name in pairs}))
    found = []
    for item, bound in zip(items, bounds, strict=True):
        of_cell = rows.get(item.readings[0], [])
        fitting = [row for row in of_cell if of_row[row] == (item.seed, bound)]
        expect.that(
            fitting,
            f"the {bound} of {item.cell_type} of network {network.names[item.network]}, seed "
            f"{item.seed}, in column u={item.u}, v={item.v}",
            f"a range with {present}",
            "seek it with ResponseRange, with floor=True for the floor",
        )
        found.append(fitting[0])
    return found
