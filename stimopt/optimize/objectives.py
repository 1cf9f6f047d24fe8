"""What is made large: pure functions from central responses to one number an item."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Objective = Callable[[Tensor], Tensor]


def last_frame(responses: Tensor) -> Tensor:
    """The last frame of the read-out window: `(items, frames)` to `(items,)`."""
    return responses[:, -1]


def window_mean(responses: Tensor) -> Tensor:
    """Mean over the read-out window: `(items, frames)` to `(items,)`."""
    return responses.mean(dim=1)


def soft_peak(responses: Tensor, temperature: float = 0.1) -> Tensor:
    """Soft maximum over the read-out window: `(items, frames)` to `(items,)`.

    T log sum_t exp(r_t / T): at least the maximum and at most T log(frames) above it; its
    gradient is a softmax over frames, so that a second peak can still take over.

    Args:
        responses: `(items, frames)`.
        temperature: T > 0, in units of the response.
    """
    return temperature * torch.logsumexp(responses / temperature, dim=1)


def flyvis_exp(responses: Tensor) -> Tensor:
    """mean_t exp(r_t), as flyvis's generation: `(items, frames)` to `(items,)`.

    It vanishes for hyperpolarized cells and overflows float32 above r = 88, where the item stops.
    """
    return torch.exp(responses).mean(dim=1)


def flyvis_exp_last(responses: Tensor) -> Tensor:
    """exp of the last frame, flyvis's default for generation: `(items, frames)` to `(items,)`."""
    return flyvis_exp(responses[:, -1:])


OBJECTIVES: dict[str, Objective] = {
    "last_frame": last_frame,
    "window_mean": window_mean,
    "soft_peak": soft_peak,
    "exp": flyvis_exp,
    "exp_last_frame": flyvis_exp_last,
}


def find_objective(objective: str | Objective, temperature: float | None = None) -> Objective:
    """An objective by its name, or the callable itself.

    Raises:
        ValueError: for an unknown name or a temperature that fits no objective.
    """
    if temperature is not None:
        if objective != "soft_peak":
            raise ValueError(
                f"expected a temperature only with objective 'soft_peak', got {temperature} with "
                f"{objective!r}; leave one of them out"
            )
        if not temperature > 0:
            raise ValueError(f"expected temperature > 0, got {temperature}; 0.1 is usual")
        return lambda responses: soft_peak(responses, temperature)
    if callable(objective):
        return objective
    if objective not in OBJECTIVES:
        raise ValueError(
            f"expected an objective of {sorted(OBJECTIVES)} or a function from (items, frames) to "
            f"(items,), got {objective!r}; choose one of them"
        )
    return OBJECTIVES[objective]


def central_signal(responses: Tensor, sign: int) -> Tensor:
    """What an objective sees: `(items, frames, 1 + others)` to `(items, frames)`.

    The first cell's response, less the mean of the others (contrast of one type against others),
    times `sign`: -1 seeks the stimulus that suppresses most.
    """
    signal = responses[..., 0]
    if responses.shape[-1] > 1:
        signal = signal - responses[..., 1:].mean(dim=-1)
    return sign * signal
