"""Keeping a trace within a band: pure functions of an augmented Lagrangian, per item and frame.

The constraint is |d_t| <= b for the deviation d_t of a response from its target. With a multiplier
m_t and a stiffness rho, Powell, Hestenes and Rockafellar's augmented Lagrangian adds

    psi(d) = sum_t (S(m_t + rho d_t, rho b)^2 - m_t^2) / (2 rho),  S(z, w) = sign(z) max(|z| - w, 0)

to what is minimised; S is also the next multiplier. Unlike a penalty, it meets the constraint at a
finite stiffness, so nothing has to be weighed by hand and the problem does not become ever stiffer
(Nocedal and Wright, Numerical Optimization, chapter 17).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from stimopt.protocol import GREY

MARGIN = 0.02
"""The band aimed at is narrower than the one promised by this fraction: the multiplier method
comes to the edge of the band from outside. It costs about 0.1 % of the greyness."""
PERIOD = 10
"""Steps between two updates of the multipliers."""
FIRST_STIFFNESS = 40.0
"""Curvature of the band term over that of the distance to grey, at the start. With momentum 0.9,
which suits ratios up to some hundreds, 40 comes near the optimum in 100 steps."""
GROWTH, LARGEST_STIFFNESS = 1.5, 3000.0
PROGRESS = 0.5
"""A violation that did not fall below this multiple within a period stiffens the item: its
multipliers then move faster, and its steps get smaller, which settles it where kinks of the
response (cells that begin to release) make it go to and fro."""
SETTLED = 0.9
"""Only once the distance to grey falls by less than to this multiple within a period: before that
a violation comes from moving, and stiffness would slow the way to grey."""
POWER_ITERATIONS = 8
"""They find the largest curvature to within 10 %."""
PROBE = 0.5
"""Length of the step that measures it, spread over all pixels: far above rounding."""


def check_tolerances(tolerance: float | Sequence[float]) -> list[float]:
    """Tolerances as a list.

    Raises:
        ValueError: for none, one twice, or one that is not positive.
    """
    tolerances = [float(t) for t in tolerance] if isinstance(tolerance, Sequence) else [tolerance]
    if not tolerances or len(set(tolerances)) != len(tolerances):
        raise ValueError(f"expected tolerances, each once, got {tolerance}; 0.02 is usual")
    for value in tolerances:
        if not 0 < value < float("inf"):
            raise ValueError(
                f"expected a tolerance > 0, got {value}; 0.02 is 2 % of the target's range"
            )
    return tolerances


def check_method(method: str, parametrization: str, *weights: float) -> None:
    """Refuse a method that is none, or that does not go with the rest.

    Raises:
        ValueError: naming what does not fit.
    """
    if method not in ("constrained", "penalized"):
        raise ValueError(
            f"expected method 'constrained' or 'penalized', got {method!r}; 'constrained' is usual"
        )
    if method == "constrained" and parametrization != "clamp":
        raise ValueError(
            f"expected parametrization 'clamp' with method 'constrained', got {parametrization!r}; "
            "the band is met by gradient steps on the pixels themselves"
        )
    for weight in weights:
        if not 0 <= weight < float("inf"):
            raise ValueError(f"expected finite weights >= 0, got {weight}; 1 is flyvis's")


def trace_range(trace: Tensor, window: Tensor) -> Tensor:
    """Largest less smallest value within the window: `(items, frames)` to `(items,)`."""
    highest = trace.masked_fill(~window, -torch.inf).amax(dim=1)
    return highest - trace.masked_fill(~window, torch.inf).amin(dim=1)


def deviation(trace: Tensor, target: Tensor, window: Tensor) -> Tensor:
    """Trace less target within the window, zero outside: `(items, frames)`."""
    return torch.where(window, trace - target, 0.0)


def overshoot(off: Tensor, allowed: Tensor) -> Tensor:
    """By how many times the allowed deviation the largest one exceeds it, `(items,)`; 0 is met.

    Args:
        off: deviations, `(items, frames)`.
        allowed: largest deviation that meets the constraint, `(items,)`, positive.
    """
    return (off.abs().amax(dim=1) / allowed - 1).clamp(min=0.0)


def next_multiplier(multiplier: Tensor, off: Tensor, band: Tensor, stiffness: Tensor) -> Tensor:
    """S(m + rho d, rho b), `(items, frames)`: zero where the trace is well within the band.

    Args:
        multiplier: `(items, frames)`.
        off: deviations, `(items, frames)`.
        band: half-width b, `(items,)`.
        stiffness: rho, `(items,)`.
    """
    pressed = multiplier + stiffness[:, None] * off
    return pressed.sign() * (pressed.abs() - (stiffness * band)[:, None]).clamp(min=0.0)


def band_term(multiplier: Tensor, off: Tensor, band: Tensor, stiffness: Tensor) -> Tensor:
    """psi(d), `(items,)`; its gradient with respect to `off` is `next_multiplier`."""
    pressed = next_multiplier(multiplier, off, band, stiffness)
    return (pressed.square() - multiplier.square()).sum(dim=1) / (2 * stiffness)


def stiffen(
    stiffness: Tensor, ratio: Tensor, excess_before: Tensor, grey: Tensor, grey_before: Tensor
) -> tuple[Tensor, Tensor]:
    """Stiffness for the next period and the excess of this one, each `(items,)`.

    Args:
        stiffness: of this period.
        ratio: mean over the period of the largest deviation over the allowed one.
        excess_before: excess over the band aimed at, of the period before.
        grey: distance to grey at the end of the period.
        grey_before: and at that of the period before.
    """
    excess = ratio - (1 - MARGIN)
    stuck = (ratio > 1) & (excess > PROGRESS * excess_before) & (grey > SETTLED * grey_before)
    stiffer = (GROWTH * stiffness).clamp(max=LARGEST_STIFFNESS)
    return torch.where(stuck, stiffer, stiffness), excess


def off_the_ends(stimulus: Tensor) -> Tensor:
    """The stimulus with 0.2 % less contrast, `(items, frames, columns)`.

    Where a clip is exactly black, cells may rest exactly at the kink of their rectifier, where the
    slope is zero though any light would drive them; a little off it the slope is that of the cell.
    """
    return GREY + 0.998 * (stimulus - GREY)


def largest_curvature(
    central: Callable[[Tensor], Tensor], stimulus: Tensor, window: Tensor
) -> Tensor:
    """Largest eigenvalue of J J^T, J = d response / d stimulus in the window, `(items,)`.

    By power iteration: J^T is the adjoint, J a difference of two responses.

    Args:
        central: from stimuli `(items, frames, columns)` to central responses `(items, frames)`.
        stimulus: where to measure it.
        window: frames that count, `(items, frames)`.
    """
    direction = window.to(stimulus.dtype)
    with torch.no_grad():
        before = central(stimulus)
    for _ in range(POWER_ITERATIONS):
        with torch.enable_grad():
            leaf = stimulus.clone().requires_grad_()
            (towards,) = torch.autograd.grad((central(leaf) * direction).sum(), leaf)
        length = towards.square().sum(dim=2).sum(dim=1).sqrt()[:, None, None]
        with torch.no_grad():
            after = central(stimulus + PROBE * towards / length)
        direction = deviation(after, before, window) / PROBE
    return direction.square().sum(dim=1)
