"""The artificial optimum: a stimulus grown from noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from stimopt.items import ALL, Item, make_items, noise
from stimopt.networks.model import ResponseModel
from stimopt.optimize import penalties
from stimopt.optimize.module import (
    ACTIVITY,
    GREY_LOSS,
    TOTAL,
    StimulusModule,
    Terms,
)
from stimopt.optimize.objectives import Objective, central_signal, find_objective
from stimopt.optimize.starts import NATURALISTIC, naturalistic_start
from stimopt.optimize.steps import OptimizerFactory, SchedulerFactory, adam
from stimopt.protocol import GREY, Protocol
from stimopt.storage.identity import function_name


class StimulusGenerator(StimulusModule):
    """Grows the stimulus that drives a cell type most; the defaults are flyvis's.

    loss = -activity_weight * objective(sign * response) + sum of weight * penalty.

    Args:
        network: the frozen network.
        cell_types: a name, several (a list, or with commas between), or `all`.
        protocol: pre-stimulus, step, baseline and read-out window.
        t_stim: length of the stimulus in seconds.
        seeds: a seed or several, of the noise each item starts from.
        networks: positions of the networks to use, or `all`.
        objective: `exp_last_frame` (flyvis), `exp`, `last_frame`, `window_mean`, `soft_peak`, or a
            function from `(items, frames)` to `(items,)`.
        temperature: of `soft_peak`.
        sign: 1 for the stimulus that excites most, -1 for the one that suppresses most.
        contrast: cell types whose mean response is subtracted before the objective.
        activity_weight: of the objective.
        grey_weight: of the mean squared distance to grey; flyvis's 3000 goes with `exp`.
        variation_weight: of the total variation between adjacent columns.
        roughness_weight: of the mean squared difference between successive frames.
        init: `noise`, `grey`, `naturalistic:RESULT.h5` (the winner in a search result), or a
            tensor `(items, frames, columns)`; those two keep their own length.
        parametrization: `clamp` (flyvis) or `sigmoid`.
        optimizer: from parameters to a torch optimizer; Adam at 0.01 by default.
        lr_scheduler: from that optimizer to a torch scheduler, stepped once a step.
        patience: stop an item that has not improved for so many steps.
        u: column read out, axial coordinate.
        v: likewise.

    Raises:
        ValueError: for names, durations, weights or shapes that do not fit.
    """

    _neighbours: Tensor

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
        activity_weight: float = 1.0,
        grey_weight: float = 3000.0,
        variation_weight: float = 0.0,
        roughness_weight: float = 0.0,
        init: str | Tensor = "noise",
        parametrization: Literal["clamp", "sigmoid"] = "clamp",
        optimizer: OptimizerFactory = adam,
        lr_scheduler: SchedulerFactory | None = None,
        patience: int | None = None,
        u: int = 0,
        v: int = 0,
    ) -> None:
        protocol = Protocol() if protocol is None else protocol
        weights = {
            "activity_weight": activity_weight,
            "grey_weight": grey_weight,
            "variation_weight": variation_weight,
            "roughness_weight": roughness_weight,
        }
        if activity_weight == 0:
            raise ValueError("expected activity_weight > 0, got 0; 1 is usual")
        for name, weight in weights.items():
            if not 0 <= weight < float("inf"):
                raise ValueError(f"expected a finite {name} >= 0, got {weight}; 0 leaves it out")
        if sign not in (1, -1):
            raise ValueError(f"expected sign 1 or -1, got {sign!r}; 1 excites, -1 suppresses")
        items = make_items(network, cell_types, seeds, networks, u, v)
        n_frames = protocol.frames(t_stim)
        if n_frames < 1:
            raise ValueError(
                f"expected t_stim of at least one frame ({protocol.dt:g} s), got {t_stim} s; "
                "0.8 is usual"
            )
        if isinstance(init, Tensor):
            start = init
        else:
            start = starting_stimulus(network, items, n_frames, protocol, init)
        super().__init__(
            network,
            items,
            start,
            protocol,
            contrast=contrast,
            parametrization=parametrization,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            patience=patience,
        )
        self.readout = protocol.readout(start.shape[1])
        self.objective = find_objective(objective, temperature)
        self.sign, self.weights = sign, weights
        self._described = {
            "objective": objective if isinstance(objective, str) else function_name(objective),
            "temperature": temperature,
            "sign": sign,
            "contrast": list(contrast),
            "init": init if isinstance(init, str) else "tensor",
            **weights,
        }
        self.register_buffer(
            "_neighbours", torch.as_tensor(network.lattice.neighbour_pairs()), persistent=False
        )

    @classmethod
    def flyvis(
        cls, network: ResponseModel, cell_types: str | list[str], **more: Any
    ) -> StimulusGenerator:
        """The settings of flyvis's `artificial_optimal_stimuli`, spelt out; run 200 steps."""
        settings: dict[str, Any] = {
            "objective": "exp_last_frame",
            "activity_weight": 1.0,
            "grey_weight": 3000.0,
            "parametrization": "clamp",
            "init": "noise",
            "optimizer": adam,
        }
        return cls(network, cell_types, **{**settings, **more})

    def losses(self, luminance: Tensor, responses: Tensor) -> Terms:
        """Objective and penalties, each `(items,)`."""
        weights = self.weights
        signal = central_signal(responses, self.sign)[:, self.readout]
        terms = {
            TOTAL: torch.zeros_like(signal[:, 0]),
            ACTIVITY: -weights["activity_weight"] * self.objective(signal),
            GREY_LOSS: weights["grey_weight"] * penalties.grey(luminance),
        }
        if weights["variation_weight"]:
            variation = penalties.total_variation(luminance, self._neighbours)
            terms["loss/variation"] = weights["variation_weight"] * variation
        if weights["roughness_weight"]:
            roughness = penalties.temporal_roughness(luminance)
            terms["loss/roughness"] = weights["roughness_weight"] * roughness
        terms[TOTAL] = torch.stack(list(terms.values())).sum(dim=0)
        return terms

    def settings(self) -> dict[str, Any]:
        """Plain values that decide the result."""
        return {**super().settings(), **self._described}


def starting_stimulus(
    network: ResponseModel, items: Sequence[Item], n_frames: int, protocol: Protocol, init: str
) -> Tensor:
    """First stimulus `(items, frames, columns)`.

    A naturalistic start is as long as the longest clip. Shorter ones are preceded by grey, as the
    pre-stimulus is, so that every clip ends with the last frame, where most objectives look.

    Raises:
        ValueError: for an unknown start, or a search result that does not fit.
    """
    n_columns = network.lattice.n_columns
    if init == "noise":
        return noise(items, n_frames, n_columns)
    if init == "grey":
        return torch.full((len(items), n_frames, n_columns), GREY)
    if init.startswith(NATURALISTIC):
        clips, lengths = naturalistic_start(
            init.removeprefix(NATURALISTIC), network, items, protocol.dt
        )
        start = torch.full_like(clips, GREY)
        for i, length in enumerate(lengths.tolist()):
            start[i, clips.shape[1] - length :] = clips[i, :length]
        return start
    raise ValueError(
        f"expected init 'noise', 'grey', 'naturalistic:RESULT.h5' or a tensor, got {init!r}; "
        "choose one of them"
    )
