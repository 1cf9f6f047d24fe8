"""Fits of an objective: what generation, the ceiling and the efficient optimum share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from stimopt import expect
from stimopt.items import ALL, Item, make_items
from stimopt.networks.model import ResponseModel
from stimopt.optimize.filtered import Bandwidth
from stimopt.optimize.module import StimulusModule
from stimopt.optimize.named import name_of
from stimopt.optimize.normalized import NormalizedPool, pool_of_items
from stimopt.optimize.objectives import (
    OBJECTIVES,
    POOLS,
    Objective,
    Pool,
    find_objective,
    pooled_objective,
)
from stimopt.protocol import Protocol

Start = Callable[[Sequence[Item], int], Tensor]
"""From items and a number of frames to their first luminance, `(items, frames, columns)`."""


class ObjectiveModule(StimulusModule):
    """A fit whose items each make one number of their responses large.

    That number is pool(objective(sign * response)), over the read-out window and the readings.

    Args:
        network: the frozen network.
        cell_types: a name, several (a list, or with commas between), or `all`.
        protocol: pre-stimulus, step, baseline and read-out window.
        t_stim: length of the stimulus in seconds.
        seeds: a seed or several, of the noise an item may start from.
        networks: positions of the networks to use, or `all`.
        objective: `last_frame`, `window_mean`, `soft_peak`, `exp`, `exp_last_frame` (flyvis), the
            dotted path of a function from traces `(n, frames)` to `(n,)`, or that function.
        temperature: of `soft_peak`.
        sign: 1 for the stimulus that excites most, -1 for the one that suppresses most.
        contrast: cell types read beside each item's own; the pool then is `difference` unless
            another is named.
        consensus: one item for all networks, which are its readings, instead of one for each.
        pool: from the readings of an item to one number: `mean`, `worst`, `difference`, `spread`,
            `normalized:RANGES.h5` or `normalized_worst:RANGES.h5` (by the ceilings there), the
            dotted path of a function from `(items, readings)` to `(items,)`, or that function.
        u: column read out, axial coordinate.
        v: its other coordinate.
        bandwidth: filters in time and space that the stimulus passes, such as a display's hold.
        variants: what distinguishes items of one cell, network and seed.
        start: first luminance of the items.
        **options: of `StimulusModule`.
    """

    def __init__(
        self,
        network: ResponseModel,
        cell_types: str | list[str] = "T4c",
        protocol: Protocol | None = None,
        *,
        t_stim: float = 0.8,
        seeds: int | list[int] = 0,
        networks: str | list[int] = ALL,
        objective: str | Objective = "last_frame",
        temperature: float | None = None,
        sign: Literal[1, -1] = 1,
        contrast: str | Sequence[str] = (),
        consensus: bool = False,
        pool: str | Pool | None = None,
        u: int = 0,
        v: int = 0,
        bandwidth: Bandwidth | None = None,
        variants: Sequence[str] = ("",),
        start: Start,
        **options: Any,
    ) -> None:
        protocol = Protocol() if protocol is None else protocol
        expect.one_of("sign", sign, (1, -1), "1 excites, -1 suppresses")
        items = [
            replace(item, variant=variant)
            for item in make_items(
                network, cell_types, seeds, networks, u, v, contrast=contrast, consensus=consensus
            )
            for variant in variants
        ]
        n_frames = protocol.frames(t_stim)
        expect.that(
            n_frames >= 1,
            f"t_stim of at least one frame ({protocol.dt:g} s)",
            f"{t_stim} s",
            "0.8 is usual",
        )
        luminance = start(items, n_frames)
        if bandwidth is not None:
            expect.that(
                options.get("parametrization", "clamp") == "clamp",
                "bandwidth or a parametrization",
                "both",
                "leave one out: filters are a parametrization",
            )
            filters = bandwidth.filters(network.lattice, protocol, luminance.shape[1])
            options["parametrization"] = filters
        super().__init__(network, items, luminance, protocol, **options)
        self.signs.fill_(sign)
        self.readout_window = protocol.readout(luminance.shape[1])
        self.objective = find_objective(objective, temperature)
        pool = ("difference" if contrast else "mean") if pool is None else pool
        self.pool = pool_of_items(pool, items, sign)
        self._settings |= {
            "objective": name_of(self.objective, OBJECTIVES) if temperature is None else objective,
            "temperature": temperature,
            "pool": name_of(self.pool, POOLS),
            "sign": sign,
        }
        if isinstance(self.pool, NormalizedPool):
            self.pool.require({**self._settings, "network_hash": network.content_hash})

    def set_signs(self, signs: Tensor) -> None:
        """Let some items seek the largest response (1) and others the lowest (-1), `(items,)`.

        Raises:
            ValueError: for both with a pool that normalizes by the extreme of one of them.
        """
        one = bool((signs == self.signs).all())
        expect.that(
            one or not isinstance(self.pool, NormalizedPool),
            "ceilings or floors alone with a normalized pool",
            "both",
            "fit the floors by themselves, with sign -1 and a pool of the floors",
        )
        self.signs.copy_(signs)

    def objective_at_noise(self) -> Tensor:
        """The objective at noise and half that at its inverse, together, `(items,)`.

        Its gradient is that of the luminance. At the stimulus itself, such as grey or a ceiling of
        black and white, all rectifiers on the way may be shut, though another would open them. The
        gradients of an even function would cancel in equal parts.
        """
        luminance = self.luminance()
        seeds = torch.Generator().manual_seed(0)
        noise = torch.rand(luminance.shape[1:], generator=seeds).to(luminance)
        moved = luminance - luminance.detach()
        values = [self.objective_values(self.respond(moved + x)) for x in (noise, 1 - noise)]
        return values[0] + values[1] / 2

    def objective_values(self, responses: Tensor) -> Tensor:
        """What each item makes large, `(items,)`; the sign is in it.

        Args:
            responses: `(items, readings, frames)`.
        """
        signal = self.signs[:, None, None] * responses[..., self.readout_window]
        return pooled_objective(signal, self.objective, self.pool)
