"""Objectives: a trace reduced to one number, then pooled over the readings of an item.

An objective takes traces `(n, frames)` to `(n,)`; a pool takes the numbers of an item's readings,
`(items, readings)`, to `(items,)`. Both are made large. Either is named by its short name, by a
dotted path such as `my_lab.objectives.onset`, or passed as a function.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from stimopt import expect
from stimopt.optimize.named import look_up

Objective = Callable[[Tensor], Tensor]
Pool = Callable[[Tensor], Tensor]


def last_frame(responses: Tensor) -> Tensor:
    """The last frame of the read-out window: `(n, frames)` to `(n,)`."""
    return responses[:, -1]


def window_mean(responses: Tensor) -> Tensor:
    """Mean over the read-out window: `(n, frames)` to `(n,)`."""
    return responses.mean(dim=1)


def soft_peak(responses: Tensor, temperature: float = 0.1) -> Tensor:
    """Soft maximum over the read-out window: `(n, frames)` to `(n,)`.

    T log sum_t exp(r_t / T): at least the maximum and at most T log(frames) above it; its
    gradient is a softmax over frames, so that a second peak can still take over.

    Args:
        responses: `(n, frames)`.
        temperature: T > 0, in units of the response.
    """
    return temperature * torch.logsumexp(responses / temperature, dim=1)


def flyvis_exp(responses: Tensor) -> Tensor:
    """mean_t exp(r_t), as flyvis's generation: `(n, frames)` to `(n,)`.

    It vanishes for hyperpolarized cells and overflows float32 above r = 88, where the item stops.
    """
    return torch.exp(responses).mean(dim=1)


def flyvis_exp_last(responses: Tensor) -> Tensor:
    """exp of the last frame, flyvis's default for generation: `(n, frames)` to `(n,)`."""
    return flyvis_exp(responses[:, -1:])


OBJECTIVES: dict[str, Objective] = {
    "last_frame": last_frame,
    "window_mean": window_mean,
    "soft_peak": soft_peak,
    "exp": flyvis_exp,
    "exp_last_frame": flyvis_exp_last,
}


def mean(values: Tensor) -> Tensor:
    """Mean over readings: `(items, readings)` to `(items,)`."""
    return values.mean(dim=1)


def worst(values: Tensor) -> Tensor:
    """The smallest of the readings: `(items, readings)` to `(items,)`."""
    return values.amin(dim=1)


def difference(values: Tensor) -> Tensor:
    """The first reading less the mean of the others: `(items, readings)` to `(items,)`."""
    return values[:, 0] - values[:, 1:].mean(dim=1)


def spread(values: Tensor) -> Tensor:
    """Standard deviation over readings, for networks that should disagree: to `(items,)`."""
    return values.std(dim=1, correction=0)


POOLS: dict[str, Pool] = {
    "mean": mean,
    "worst": worst,
    "difference": difference,
    "spread": spread,
}


def find_objective(objective: str | Objective, temperature: float | None = None) -> Objective:
    """An objective by its name or dotted path, or the function itself.

    Args:
        objective: name, dotted path or function.
        temperature: of `soft_peak` alone.

    Raises:
        ValueError: for an unknown name, or a temperature that fits no objective.
    """
    if temperature is None:
        return look_up("objective", objective, OBJECTIVES)
    expect.that(
        objective == "soft_peak",
        "a temperature with objective 'soft_peak' alone",
        f"{temperature} with {objective!r}",
        "leave one of them out",
    )
    expect.number("temperature", temperature, "0.1 is usual", above=0)
    return functools.partial(soft_peak, temperature=temperature)


def find_pool(pool: str | Pool, n_readings: int) -> Pool:
    """A pool by its name or dotted path, or the function itself.

    Args:
        pool: name, dotted path or function.
        n_readings: of each item; a difference or spread needs two.

    Raises:
        ValueError: for an unknown name, or a difference or spread of one reading.
    """
    function = look_up("pool", pool, POOLS)
    expect.that(
        n_readings > 1 or function not in (difference, spread),
        f"several readings with pool {pool!r}",
        "one",
        "name cell types to contrast with, or networks with consensus, or use pool 'mean'",
    )
    return function


def pooled_objective(responses: Tensor, objective: Objective, pool: Pool) -> Tensor:
    """Responses `(items, readings, frames)` to one number for each item, `(items,)`."""
    n_items, n_readings = responses.shape[:2]
    values = objective(responses.flatten(0, 1))
    advice = "return one number for each trace (n, frames)"
    expect.shape("values of the objective", values, (n_items * n_readings,), advice)
    pooled = pool(values.reshape(n_items, n_readings))
    advice = "return one number for each item (items, readings)"
    expect.shape("values of the pool", pooled, (n_items,), advice)
    return pooled
