"""Trial of a module by its behaviour: can stimuli be sought for its cells?"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from stimopt import expect

TOLERANCE = 1e-4
"""Relative to the responses; rounding may differ with the number of items in a batch."""
N_FRAMES = 6
"""Of the noise that a module is tried on."""


def check_module(module: nn.Module, n_columns: int) -> int:
    """Check on noise that stimuli can be sought for the cells of a module.

    ================================  ======================================================
    property                          ValueError if
    ================================  ======================================================
    frozen                            a parameter requires a gradient
    in eval mode                      the module or a part of it is in training mode
    takes luminance                   it raises on `(items, frames, columns)`
    `(items, frames, cells)`          it returns another shape, or no tensor
    finite                            a response to noise in [0, 1] is NaN or infinite
    differentiable                    the gradient in the luminance is missing, zero, not finite
    causal                            a response changes with a future frame
    independent between items         a response changes with the other items
    ================================  ======================================================

    Args:
        module: to be tried.
        n_columns: of the luminance it takes.

    Returns:
        The number of its cells.

    Raises:
        ValueError: for the first property that it lacks, with what to change.
    """
    _require_frozen(module)
    _require_eval_mode(module)
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand((2, N_FRAMES, n_columns), generator=generator)
    noise = as_module(noise, module).requires_grad_()
    responses = _require_responses(module, noise)
    _require_finite(responses)
    _require_gradient(responses, noise, generator)
    with torch.no_grad():
        _require_causal(module, noise, responses)
        _require_independent_items(module, noise, responses)
    return responses.shape[2]


def as_module(luminance: Tensor, module: nn.Module) -> Tensor:
    """Luminance in the precision and on the device of a module, if it has either."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    return luminance.to(next((t for t in tensors if t.is_floating_point()), luminance))


def _require_frozen(module: nn.Module) -> None:
    expect.that(
        not any(parameter.requires_grad for parameter in module.parameters()),
        "a module with frozen parameters",
        "some that require a gradient",
        "call requires_grad_(False)",
    )


def _require_eval_mode(module: nn.Module) -> None:
    expect.that(
        not any(part.training for part in module.modules()),
        "a module in eval mode",
        "one in training",
        "call eval()",
    )


def _require_responses(module: nn.Module, noise: Tensor) -> Tensor:
    items, frames, columns = noise.shape
    try:
        with torch.enable_grad():
            responses = module(noise)
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        raise ValueError(
            f"expected a module that takes luminance (items, frames, {columns}), got "
            f"{type(error).__name__}: {error}; adapt its input"
        ) from error
    shape = tuple(responses.shape) if isinstance(responses, Tensor) else type(responses).__name__
    expect.that(
        len(shape) == 3 and shape[:2] == (items, frames),
        f"responses ({items}, {frames}, cells) from luminance {tuple(noise.shape)}",
        shape,
        "return (items, frames, cells)",
    )
    checked: Tensor = responses
    return checked


def _require_finite(responses: Tensor) -> None:
    expect.finite("responses to noise in [0, 1]", responses, "check the module's weights")


def _require_gradient(responses: Tensor, noise: Tensor, generator: torch.Generator) -> None:
    gradient = None
    if responses.requires_grad:
        # Random weights, as the gradients of opposed cells would cancel in a plain sum.
        last = responses[:, -1]
        weights = torch.rand(last.shape, generator=generator).to(last)
        (gradient,) = torch.autograd.grad((weights * last).sum(), noise, allow_unused=True)
    expect.that(
        gradient is not None and torch.isfinite(gradient).all() and gradient.any(),
        "a finite, non-zero gradient from the responses to the luminance",
        "none",
        "look for detach(), no_grad() or rounding in the module",
    )


def _require_causal(module: nn.Module, noise: Tensor, responses: Tensor) -> None:
    half = noise.shape[1] // 2
    changed = noise.clone()
    changed[:, half:] = 1 - changed[:, half:]
    expect.that(
        _alike(module(changed)[:, :half], responses[:, :half], responses),
        "responses that depend on past and present frames only",
        "some that changed with future frames",
        "make the module causal in time",
    )


def _require_independent_items(module: nn.Module, noise: Tensor, responses: Tensor) -> None:
    expect.that(
        _alike(module(noise[:1]), responses[:1], responses),
        "each item's response to depend on its own stimulus only",
        "one that changed with the other items",
        "look for batch statistics in the module",
    )


def _alike(one: Tensor, other: Tensor, responses: Tensor) -> bool:
    scale = 1 + float(responses.abs().max())
    return float((one - other).abs().max()) <= TOLERANCE * scale
