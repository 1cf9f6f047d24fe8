"""The regularized optimum: a clip pulled to grey while its central response stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer

from stimopt.items import ALL, make_items
from stimopt.networks.model import ResponseModel, device_of
from stimopt.optimize import band as constraint
from stimopt.optimize import penalties
from stimopt.optimize.module import (
    ACTIVITY,
    GREY_LOSS,
    TOTAL,
    StimulusModule,
    Terms,
)
from stimopt.optimize.starting_clip import starting_clip
from stimopt.optimize.steps import OptimizerFactory, SchedulerFactory, adam
from stimopt.protocol import GREY, Protocol
from stimopt.results.result import Variable
from stimopt.storage.identity import digest

VIOLATION = "constraint/violation"
DEVIATION = "constraint/deviation"
MULTIPLIER = "constraint/multiplier"
STIFFNESS = "constraint/stiffness"

ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""Relative; responses simulated again in another batch or on another device differ by this."""


def accelerated(parameters: Any) -> Optimizer:
    """Nesterov's gradient method; with the gradient scaled by curvature, step 1 suits any item."""
    return torch.optim.SGD(parameters, lr=1.0, momentum=0.9, nesterov=True)


class StimulusRegularizer(StimulusModule):
    """Pulls a stimulus to grey while the central response stays near its target.

    `constrained` minimises sum (x - 0.5)^2 subject to |r_t - target_t| <= tolerance * range of the
    target, for all frames of the read-out window, and x in [0, 1]. It is an augmented Lagrangian
    with one multiplier a frame: no weight is set by hand, and units and scales of cell types drop
    out, since the stiffness is measured in the response's own curvature (power iteration at the
    start, raised where the gradients show more). The best iterate is the greyest that meets the
    tolerance. Pure gradient steps suffice because the distance to grey is perfectly conditioned.

    `penalized` minimises activity_weight * sum (r_t - target_t)^2 + grey_weight * sum (x - 0.5)^2,
    as flyvis does.

    Args:
        network: the frozen network.
        cell_types: a name, several (a list, or with commas between), or `all`.
        protocol: pre-stimulus, step, baseline and read-out window.
        init: the clip to start from: `naturalistic:RESULT.h5` (the winner in a search result), or
            a tensor `(items, frames, columns)` in [0, 1].
        n_frames: with a tensor, the frames of each clip that count, `(items,)`; None is all.
        target: trace to keep, `(items, frames)`; None is the response to the start.
        method: `constrained` or `penalized`.
        tolerance: largest deviation as a fraction of the target's range; several make an item of
            each, with one trade-off between greyness and tolerance for each cell type.
        activity_weight: of the squared deviation, for `penalized`; flyvis's `l2_act`.
        grey_weight: of the squared distance to grey, for `penalized`; flyvis's `l2_stim`.
        networks: positions of the networks to use, or `all`.
        parametrization: `clamp`, or for `penalized` also `free` (flyvis) or `sigmoid`.
        optimizer: from parameters to a torch optimizer; by default `accelerated` for
            `constrained`, Adam at 0.01 for `penalized`. For `constrained` the gradient it gets is
            divided by the item's curvature.
        lr_scheduler: from that optimizer to a torch scheduler, stepped once a step.
        patience: stop an item that has not improved for so many steps; the first hundred steps
            of `constrained` often meet no tolerance, so give more than that.
        u: column read out, axial coordinate.
        v: likewise.

    Raises:
        ValueError: for names, tolerances, weights or shapes that do not fit.
    """

    target: Tensor
    tolerance: Tensor
    target_range: Tensor
    allowed: Tensor
    multiplier: Tensor
    stiffness: Tensor
    curvature: Tensor
    _ratio_sum: Tensor
    _start_off: Tensor
    _excess_before: Tensor
    _grey_before: Tensor

    def __init__(
        self,
        network: ResponseModel,
        cell_types: str | list[str] = "T4c",
        protocol: Protocol | None = None,
        *,
        init: str | Tensor,
        n_frames: Sequence[int] | Tensor | None = None,
        target: Tensor | None = None,
        method: Literal["constrained", "penalized"] = "constrained",
        tolerance: float | list[float] = 0.02,
        activity_weight: float = 1.0,
        grey_weight: float = 1.0,
        networks: str | list[int] = ALL,
        parametrization: Literal["clamp", "sigmoid", "free"] = "clamp",
        optimizer: OptimizerFactory | None = None,
        lr_scheduler: SchedulerFactory | None = None,
        patience: int | None = None,
        u: int = 0,
        v: int = 0,
    ) -> None:
        protocol = Protocol() if protocol is None else protocol
        tolerances = constraint.check_tolerances(tolerance)
        constraint.check_method(method, parametrization, activity_weight, grey_weight)
        each = len(tolerances)
        # A place in the list of tolerances tells items apart, as a seed does elsewhere.
        items = make_items(network, cell_types, list(range(each)), networks, u, v)
        start, lengths = starting_clip(network, items, protocol, init, n_frames, each)
        super().__init__(
            network,
            items,
            start,
            protocol,
            n_frames=lengths,
            parametrization=parametrization,
            optimizer=optimizer or (accelerated if method == "constrained" else adam),
            lr_scheduler=lr_scheduler,
            patience=patience,
        )
        self.method = method
        self.activity_weight, self.grey_weight = activity_weight, grey_weight
        self.labels = [
            label.replace(f"-seed{item.seed}", f"-tol{tolerances[item.seed]:g}")
            for label, item in zip(self.labels, items, strict=True)
        ]
        self._described = {
            "method": method,
            "tolerance": tolerances,
            "activity_weight": activity_weight,
            "grey_weight": grey_weight,
            "init": init if isinstance(init, str) else "tensor",
            "target": "response to the start" if target is None else f"tensor {digest(target)}",
        }
        # Persistent, so that a resumed fit keeps to the very trace it began with.
        self.register_buffer("target", self._target(target, start, each))
        window = self.window
        reach = constraint.trace_range(self.target, window)
        if still := self._names(reach == 0):
            raise ValueError(
                f"expected a target that varies within the read-out window, got none for {still}, "
                "so a fraction of its range is nothing; widen the window or take another clip"
            )
        fraction = torch.tensor(tolerances * (len(items) // each))
        rounding = ROUNDING * self.target.abs().masked_fill(~window, 0.0).amax(dim=1)
        # Met with room for rounding, so that it is still met when simulated again.
        allowed = torch.maximum(fraction * reach - rounding, rounding)
        zeros = torch.zeros(len(items))
        for name, value in (
            ("tolerance", fraction),
            ("target_range", reach),
            ("allowed", allowed.clamp(min=float(np.finfo(np.float32).tiny))),
            ("multiplier", torch.zeros_like(self.target)),
            ("stiffness", torch.full_like(zeros, constraint.FIRST_STIFFNESS)),
            ("curvature", zeros),
            ("_ratio_sum", zeros.clone()),
            ("_excess_before", torch.full_like(zeros, torch.inf)),
            ("_grey_before", torch.full_like(zeros, torch.inf)),
        ):
            self.register_buffer(name, value)
        self._off: Tensor | None = None

    @classmethod
    def flyvis(
        cls, network: ResponseModel, cell_types: str | list[str], **more: Any
    ) -> StimulusRegularizer:
        """flyvis's `regularized_optimal_stimuli` with its defaults, spelt out; run 100 steps.

        It keeps its promise badly: at these weights the peak of T4c falls by 28 %.
        """
        settings: dict[str, Any] = {
            "method": "penalized",
            "activity_weight": 1.0,
            "grey_weight": 1.0,
            "parametrization": "free",
            "optimizer": adam,
        }
        return cls(network, cell_types, **{**settings, **more})

    # -- the loss -------------------------------------------------------------------------------

    def losses(self, luminance: Tensor, responses: Tensor) -> Terms:
        """Distance to grey and what holds the response, each `(items,)`."""
        off = constraint.deviation(responses[..., 0], self.target, self.window)
        grey = penalties.grey_sum(luminance)
        constrained = self.method == "constrained"
        if constrained:
            activity = constraint.band_term(self.multiplier, off, self.band, self.rho)
        else:
            activity = self.activity_weight * off.square().sum(dim=1)
            grey = self.grey_weight * grey
        self._off = off.detach()
        terms = {
            TOTAL: activity + grey,
            ACTIVITY: activity,
            GREY_LOSS: grey,
            DEVIATION: self._off.abs().amax(dim=1) / self.target_range,
            VIOLATION: constraint.overshoot(self._off, self.allowed),
        }
        if constrained:
            terms[MULTIPLIER] = self.multiplier.norm(dim=1)
            terms[STIFFNESS] = self.stiffness.clone()
        return terms

    def merit(self, terms: Terms) -> Tensor:
        """Distance to grey of what meets the tolerance, infinite for what does not."""
        if self.method == "penalized":
            return super().merit(terms)
        return torch.where(terms[VIOLATION] == 0, terms[GREY_LOSS], torch.inf)

    def driven(self) -> Tensor:
        """The response itself: at the start no deviation is left to have a gradient."""
        central = self.respond(constraint.off_the_ends(self.luminance()))[..., 0]
        return torch.where(self.window, central, 0.0).sum(dim=1)

    @property
    def band(self) -> Tensor:
        """Half-width of the band aimed at, `(items,)`."""
        return self.allowed * (1 - constraint.MARGIN)

    @property
    def rho(self) -> Tensor:
        """Stiffness in units of multiplier over response, `(items,)`; 2 is the grey's curvature."""
        return 2 * self.stiffness / self.curvature.clamp(min=float(np.finfo(np.float32).tiny))

    def settings(self) -> dict[str, Any]:
        """Plain values that decide the result."""
        return {**super().settings(), **self._described}

    # -- one step -------------------------------------------------------------------------------

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Scale the gradient by each item's curvature, then let its multipliers follow."""
        gradient = self.stimulus.grad
        if self.method == "penalized" or gradient is None:
            super().on_before_optimizer_step(optimizer)
            return
        assert self._off is not None
        pressed = constraint.next_multiplier(self.multiplier, self._off, self.band, self.rho)
        pull = gradient - 2 * (self.stimulus.detach() - GREY)
        super().on_before_optimizer_step(optimizer)
        gradient.div_(2 * (1 + self.stiffness)[:, None, None])
        # |J^T m|^2 / |m|^2 is never above the largest curvature: where it is above the one held,
        # that was too small, because the response steepened on the way.
        shown = pull.square().sum(dim=2).sum(dim=1) / pressed.square().sum(dim=1)
        shown = torch.where(self.running & torch.isfinite(shown), shown, 0.0)
        self.curvature.copy_(torch.maximum(self.curvature, shown))
        self._follow(pressed)

    @torch.no_grad()
    def _follow(self, pressed: Tensor) -> None:
        """Every so many steps: take over the multipliers, and stiffen what makes no progress."""
        assert self._off is not None
        self._ratio_sum += self._off.abs().amax(dim=1) / self.allowed
        if (self.global_step + 1) % constraint.PERIOD:
            return
        grey = penalties.grey_sum(self.luminance())
        stiffness, excess = constraint.stiffen(
            self.stiffness,
            self._ratio_sum / constraint.PERIOD,
            self._excess_before,
            grey,
            self._grey_before,
        )
        self.stiffness.copy_(stiffness)
        self.multiplier.copy_(pressed)
        self._excess_before.copy_(excess)
        self._grey_before.copy_(grey)
        self._ratio_sum.zero_()

    # -- start and end --------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        """Measure the curvature; say which starts do not meet the tolerance."""
        super().on_fit_start()
        if self.method == "penalized" or bool((self.curvature > 0).all()):
            return
        curvature = constraint.largest_curvature(
            lambda stimulus: self.respond(stimulus)[..., 0],
            constraint.off_the_ends(self.luminance().detach()),
            self.window,
        )
        self.curvature.copy_(curvature)
        missed = self._names(constraint.overshoot(self._start_off, self.allowed) > 0)
        if missed:
            rank_zero_warn(
                f"expected a start within the tolerance, got one that exceeds it for {missed}; a "
                "stimulus within it may not be found"
            )

    @torch.no_grad()
    def on_train_end(self) -> None:
        """Record the last iterate; say which items found nothing within the tolerance."""
        super().on_train_end()
        if self.method == "penalized":
            return
        none = torch.isinf(self.best_merit)
        for found, text in (
            (none, "none was found, so the start stands as it was"),
            (~none & (self.best_step == 0), "none but the start was found"),
        ):
            if names := self._names(found):
                rank_zero_warn(
                    f"expected a greyer stimulus within the tolerance for {names}, but {text}; "
                    "give more steps or a wider tolerance"
                )

    def extra_variables(self) -> dict[str, Variable]:
        """Target and predicted trace, the tolerance and whether it is met, simulated anew."""
        with torch.no_grad():
            central = self.respond(self.best_stimulus)[..., 0].float()
        off = constraint.deviation(central, self.target, self.window).abs().amax(dim=1)
        frames = torch.arange(central.shape[1], device=central.device)
        beyond = frames >= self.n_frames[:, None]
        best = self.best_stimulus.masked_fill(beyond[..., None], torch.nan)
        per_item, per_frame, voltage = ("item",), ("item", "frame"), "voltage, a.u."
        met = off <= self.tolerance * self.target_range
        arrays: dict[str, tuple[tuple[str, ...], Tensor, str]] = {
            "regularized_stimulus": (("item", "frame", "column"), best, "luminance, 0 to 1"),
            "central_target_response": (
                per_frame,
                self.target.masked_fill(beyond, torch.nan),
                voltage,
            ),
            "central_predicted_response": (
                per_frame,
                central.masked_fill(beyond, torch.nan),
                voltage,
            ),
            "tolerance": (per_item, self.tolerance, "fraction of the target's range"),
            "largest_deviation": (
                per_item,
                off / self.target_range,
                "fraction of the target's range",
            ),
            "tolerance_met": (per_item, met, ""),
            "start_tolerance_met": (
                per_item,
                constraint.overshoot(self._start_off, self.allowed) == 0,
                "",
            ),
            "grey_distance": (per_item, penalties.grey_sum(self.best_stimulus), "sum of squares"),
        }
        return {
            name: Variable(dims, tensor.cpu().numpy(), units)
            for name, (dims, tensor, units) in arrays.items()
        }

    def _names(self, which: Tensor) -> str:
        return ", ".join(n for n, w in zip(self.labels, which.tolist(), strict=True) if w)

    @torch.no_grad()
    def _target(self, given: Tensor | None, start: Tensor, each: int) -> Tensor:
        """The trace to keep, `(items, frames)`, and how far the start is from it."""
        device = device_of(self.network, start)
        trace = self.network.respond(
            start.to(device),
            self.protocol,
            self.cells.to(device),
            self.network_index.to(device),
        )[..., 0]
        trace = trace.to(start.device, torch.float32)
        target = trace.clone()
        if given is not None:
            target = given.detach().to(trace)
            target = target.repeat_interleave(each, dim=0) if len(target) < len(trace) else target
            if target.shape != trace.shape or not torch.isfinite(target[self.window]).all():
                raise ValueError(
                    f"expected a finite target {tuple(trace.shape)} (items, frames) as the start, "
                    f"got {tuple(given.shape)} with "
                    f"{int((~torch.isfinite(given)).sum())} NaN or infinite; leave it out to keep "
                    "the response to the start"
                )
        missed = constraint.deviation(trace, target, self.window)
        self.register_buffer("_start_off", missed, persistent=False)
        return target
