"""The artificial optimum: a stimulus grown from noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from stimopt import expect
from stimopt.items import ALL, make_items
from stimopt.networks.model import ResponseModel
from stimopt.optimize.module import StimulusModule
from stimopt.optimize.named import name_of
from stimopt.optimize.objectives import (
    OBJECTIVES,
    POOLS,
    Objective,
    Pool,
    find_objective,
    find_pool,
    pooled_objective,
)
from stimopt.optimize.parametrization import Parametrization
from stimopt.optimize.penalties import Weighted, find_penalties
from stimopt.optimize.starts import starting_stimulus
from stimopt.optimize.steps import OptimizerFactory, SchedulerFactory, adam
from stimopt.optimize.terms import ACTIVITY, Terms, with_total
from stimopt.protocol import Protocol
from stimopt.storage.identity import function_name

FLYVIS_PENALTIES: dict[str, Weighted] = {"grey": 3000.0}


class StimulusGenerator(StimulusModule):
    """Grows the stimulus that drives a cell type most; the defaults are flyvis's.

    loss = -activity_weight * pool(objective(sign * response)) + sum of weight * penalty.

    Args:
        network: the frozen network.
        cell_types: a name, several (a list, or with commas between), or `all`.
        protocol: pre-stimulus, step, baseline and read-out window.
        t_stim: length of the stimulus in seconds.
        seeds: a seed or several, of the noise each item starts from.
        networks: positions of the networks to use, or `all`.
        objective: `exp_last_frame` (flyvis), `exp`, `last_frame`, `window_mean`, `soft_peak`, the
            dotted path of a function from traces `(n, frames)` to `(n,)`, or that function.
        temperature: of `soft_peak`.
        sign: 1 for the stimulus that excites most, -1 for the one that suppresses most.
        contrast: cell types read beside each item's own; the pool then is `difference` unless
            told otherwise.
        consensus: one item for all networks, which are its readings, instead of one for each.
        pool: from the readings of an item to one number: `mean`, `worst`, `difference`, `spread`,
            the dotted path of a function from `(items, readings)` to `(items,)`, or that function.
        activity_weight: of the objective.
        penalties: weights by name: `grey` (mean squared distance to grey; flyvis's 3000 goes with
            `exp`), `grey_sum`, `variation` (across columns), `roughness` (in time), the dotted
            path of a function from luminance `(items, frames, columns)` to `(items,)`; or under a
            name of its own a pair of a weight and a function.
        init: `noise`, `grey`, `naturalistic:RESULT.h5` (the winner in a search result), or a
            tensor `(items, frames, columns)`; the last two keep their own length.
        parametrization: `clamp` (flyvis), `sigmoid`, or an object.
        optimizer: from parameters to a torch optimizer; Adam at 0.01 by default.
        lr_scheduler: from that optimizer to a torch scheduler, stepped once a step.
        patience: stop an item that has not improved for so many steps.
        u: column read out, axial coordinate.
        v: its other coordinate.

    Raises:
        ValueError: for names, durations, weights or shapes that do not fit.

    Example:
        >>> import stimopt
        >>> network = stimopt.builtin_network(extent=3)
        >>> fit = stimopt.StimulusGenerator(network, "T4c", t_stim=0.1)
        >>> result = stimopt.fit(fit, steps=2)
        >>> result["stimulus"].shape
        (1, 10, 37)
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
        objective: str | Objective = "exp_last_frame",
        temperature: float | None = None,
        sign: Literal[1, -1] = 1,
        contrast: Sequence[str] = (),
        consensus: bool = False,
        pool: str | Pool | None = None,
        activity_weight: float = 1.0,
        penalties: Mapping[str, Weighted] = FLYVIS_PENALTIES,
        init: str | Tensor = "noise",
        parametrization: str | Parametrization = "clamp",
        optimizer: OptimizerFactory = adam,
        lr_scheduler: SchedulerFactory | None = None,
        patience: int | None = None,
        u: int = 0,
        v: int = 0,
    ) -> None:
        protocol = Protocol() if protocol is None else protocol
        expect.number("activity_weight", activity_weight, "1 is usual", above=0)
        expect.one_of("sign", sign, (1, -1), "1 excites, -1 suppresses")
        items = make_items(
            network, cell_types, seeds, networks, u, v, contrast=contrast, consensus=consensus
        )
        n_frames = protocol.frames(t_stim)
        expect.that(
            n_frames >= 1,
            f"t_stim of at least one frame ({protocol.dt:g} s)",
            f"{t_stim} s",
            "0.8 is usual",
        )
        if isinstance(init, Tensor):
            start = init
        else:
            start = starting_stimulus(network, items, n_frames, protocol.dt, init)
        super().__init__(
            network,
            items,
            start,
            protocol,
            parametrization=parametrization,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            patience=patience,
        )
        self.sign, self.activity_weight = sign, activity_weight
        self.readout_window = protocol.readout(start.shape[1])
        self.objective = find_objective(objective, temperature)
        pool = ("difference" if contrast else "mean") if pool is None else pool
        self.pool = find_pool(pool, len(items[0].readings))
        self.penalties = find_penalties(penalties, network.lattice)
        self._own_settings = {
            "objective": name_of(self.objective, OBJECTIVES),
            "pool": name_of(self.pool, POOLS),
            "sign": sign,
            "init": init if isinstance(init, str) else "tensor",
            "activity_weight": activity_weight,
            **{
                f"penalties.{name}": [weight, function_name(function)]
                for name, (weight, function) in self.penalties.items()
            },
        }

    @classmethod
    def flyvis(
        cls, network: ResponseModel, cell_types: str | list[str], **options: Any
    ) -> StimulusGenerator:
        """The settings of flyvis's `artificial_optimal_stimuli`, made explicit; run 200 steps."""
        settings: dict[str, Any] = {
            "objective": "exp_last_frame",
            "activity_weight": 1.0,
            "penalties": FLYVIS_PENALTIES,
            "parametrization": "clamp",
            "init": "noise",
            "optimizer": adam,
        }
        return cls(network, cell_types, **{**settings, **options})

    def losses(self, luminance: Tensor, responses: Tensor) -> Terms:
        """Objective and penalties, each `(items,)`."""
        signal = self.sign * responses[..., self.readout_window]
        activity = pooled_objective(signal, self.objective, self.pool)
        terms = {ACTIVITY: -self.activity_weight * activity}
        for name, (weight, penalty) in self.penalties.items():
            terms[f"loss/{name}"] = weight * penalty(luminance)
        return with_total(terms)

    def settings(self) -> dict[str, Any]:
        """Plain values that decide the result."""
        return {**super().settings(), **self._own_settings}
