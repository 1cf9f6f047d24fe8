"""The greyest stimulus whose responses stay within a band."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from stimopt.optimize import penalties
from stimopt.optimize.band import Band, largest_curvature, off_the_ends
from stimopt.optimize.module import StimulusModule
from stimopt.optimize.record import StopReason
from stimopt.optimize.sums import length
from stimopt.optimize.terms import (
    ACTIVITY,
    GREY_LOSS,
    MULTIPLIER,
    STIFFNESS,
    VIOLATION,
    Terms,
    with_total,
)
from stimopt.protocol import GREY

NEAR_GREY = 20
"""Step at which the curvature is measured again: that of the start may be thirty times too large
near grey, where the multipliers would then not get ahead."""
ENOUGH, REST, GREYER = 150, 25, 0.99
"""From step 150 on an item stops once its greyest stimulus within the band is less than 1 % greyer
than that of 25 steps before. Most do so at once; a few come within the band only then."""
MUCH_GREYER = 0.1
"""Of the distance of the start: so near to grey nothing is found in passing."""
AGAIN, WAY = 225, 60
"""An item that has found nothing within its band by step 225 starts anew, and in step i from there
is drawn to a point between grey and its start, with (1 - i / 60)^2 of the start's contrast. Drawn
to grey at once it left the place where its cells are active: where no small change reaches the
response, it does not come back. Other items would gain nothing by it."""


class GreyestWithinBand(StimulusModule):
    """Minimises sum (x - 0.5)^2 subject to a band on the responses, and x in [0, 1].

    A subclass sets `self.band` before a fit. The best iterate is the greyest that meets the band.
    The gradient is divided by the item's curvature, so that a step of 1 suits every item; pure
    gradient steps suffice because the distance to grey is perfectly conditioned.
    """

    band: Band
    start: Tensor
    again: Tensor

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register_buffer("start", self.luminance().detach().clone(), persistent=False)
        self.register_buffer("again", torch.zeros(len(self.items), dtype=torch.bool))

    @property
    def found(self) -> Tensor:
        """Items that have found a greyer stimulus than the first steps from their start, bool."""
        passing = torch.where(self.again, AGAIN + WAY, NEAR_GREY)
        much_greyer = self.record.best_score < MUCH_GREYER * penalties.grey_sum(self.start)
        return much_greyer | (self.record.best_step > passing)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """As in any fit; items that have found nothing start anew first."""
        if self.global_step == AGAIN:
            self._start_again()
        return super().training_step(batch, batch_idx)

    @torch.no_grad()
    def _start_again(self) -> None:
        """Set items that have found nothing within their band back to their start."""
        self.again.copy_(self.record.running & ~self.found)
        if not bool(self.again.any()):
            return
        which, anew = self.again[:, None, None], self.parametrization.parameters(self.start)
        self.stimulus.copy_(torch.where(which, anew, self.stimulus))
        optimizer = cast("Optimizer", self.optimizers(use_pl_optimizer=False))
        for value in optimizer.state[self.stimulus].values():
            if isinstance(value, Tensor) and value.shape == self.stimulus.shape:
                value.masked_fill_(which, 0.0)  # such as momentum
        self.band.reset(self.again)
        self._measure_curvature(self._respond_again, off_the_ends(self.start))

    def losses(self, luminance: Tensor, responses: Tensor) -> Terms:
        """Distance to grey and the band's term, each `(items,)`, and how far the band is met."""
        self._off = self.band.deviation(responses)  # `on_before_optimizer_step` needs it again
        off = self._off.detach()
        loss = {ACTIVITY: self.band.term(self._off), GREY_LOSS: penalties.grey_sum(luminance)}
        return {
            **with_total(loss),
            VIOLATION: self.band.violation(off),
            MULTIPLIER: length(self.band.multiplier.mT),
            STIFFNESS: self.band.stiffness.clone(),
        }

    def score(self, terms: Terms) -> Tensor:
        """Distance to grey of what meets the band, infinite for what does not."""
        return torch.where(terms[VIOLATION] == 0, terms[GREY_LOSS], torch.inf)

    def observe(self) -> Terms:
        """Stop items that are within their band and no longer become greyer."""
        terms = super().observe()
        if self.global_step >= ENOUGH and self.global_step % REST == 0:
            before = self.score(self.record.history)[:-REST].amin(dim=0)
            settled = self.record.best_score > GREYER * before
            self.record.stop(settled & self.found, StopReason.PLATEAU)
        return terms

    def driven(self) -> Tensor:
        """The bounded responses themselves: at a start within the band its term has no gradient."""
        responses = self.respond(off_the_ends(self.luminance()))
        return torch.where(self.band.bounded, responses, 0.0).flatten(1).sum(dim=1)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Divide the gradient by each item's curvature; then its multipliers follow."""
        super().on_before_optimizer_step(optimizer)
        gradient, luminance = self.stimulus.grad, self.luminance().detach()
        assert gradient is not None  # as the method above has checked
        band, off = self.band, self._off.detach()
        multiplier = band.next_multiplier(off)
        pull = gradient - 2 * (luminance - GREY)
        if AGAIN <= self.global_step < AGAIN + WAY:
            contrast = (1 - (self.global_step - AGAIN) / WAY) ** 2 * self.again[:, None, None]
            gradient -= 2 * contrast * (self.start - GREY)
        gradient.div_(band.step_curvature[:, None, None])
        band.learn_curvature(pull, multiplier, self.record.running)
        band.update(off, multiplier, penalties.grey_sum(luminance), self.global_step)
        if self.global_step == NEAR_GREY:
            self._measure_curvature(self.respond, luminance)
        if self.global_step == AGAIN + NEAR_GREY and bool(self.again.any()):
            self._measure_curvature(self._respond_again, luminance)

    def begin(self) -> None:
        """Measure the curvature before the first step."""
        self._measure_curvature(self.respond, off_the_ends(self.luminance().detach()))

    def _respond_again(self, luminance: Tensor) -> Tensor:
        """Responses of all items, of which only those that started anew are simulated."""
        which = self.again & self.record.running
        return self._running_responses(self.respond, luminance, which)

    def _measure_curvature(self, respond: Callable[[Tensor], Tensor], luminance: Tensor) -> None:
        measured = largest_curvature(respond, luminance, self.band.bounded)
        # Where nothing is felt at this stimulus there is nothing to measure.
        self.band.curvature.copy_(torch.where(measured > 0, measured, self.band.curvature))
