"""Steps toward the optimum of the linear region that a stimulus lies in.

The response r(x) of a rectifying network is piecewise affine in the stimulus x. Within one region,
with gradient g, what a fit seeks is known in closed form: it is

    x* = clip(1/2 + mu g, 0, 1),

with mu to infinity for the largest response; mu = w / 2c for the loss -w r + c |x - 1/2|^2; and the
mu at which r + g (x* - x) equals a level for the stimulus nearest to grey that reaches the level.
The region ends before x* is reached, so a step moves every pixel toward x* by no more than a limit
of luminance, and g is a running mean of unit gradients: both damp oscillations across the
borders of regions. The limit falls from a large part of the range to nothing along a cosine, so the
number of steps is chosen and no step length is. A step costs one gradient; no line is searched.

Alternatives that needed more gradients for the same loss (`benchmarks/optimizers.md`): accelerated
projected gradient with restarts, Adam with a cosine, steps toward x* by a fraction of the way, a
limit for each pixel as in Rprop, a limit that adapts to whether the loss falls. From a ceiling down
to a level small limits and a long mean end in greyer optima than large ones.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import hardshrink
from torch.optim import Optimizer

from stimopt import expect
from stimopt.optimize.filtered import Filtered
from stimopt.optimize.module import StimulusModule
from stimopt.optimize.parametrization import Clamp
from stimopt.optimize.record import StopReason
from stimopt.optimize.sums import TINY, dot, length, total
from stimopt.protocol import GREY

NEGLIGIBLE = 1e-10
"""Of a unit vector; pixels below have no influence, and their products would be too small for
float32, where processors are slow."""
NEWTON_STEPS = 12
LARGEST = 1e6
"""Factor by which the steepest pixel may exceed the way to its bound; all others that matter have
then reached theirs too."""


class Fall(NamedTuple):
    """The limit of a step falls to nothing along a cosine.

    Attributes:
        n: steps over which it does.
        limit: luminance that a pixel may move in the first step; 0.5 carries it from grey to black.
    """

    n: int
    limit: float = 0.4

    def at(self, done: int) -> float:
        """Luminance that a pixel may move after `done` steps, fewer than `n`."""
        return self.limit * (1 + math.cos(math.pi * done / self.n)) / 2


class Rounds(NamedTuple):
    """How a fit goes on once the limit of its steps has fallen to nothing.

    Attributes:
        fall: of the limit in every round.
        least: improvement in a round, as a part of the way from a reference to the best score, up
            to which an item stops.
    """

    fall: Fall
    least: float


class RegionSteps(nn.Module):
    """Mean direction of the items, number of the step, and which items have settled.

    The state is the module's own, so that a checkpoint contains it.

    Args:
        luminance: of the first iterate, `(items, frames, columns)`.
        fall: of the limit.
        momentum: weight of the directions before in the mean of the next one, in [0, 1).
        rounds: how to go on after that; None is not at all.
        reference: score that the improvement in a round is measured from, `(items,)`; None is 0.
    """

    direction: Tensor
    done: Tensor
    score: Tensor
    reference: Tensor

    def __init__(
        self,
        luminance: Tensor,
        fall: Fall,
        *,
        momentum: float = 0.5,
        rounds: Rounds | None = None,
        reference: Tensor | None = None,
    ) -> None:
        super().__init__()
        expect.whole("anneal in steps", fall.n, "30 is usual", at_least=1)
        self.fall, self.momentum, self.rounds = fall, momentum, rounds
        self.register_buffer("direction", torch.zeros_like(luminance))
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))
        score = torch.full((len(luminance),), torch.inf, device=luminance.device)
        self.register_buffer("score", score)
        reference = torch.zeros_like(score) if reference is None else reference
        self.register_buffer("reference", reference, persistent=False)

    def mean_direction(self, pull: Tensor) -> Tensor:
        """The mean of the unit vectors along `pull` so far, `(items, frames, columns)`.

        Args:
            pull: gradient of what is made large, of that shape.
        """
        unit = hardshrink(pull / length(pull).clamp(min=TINY)[:, None, None], NEGLIGIBLE)
        mean = self.direction.mul(self.momentum).add_(unit, alpha=1 - self.momentum)
        self.direction.copy_(hardshrink(mean, NEGLIGIBLE))
        return self.direction / (1 - self.momentum ** (int(self.done) + 1))

    def step(self, luminance: Tensor, optimum: Tensor) -> Tensor:
        """The next displacement, `(items, frames, columns)`.

        Args:
            luminance: where the items are.
            optimum: of the region, where they would go.
        """
        limit = self._limit(int(self.done))
        self.done.add_(1)
        return (optimum - luminance).clamp(-limit, limit)

    def _limit(self, done: int) -> float:
        """Luminance that a pixel may move in the step after `done` ones."""
        if done < self.fall.n:
            return self.fall.at(done)
        after = done - self.fall.n
        return 0.0 if self.rounds is None else self.rounds.fall.at(after % self.rounds.fall.n)

    def restart(self) -> None:
        """Forget the mean direction, and take the first step next."""
        self.direction.zero_()
        self.done.zero_()

    @property
    def annealed(self) -> bool:
        """Whether the limit has fallen to nothing, but for rounds."""
        return int(self.done) >= self.fall.n

    def settled(self, score: Tensor) -> Tensor:
        """Items whose steps have become short and, with rounds, brought little, `(items,)`, bool.

        To be asked once before every step.

        Args:
            score: of the best iterate, smaller is better, `(items,)`.
        """
        after = int(self.done) - self.fall.n
        rounds = self.rounds
        if after < 0 or (rounds is not None and after % rounds.fall.n):
            return torch.zeros_like(score, dtype=torch.bool)
        if rounds is None:
            return torch.ones_like(score, dtype=torch.bool)
        little = self.score - score <= rounds.least * (score - self.reference).abs()
        self.score.copy_(score)
        return little


class StepsToRegionOptimum(StimulusModule):
    """A fit whose steps go toward the optimum of the region; a subclass says where that is.

    The optimizer is plain gradient descent at step 1 on a gradient that is replaced by the way to
    go, so that the Trainer, checkpoints and callbacks are those of every fit.
    """

    region: RegionSteps

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        expect.that(
            type(self.parametrization) is Clamp or isinstance(self.parametrization, Filtered),
            "parametrization 'clamp' or filters with steps toward the optimum of a region",
            repr(self.parametrization),
            "use StimulusGenerator, whose optimizer follows any parametrization",
        )
        expect.that(
            self._lr_scheduler is None,
            "no lr_scheduler with steps toward the optimum of a region",
            "one",
            "set anneal, the steps over which their limit falls to nothing",
        )

    def region_optimum(self, gradient: Tensor, luminance: Tensor) -> Tensor:
        """Optimum of the region, `(items, frames, columns)`, in [0, 1].

        Args:
            gradient: of the total loss, with respect to the pixels.
            luminance: the pixels, of that shape; a filter may be behind them.
        """
        raise NotImplementedError

    def stop_settled(self) -> None:
        """Stop items whose steps have become short and, with rounds, brought little."""
        reason = StopReason.SETTLED if self.region.rounds is None else StopReason.PLATEAU
        self.record.stop(self.region.settled(self.record.best_score), reason)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Stop what has settled; replace the gradient by the way back from the next iterate."""
        self.stop_settled()
        super().on_before_optimizer_step(optimizer)
        assert self.stimulus.grad is not None  # as the method above has checked
        self.replace_gradient(self.stimulus.grad)

    def replace_gradient(self, gradient: Tensor) -> None:
        """Write the way back from the next iterate to `gradient`, `(items, frames, columns)`."""
        # The luminance itself, unless it is filtered.
        pixels = self.stimulus.detach()
        optimum = self.region_optimum(gradient, pixels)
        gradient.copy_(-self.region.step(pixels, optimum))


