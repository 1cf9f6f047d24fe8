"""A band: bounds on responses, per reading and frame, held by an augmented Lagrangian.

The constraint is -below <= d <= above for the deviation d of a response from its level, for every
reading and frame; an infinite bound is none. With a multiplier m and a stiffness rho, Powell,
Hestenes and Rockafellar's augmented Lagrangian adds

    psi(d) = sum (S(m + rho d)^2 - m^2) / (2 rho),
    S(z)   = max(z - rho above, 0) - max(-z - rho below, 0)

to what is minimised; S is also the next multiplier. Unlike a penalty, it meets the constraint at a
finite stiffness, so no weight is set by hand and the problem does not become ever stiffer (Nocedal
and Wright, Numerical Optimization, chapter 17). The stiffness is in units of the response's own
curvature, so that units and scales of cell types drop out.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from stimopt.optimize.sums import TINY, length, square_sum, total
from stimopt.protocol import GREY

MARGIN = 0.05
"""The bounds aimed at are closer than the promised ones by this fraction: the multiplier method
comes to the edge of the band from outside. With 0.02 the last items need 50 gradients more; what
each costs in greyness is in `benchmarks/optimizers.md`."""
FARTHER, LARGEST_MARGIN = 0.02, 0.3
"""Added to the margin in a period in which an item is outside though as stiff as it may be: it
oscillates at the edge, and would never be within."""
PERIOD = 5
"""Steps between two updates of the multipliers. With 10 the band is met later by some 80 gradients;
with 3 the multipliers run ahead of the stimulus and many items never meet it."""
FIRST_STIFFNESS = 40.0
"""Curvature of the band term over that of the distance to grey, at the start. With momentum 0.9,
which suits ratios up to some hundreds, 40 comes near the optimum in 100 steps."""
GROWTH, LARGEST_STIFFNESS = 1.5, 3000.0
PROGRESS = 0.5
"""A violation that did not fall below this multiple within a period stiffens the item: its
multipliers then move faster, and its steps get smaller, which settles it where kinks of the
response (cells that begin to release) make it oscillate."""
SETTLED = 0.9
"""Only once the distance to grey falls by less than to this multiple within a period: before that
a violation comes from moving, and stiffness would slow the way to grey."""
POWER_ITERATIONS = 8
"""They reach the largest curvature to within 10 %."""
PROBE = 0.5
"""Length of the step that measures it, spread over all pixels: far above rounding."""


class Band(nn.Module):
    """Bounds on the responses of items, their multipliers and stiffness.

    Usage, once a step: `deviation`, `term` into the loss; after the backward pass `learn_curvature`
    and `update`. The state is the module's own, so that a checkpoint contains it.

    Args:
        level: response that deviations are counted from, `(items, readings, frames)`.
        below: largest deviation below the level, of that shape; positive, infinite for no bound.
        above: largest deviation above it.
    """

    level: Tensor
    below: Tensor
    above: Tensor
    multiplier: Tensor
    stiffness: Tensor
    margin: Tensor
    curvature: Tensor
    _ratio_sum: Tensor
    _excess_before: Tensor
    _grey_before: Tensor

    def __init__(self, level: Tensor, below: Tensor, above: Tensor) -> None:
        super().__init__()
        zeros = torch.zeros(len(level))
        # Persistent, so that a resumed fit has the very bounds it began with.
        for name, value in (
            ("level", level),
            ("below", below),
            ("above", above),
            ("multiplier", torch.zeros_like(level)),
            ("stiffness", torch.full_like(zeros, FIRST_STIFFNESS)),
            ("margin", torch.full_like(zeros, MARGIN)),
            ("curvature", zeros),
            ("_ratio_sum", zeros.clone()),
            ("_excess_before", torch.full_like(zeros, torch.inf)),
            ("_grey_before", torch.full_like(zeros, torch.inf)),
        ):
            self.register_buffer(name, value)

    def reset(self, which: Tensor) -> None:
        """Forget what was learnt of items `(items,)`, but for their curvature."""
        self.multiplier.masked_fill_(which[:, None, None], 0.0)
        self._ratio_sum.masked_fill_(which, 0.0)
        self.stiffness.masked_fill_(which, FIRST_STIFFNESS)
        self.margin.masked_fill_(which, MARGIN)
        self._excess_before.masked_fill_(which, torch.inf)
        self._grey_before.masked_fill_(which, torch.inf)

    # -- within the loss --------------------------------------------------------------------------

    def deviation(self, responses: Tensor) -> Tensor:
        """Responses less the level where there is a bound, else zero; of their shape."""
        return torch.where(self.bounded, responses - self.level, 0.0)

    def term(self, off: Tensor) -> Tensor:
        """psi(d), `(items,)`; its gradient with respect to `off` is `next_multiplier`."""
        return band_term(self.multiplier, off, *self.aimed, self.rho)

    def violation(self, off: Tensor) -> Tensor:
        """Excess of the worst deviation over its bound, relative to it; 0 is met: `(items,)`."""
        return (self._ratio(off) - 1).clamp(min=0.0)

    @property
    def bounded(self) -> Tensor:
        """Readings and frames with a bound, `(items, readings, frames)`, bool."""
        return torch.isfinite(self.below) | torch.isfinite(self.above)

    @property
    def aimed(self) -> tuple[Tensor, Tensor]:
        """Bounds aimed at, below and above the level, each `(items, readings, frames)`."""
        part = (1 - self.margin)[:, None, None]
        return part * self.below, part * self.above

    @property
    def rho(self) -> Tensor:
        """Stiffness in units of multiplier over response, `(items,)`; 2 is the grey's curvature.

        An item that feels nothing has no curvature, and stands still with any stiffness.
        """
        return 2 * self.stiffness / self.curvature.masked_fill(self.curvature < TINY, 1.0)

    # -- after the backward pass ------------------------------------------------------------------

    def next_multiplier(self, off: Tensor) -> Tensor:
        """S(m + rho d) at the bounds aimed at, `(items, readings, frames)`."""
        return next_multiplier(self.multiplier, off, *self.aimed, self.rho)

    @property
    def step_curvature(self) -> Tensor:
        """Largest curvature of grey's distance and band term together, `(items,)`."""
        return 2 * (1 + self.stiffness)

    def learn_curvature(self, pull: Tensor, multiplier: Tensor, running: Tensor) -> None:
        """Raise the curvature where the gradient shows a larger one.

        |J^T m|^2 / |m|^2 is never above the largest curvature: where it exceeds the stored one,
        that was too small, because the response has become steeper on the way.

        Args:
            pull: gradient of the band term, `(items, frames, columns)`.
            multiplier: next multiplier, `(items, readings, frames)`.
            running: items still optimized, `(items,)`.
        """
        shown = square_sum(pull) / square_sum(multiplier.mT)
        shown = torch.where(running & torch.isfinite(shown), shown, 0.0)
        self.curvature.copy_(torch.maximum(self.curvature, shown))

    @torch.no_grad()
    def update(self, off: Tensor, multiplier: Tensor, grey: Tensor, step: int) -> None:
        """Every `PERIOD` steps take over the multipliers and stiffen what makes no progress.

        Args:
            off: deviations of this step, `(items, readings, frames)`.
            multiplier: next multiplier, of that shape.
            grey: distance to grey, `(items,)`.
            step: number of this step.
        """
        self._ratio_sum += self._ratio(off)
        if (step + 1) % PERIOD:
            return
        ratio = self._ratio_sum / PERIOD
        stiffness, excess = stiffen(
            self.stiffness, ratio, self.margin, self._excess_before, grey, self._grey_before
        )
        outside = (ratio > 1) & (self.stiffness == LARGEST_STIFFNESS)
        self.margin.add_(FARTHER * outside).clamp_(max=LARGEST_MARGIN)
        self.stiffness.copy_(stiffness)
        self.multiplier.copy_(multiplier)
        self._excess_before.copy_(excess)
        self._grey_before.copy_(grey)
        self._ratio_sum.zero_()

    def _ratio(self, off: Tensor) -> Tensor:
        """Worst deviation over its bound, `(items,)`; 1 is the edge of the band."""
        return torch.maximum(off / self.above, -off / self.below).flatten(1).amax(dim=1)


