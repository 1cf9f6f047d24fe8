"""The largest response within a contrast budget, and stimuli that tell networks apart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stimopt import expect
from stimopt.items import choose_cell_types
from stimopt.networks.model import ResponseModel
from stimopt.optimize import penalties
from stimopt.optimize.ceiling import ResponseRange
from stimopt.optimize.normalized import NormalizedPool
from stimopt.optimize.region import NEWTON_STEPS, from_grey, largest_size
from stimopt.optimize.sums import TINY, total
from stimopt.protocol import GREY, Protocol
from stimopt.results import Result, Variable, fitted
from stimopt.results.variables import array_of


class LimitedRange(ResponseRange):
    """Seeks the largest response among stimuli of at most a contrast.

    Such optima of several networks, or of a consensus of them, are compared at equal contrast.

    Args:
        network: the frozen network.
        cell_types: a name, several (a list, or with commas between), or `all`.
        protocol: pre-stimulus, step, baseline and read-out window.
        rms_contrast: root mean square of (luminance - 0.5) / 0.5 over frames and columns, in
            (0, 1]; 1 is black and white everywhere. With `bandwidth` it is that of the pixels:
            what passes the filters has less, and the result says how much.
        **options: as for `ResponseRange`.

    Raises:
        ValueError: for a contrast out of range, and as for `ResponseRange`.

    Example:
        >>> import stimopt
        >>> from stimopt.optimize.limited import LimitedRange
        >>> network = stimopt.builtin_network(extent=3)
        >>> limited = LimitedRange(network, "T4c", rms_contrast=0.1, t_stim=0.1)
        >>> faint = stimopt.fit(limited, steps=30)
        >>> bool(abs(faint["rms_contrast"][0] - 0.1) < 1e-3)
        True
    """

    kind = "artificial"

    def __init__(
        self,
        network: ResponseModel,
        cell_types: str | list[str] = "T4c",
        protocol: Protocol | None = None,
        *,
        rms_contrast: float = 0.1,
        **options: Any,
    ) -> None:
        expect.number("rms_contrast", rms_contrast, "0.1 is usual", above=0, at_most=1)
        super().__init__(network, cell_types, protocol, **options)
        self.budget = (GREY * rms_contrast) ** 2 * self.stimulus[0].numel()
        self._settings["rms_contrast"] = rms_contrast
        self.project_()
        self.record.best_stimulus.copy_(self.luminance().detach())

    def region_optimum(self, gradient: Tensor, luminance: Tensor) -> Tensor:
        """1/2 + mu g, clipped to [0, 1], with mu such that the budget is spent."""
        direction = self.region.mean_direction(-gradient)
        return from_grey(size_of_budget(direction, self.budget), direction)

    def project_(self) -> None:
        """Bring the stimulus back into its range and budget, as pixels moved by unlike parts."""
        super().project_()
        stimulus = self.stimulus.detach()
        spent = penalties.grey_sum(stimulus).clamp(min=TINY)
        factor = (self.budget / spent).sqrt().clamp(max=1.0)
        stimulus.copy_(from_grey(factor, stimulus - GREY))

    def extra_variables(self) -> dict[str, Variable]:
        """Those of a range, and the contrast that was used."""
        spent = penalties.grey_sum(self.record.best_stimulus)
        contrast = (spent / self.stimulus[0].numel()).sqrt() / GREY
        return {
            **super().extra_variables(),
            "grey_distance": Variable(("item",), array_of(spent), "sum of squares"),
            "rms_contrast": Variable(("item",), array_of(contrast), "0 to 1"),
        }


def size_of_budget(direction: Tensor, budget: float) -> Tensor:
    """Factor mu at which sum (clip(1/2 + mu d) - 1/2)^2 is the budget, `(items,)`.

    Pixels at their bounds spend 1/4 each; the others share the rest. Each pass finds more pixels at
    their bounds, so the factor comes to the solution from below.

    Args:
        direction: d, `(items, frames, columns)`.
        budget: sum of squares.
    """
    size, square = direction.abs(), direction.square()
    largest = largest_size(direction)
    mu = torch.zeros_like(largest)
    for _ in range(NEWTON_STEPS):
        at_bound = mu[:, None, None] * size >= GREY
        rest = (budget - GREY**2 * total(at_bound.to(size))).clamp(min=0.0)
        free = total(square.masked_fill(at_bound, 0.0)).clamp(min=TINY)
        mu = (rest / free).sqrt().minimum(largest).maximum(mu)
    return mu


def discriminating(
    network: ResponseModel,
    cell_types: str | list[str],
    first: Sequence[int],
    second: Sequence[int],
    ranges: str | Path | Result,
    protocol: Protocol | None = None,
    *,
    noise: float = 0.1,
    **options: Any,
) -> LimitedRange:
    """A fit of the stimuli on which two groups of networks differ most, for a contrast budget.

    What is made large is how far the normalized response of the first group exceeds that of the
    second, in units of noise (`separation`). Exchange the groups for the opposite.

    Example:
        >>> import stimopt
        >>> from stimopt.optimize.limited import discriminating
        >>> network = stimopt.builtin_network(extent=3).lesion("Mi9")
        >>> ranges = stimopt.fit(stimopt.ResponseRange(network, "T4c", t_stim=0.1), steps=20)
        >>> apart = discriminating(network, "T4c", [0], [1], ranges, noise=0.1, t_stim=0.1)
        >>> bool(stimopt.fit(apart, steps=20)["objective"][0] > 0)
        True

    Args:
        network: that holds all the networks.
        cell_types: a name, several (a list, or with commas between), or `all`.
        first: positions of the networks that should respond more.
        second: positions of those that should respond less.
        ranges: result of `ResponseRange` for these types and networks, or its file.
        protocol: that of the ranges.
        noise: standard deviation of a trial, as a part of the way from grey to the ceiling.
        **options: of `LimitedRange`, such as `rms_contrast` and `t_stim`.

    Raises:
        ValueError: for a network in both groups, a missing ceiling, and as for `LimitedRange`.
    """
    expect.number("noise", noise, "0.1 is usual", above=0)
    apart = first and second and not set(first) & set(second)
    got = f"{list(first)} and {list(second)}"
    expect.that(apart, "two groups without a network in common", got, "name the networks once")
    names = choose_cell_types(network, cell_types)
    pool = partial(separation, n_first=len(first), noise=noise)
    positions = [*first, *second]
    return LimitedRange(
        network,
        names,
        protocol,
        networks=positions,
        consensus=True,
        pool=NormalizedPool.of(fitted(ranges), names, positions, pool),
        **options,
    )


def separation(values: Tensor, n_first: int, noise: float) -> Tensor:
    """Mean of the first readings less that of the others, over the noise and their own spread.

    It is d' = (a - b) / sqrt(noise^2 + (var a + var b) / 2): `(items, readings)` to `(items,)`.
    """
    first, second = values[:, :n_first], values[:, n_first:]
    variance = (first.var(dim=1, correction=0) + second.var(dim=1, correction=0)) / 2
    return (first.mean(dim=1) - second.mean(dim=1)) / (noise**2 + variance).sqrt()