def nearest_to_grey(
    direction: Tensor, luminance: Tensor, missing: Tensor, centre: Tensor | None = None
) -> Tensor:
    """Factor mu at which x* = clip(c + mu d) makes up for what the response lacks, `(items,)`.

    d (x* - x) is the change of a response that is linear in the stimulus. It rises with mu, ever
    more slowly as pixels reach their bounds, so Newton's method comes to the root from below.
    Where all pixels at their bounds do not suffice, mu is the largest that is of use.

    Args:
        direction: gradient d of the response, or a mean of its past, `(items, frames, columns)`.
        luminance: the iterate x, of that shape.
        missing: level less response, `(items,)`.
        centre: c that x* is nearest to in place of grey, in [0, 1], of the shape of x.
    """
    size, square = direction.abs(), direction.square()
    c = torch.full_like(luminance, GREY) if centre is None else centre
    room = torch.where(direction > 0, 1 - c, c)
    needed = missing + dot(direction, luminance - c)
    largest = largest_size(direction)
    mu = torch.zeros_like(missing)
    for _ in range(NEWTON_STEPS):
        at_bound = mu[:, None, None] * size >= room
        gain = total(torch.where(at_bound, room * size, mu[:, None, None] * square))
        slope = total(square.masked_fill(at_bound, 0.0)).clamp(min=TINY)
        mu = (mu + (needed - gain) / slope).clamp(min=0.0).minimum(largest)
    return mu


def from_grey(size: Tensor, direction: Tensor) -> Tensor:
    """clip(1/2 + size * direction, 0, 1), `(items, frames, columns)`; size is `(items,)`."""
    return (GREY + size[:, None, None] * direction).clamp(0.0, 1.0)


def largest_size(direction: Tensor) -> Tensor:
    """Size at which all pixels that matter have long reached their bounds, `(items,)`."""
    # Finite where the direction is zero, as an infinite size times zero is no number.
    return LARGEST / direction.abs().flatten(1).amax(dim=1).clamp(min=LARGEST * TINY)


def optimality_residual(gradient: Tensor, luminance: Tensor) -> Tensor:
    """Part of the gradient along which pixels could still move, `(items,)`, in [0, 1].

    |x - P(x + s grad)| / |s grad| for a small step s, where P clips to [0, 1]: 0 at a point from
    which the response rises nowhere to first order, 1 where no pixel is at its bound.

    Args:
        gradient: of the response, `(items, frames, columns)`.
        luminance: x, of that shape, in [0, 1].
    """
    up, down = (luminance < 1) & (gradient > 0), (luminance > 0) & (gradient < 0)
    free = torch.where(up | down, gradient, 0.0)
    return length(free) / length(gradient).clamp(min=TINY)