def next_multiplier(
    multiplier: Tensor, off: Tensor, below: Tensor, above: Tensor, stiffness: Tensor
) -> Tensor:
    """S(m + rho d): zero where the response is well within the band.

    Args:
        multiplier: `(items, readings, frames)`.
        off: deviations, of that shape.
        below: bounds below the level, of that shape.
        above: bounds above it.
        stiffness: rho, `(items,)`.
    """
    rho = stiffness[:, None, None]
    pressed = multiplier + rho * off
    return (pressed - rho * above).clamp(min=0.0) - (-pressed - rho * below).clamp(min=0.0)


def band_term(
    multiplier: Tensor, off: Tensor, below: Tensor, above: Tensor, stiffness: Tensor
) -> Tensor:
    """psi(d), `(items,)`; arguments as for `next_multiplier`, its gradient in `off`."""
    pressed = next_multiplier(multiplier, off, below, above, stiffness)
    return total((pressed.square() - multiplier.square()).mT) / (2 * stiffness)


def stiffen(
    stiffness: Tensor,
    ratio: Tensor,
    margin: Tensor,
    excess_before: Tensor,
    grey: Tensor,
    grey_before: Tensor,
) -> tuple[Tensor, Tensor]:
    """Stiffness for the next period and the excess of this one, each `(items,)`.

    Args:
        stiffness: of this period.
        ratio: mean over the period of the worst deviation over its bound.
        margin: by which the bound aimed at is closer.
        excess_before: excess over the bound aimed at, of the period before.
        grey: distance to grey at the end of the period.
        grey_before: the same of the period before.
    """
    excess = ratio - (1 - margin)
    stuck = (ratio > 1) & (excess > PROGRESS * excess_before) & (grey > SETTLED * grey_before)
    stiffer = (GROWTH * stiffness).clamp(max=LARGEST_STIFFNESS)
    return torch.where(stuck, stiffer, stiffness), excess


def trace_range(trace: Tensor, window: Tensor) -> Tensor:
    """Largest less smallest value within the window: `(items, ..., frames)` to `(items,)`."""
    highest = trace.masked_fill(~window, -torch.inf).flatten(1).amax(dim=1)
    return highest - trace.masked_fill(~window, torch.inf).flatten(1).amin(dim=1)


def off_the_ends(luminance: Tensor) -> Tensor:
    """Luminance with 0.2 % less contrast, `(items, frames, columns)`.

    Where a clip is exactly black, cells may rest exactly at the kink of their rectifier, where the
    slope is zero though any light would drive them; a little off it the slope is that of the cell.
    """
    return GREY + 0.998 * (luminance - GREY)


def largest_curvature(
    respond: Callable[[Tensor], Tensor], luminance: Tensor, bounded: Tensor
) -> Tensor:
    """Largest eigenvalue of J J^T, J = d response / d luminance where bounded, `(items,)`.

    By power iteration: J^T is the adjoint, J a difference of two responses.

    Args:
        respond: from luminance `(items, frames, columns)` to responses `(items, readings, frames)`.
        luminance: where to measure it.
        bounded: readings and frames that count, `(items, readings, frames)`, bool.
    """
    direction = bounded.to(luminance.dtype)
    with torch.no_grad():
        before = respond(luminance)
    for _ in range(POWER_ITERATIONS):
        with torch.enable_grad():
            leaf = luminance.clone().requires_grad_()
            (towards,) = torch.autograd.grad((respond(leaf) * direction).sum(), leaf)
        size = length(towards)[:, None, None]
        with torch.no_grad():
            after = respond(luminance + PROBE * towards / size)
        direction = torch.where(bounded, after - before, 0.0) / PROBE
    return square_sum(direction.mT)
