"""The regularized optimum: a clip pulled to grey while its response is preserved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from stimopt import expect
from stimopt.items import ALL, Item, Readout, make_items
from stimopt.networks.model import ResponseModel, device_of
from stimopt.optimize import penalties
from stimopt.optimize.band import Band, trace_range
from stimopt.optimize.constrained import GreyestWithinBand
from stimopt.optimize.module import StimulusModule
from stimopt.optimize.parametrization import Parametrization
from stimopt.optimize.record import StopReason
from stimopt.optimize.starts import kind_of_start, starting_clip
from stimopt.optimize.steps import OptimizerFactory, SchedulerFactory, adam, nesterov
from stimopt.optimize.sums import TINY
from stimopt.optimize.terms import ACTIVITY, DEVIATION, GREY_LOSS, Terms, with_total
from stimopt.protocol import Protocol
from stimopt.results import Variable
from stimopt.results.variables import array_of
from stimopt.storage.identity import digest

ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""Relative; responses simulated again in another batch or on another device differ by this."""


class StimulusRegularizer(GreyestWithinBand):
    """Pulls a clip to grey while its central response stays within a tolerance.

    Minimises sum (x - 0.5)^2 subject to |r_t - target_t| <= tolerance * range of the target, for
    all frames of the read-out window, and x in [0, 1]: the band of `stimopt.optimize.band` around
    the target.

    Args:
        network: the frozen network.
        cell_types: a name, several (a list, or with commas between), or `all`.
        protocol: pre-stimulus, step, baseline and read-out window.
        init: the clip to start from: `naturalistic:RESULT.h5` (the winner in a search result), or
            a tensor `(items, frames, columns)` in [0, 1].
        n_frames: with a tensor, the frames of each clip that count, `(items,)`; None is all.
        target: trace to preserve, `(items, frames)`; None is the response to the start.
        tolerance: largest deviation as a fraction of the target's range; several make an item of
            each, and the trade-off between greyness and tolerance for each cell type.
        networks: positions of the networks to use, or `all`.
        optimizer: from parameters to a torch optimizer; `nesterov` by default. The gradient it
            receives is divided by the item's curvature.
        lr_scheduler: from that optimizer to a torch scheduler, stepped once a step.
        patience: stop an item that has not improved for so many steps, also one that has not met
            its tolerance, which often takes a hundred. In any case an item stops that meets it and
            no longer becomes greyer.
        u: column read out, axial coordinate.
        v: its other coordinate.

    Raises:
        ValueError: for names, tolerances or shapes that do not fit.

    Example:
        >>> import torch, stimopt
        >>> network = stimopt.builtin_network(extent=3)
        >>> clip = torch.rand(1, 8, 37, generator=torch.Generator().manual_seed(0))
        >>> fit = stimopt.StimulusRegularizer(network, "T4c", init=clip)
        >>> bool(stimopt.fit(fit, steps=2)["tolerance_met"][0])
        True
    """

    kind = "regularized"
    usual_steps = 450
    tolerance: Tensor
    target_range: Tensor

    def __init__(
        self,
        network: ResponseModel,
        cell_types: str | list[str] = "T4c",
        protocol: Protocol | None = None,
        *,
        init: str | Tensor,
        n_frames: Sequence[int] | Tensor | None = None,
        target: Tensor | None = None,
        tolerance: float | list[float] = 0.02,
        networks: str | list[int] = ALL,
        optimizer: OptimizerFactory = nesterov,
        lr_scheduler: SchedulerFactory | None = None,
        patience: int | None = None,
        u: int = 0,
        v: int = 0,
    ) -> None:
        protocol = Protocol() if protocol is None else protocol
        tolerances = _tolerances(tolerance)
        repeats = len(tolerances)
        items = [
            replace(item, variant=f"tol{value:g}" if repeats > 1 else "")
            for item in make_items(network, cell_types, 0, networks, u, v)
            for value in tolerances
        ]
        start, lengths = starting_clip(network, items, protocol.dt, init, n_frames, repeats)
        super().__init__(
            network,
            items,
            start,
            protocol,
            n_frames=lengths,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            patience=patience,
        )
        window = self.window
        response = response_to_start(network, items, start, protocol)
        level = target_trace(target, response, window, repeats)
        size = trace_range(level, window)
        self._stop_constant(size == 0)
        fraction = torch.tensor(tolerances * (len(items) // repeats))
        rounding = ROUNDING * level.abs().masked_fill(~window, 0.0).amax(dim=1)
        # Met with room for rounding, so that it is still met when simulated again.
        allowed = torch.maximum(fraction * size - rounding, rounding)
        bound = torch.where(window, allowed.clamp(min=TINY)[:, None], torch.inf)[:, None]
        self.band = Band(level[:, None], bound, bound)
        self.register_buffer("tolerance", fraction)
        self.register_buffer("target_range", size.clamp(min=TINY))
        start_off = self.band.deviation(response[:, None])
        self.start_within = self.band.violation(start_off) == 0
        """Items whose start meets the tolerance, `(items,)`."""
        self._settings |= {
            "tolerance": tolerances,
            "init": kind_of_start(init),
            "target": "response to the start" if target is None else f"tensor {digest(target)}",
        }

    def _stop_constant(self, constant: Tensor) -> None:
        """Stop items `(items,)` whose target does not vary; reject a fit of such alone."""
        if not (labels := ", ".join(self.labels_of(constant))):
            return
        expected = "targets that vary within the read-out window"
        got = f"constant ones for {labels}, of whose range no fraction can be taken"
        advice = "widen the window or take other clips"
        expect.that(not bool(constant.all()), expected, got, advice)
        self.record.stop(constant, StopReason.CONSTANT_TARGET)
        rank_zero_warn(
            f"expected {expected}, got {got}; their clips are kept as they are: {advice}"
        )

    def losses(self, luminance: Tensor, responses: Tensor) -> Terms:
        """Distance to grey, the band's term, and the worst deviation as a fraction of the range."""
        terms = super().losses(luminance, responses)
        worst = self._off.detach().abs().flatten(1).amax(dim=1)
        return {**terms, DEVIATION: worst / self.target_range}

    def begin(self) -> None:
        """Report which starts do not meet the tolerance."""
        super().begin()
        if missed := ", ".join(self.labels_of(~self.start_within)):
            rank_zero_warn(
                f"expected a start within the tolerance, got one that exceeds it for {missed}; a "
                "stimulus within it may not be found"
            )

    @torch.no_grad()
    def on_train_end(self) -> None:
        """Record the last iterate; report which items found nothing within the tolerance."""
        super().on_train_end()
        none = torch.isinf(self.record.best_score)
        for which, text in (
            (none, "none was found, so the start is stored as it was"),
            (~none & (self.record.best_step == 0), "none but the start was found"),
        ):
            if labels := ", ".join(self.labels_of(which)):
                rank_zero_warn(
                    f"expected a greyer stimulus within the tolerance for {labels}, but {text}; "
                    "give more steps or a wider tolerance"
                )

    def extra_variables(self) -> dict[str, Variable]:
        """Target, tolerance and whether it is met by the best iterate, simulated anew."""
        best = self.record.best_stimulus
        with torch.no_grad():
            off = self.band.deviation(self.respond(best)).abs().flatten(1).amax(dim=1)
        fraction = "fraction of the target's range"
        met = off <= self.tolerance * self.target_range
        return {
            **_target_variable(self.band.level[:, 0], self.n_frames),
            "tolerance": Variable(("item",), array_of(self.tolerance), fraction),
            "largest_deviation": Variable(("item",), array_of(off / self.target_range), fraction),
            "tolerance_met": Variable(("item",), array_of(met)),
            "start_tolerance_met": Variable(("item",), array_of(self.start_within)),
            **_grey_variable(best),
        }


class PenalizedRegularizer(StimulusModule):
    """Pulls a clip to grey against a penalty on changes of its response, as flyvis does.

    Minimises activity_weight * sum (r_t - target_t)^2 + grey_weight * sum (x - 0.5)^2 over the
    read-out window; the defaults are flyvis's, as are 100 steps. At these weights the peak of
    T4c falls by more than a quarter: use `StimulusRegularizer` unless the loss must be flyvis's.

    Args:
        network: the frozen network.
        cell_types: a name, several (a list, or with commas between), or `all`.
        protocol: pre-stimulus, step, baseline and read-out window.
        init: the clip to start from, as for `StimulusRegularizer`.
        n_frames: with a tensor, the frames of each clip that count, `(items,)`; None is all.
        target: trace to preserve, `(items, frames)`; None is the response to the start.
        activity_weight: of the squared deviation; flyvis's `l2_act`.
        grey_weight: of the squared distance to grey; flyvis's `l2_stim`.
        networks: positions of the networks to use, or `all`.
        parametrization: `free` (flyvis: pixels may leave [0, 1]), `clamp`, `sigmoid`, or an object.
        optimizer: from parameters to a torch optimizer; Adam at 0.01 by default.
        lr_scheduler: from that optimizer to a torch scheduler, stepped once a step.
        patience: stop an item that has not improved for so many steps.
        u: column read out, axial coordinate.
        v: its other coordinate.

    Raises:
        ValueError: for names, weights or shapes that do not fit.
    """

    kind = "regularized"
    usual_steps = 100
    target: Tensor

    def __init__(
        self,
        network: ResponseModel,
        cell_types: str | list[str] = "T4c",
        protocol: Protocol | None = None,
        *,
        init: str | Tensor,
        n_frames: Sequence[int] | Tensor | None = None,
        target: Tensor | None = None,
        activity_weight: float = 1.0,
        grey_weight: float = 1.0,
        networks: str | list[int] = ALL,
        parametrization: str | Parametrization = "free",
        optimizer: OptimizerFactory = adam,
        lr_scheduler: SchedulerFactory | None = None,
        patience: int | None = None,
        u: int = 0,
        v: int = 0,
    ) -> None:
        protocol = Protocol() if protocol is None else protocol
        for name, weight in (("activity_weight", activity_weight), ("grey_weight", grey_weight)):
            expect.number(name, weight, "1 is flyvis's", at_least=0)
        items = make_items(network, cell_types, 0, networks, u, v)
        start, lengths = starting_clip(network, items, protocol.dt, init, n_frames, 1)
        super().__init__(
            network,
            items,
            start,
            protocol,
            n_frames=lengths,
            parametrization=parametrization,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            patience=patience,
        )
        self.activity_weight, self.grey_weight = activity_weight, grey_weight
        response = response_to_start(network, items, start, protocol)
        # Persistent, so that a resumed fit has the very trace it began with.
        self.register_buffer("target", target_trace(target, response, self.window, 1))
        self._settings |= {
            "activity_weight": activity_weight,
            "grey_weight": grey_weight,
            "init": kind_of_start(init),
            "target": "response to the start" if target is None else f"tensor {digest(target)}",
        }

    def losses(self, luminance: Tensor, responses: Tensor) -> Terms:
        """Squared deviation and squared distance to grey, each `(items,)`, with their weights."""
        off = torch.where(self.window, responses[:, 0] - self.target, 0.0)
        loss = {
            ACTIVITY: self.activity_weight * off.square().sum(dim=1),
            GREY_LOSS: self.grey_weight * penalties.grey_sum(luminance),
        }
        size = trace_range(self.target, self.window).clamp(min=TINY)
        return {**with_total(loss), DEVIATION: off.detach().abs().amax(dim=1) / size}

    def driven(self) -> Tensor:
        """The response itself: at the start no deviation is left to have a gradient."""
        return torch.where(self.window, self.respond(self.luminance())[:, 0], 0.0).sum(dim=1)

    def extra_variables(self) -> dict[str, Variable]:
        """The trace that was to be preserved, and the distance to grey."""
        grey = _grey_variable(self.record.best_stimulus)
        return {**_target_variable(self.target, self.n_frames), **grey}


@torch.no_grad()
def response_to_start(
    network: ResponseModel, items: Sequence[Item], start: Tensor, protocol: Protocol
) -> Tensor:
    """Response of each item's first reading to a start, `(items, frames)`, float32."""
    device = device_of(network, start.device)
    readout = Readout(network, items).to(device)
    response: Tensor = readout(network, start.to(device), protocol)[:, 0]
    return response.to(start.device, torch.float32)


def target_trace(target: Tensor | None, response: Tensor, window: Tensor, repeats: int) -> Tensor:
    """The trace to preserve, `(items, frames)`; by default the response to the start.

    Args:
        target: given, `(items, frames)`, or for several tolerances one for all of them.
        response: to the start, `(items, frames)`.
        window: frames that count, `(items, frames)`, bool.
        repeats: successive items that share a target.

    Raises:
        ValueError: for a target of another shape, or one that is not finite in the window.
    """
    if target is None:
        return response.clone()
    trace = target.detach().to(response)
    if len(trace) < len(response):
        trace = trace.repeat_interleave(repeats, dim=0)
    advice = "leave it out to preserve the response to the start"
    expect.shape("a target (items, frames)", trace, tuple(response.shape), advice)
    expect.finite("target within the read-out window", trace[window], advice)
    return trace


def _tolerances(tolerance: float | Sequence[float]) -> list[float]:
    tolerances = [float(t) for t in tolerance] if isinstance(tolerance, Sequence) else [tolerance]
    once = len(set(tolerances)) == len(tolerances) > 0
    expect.that(once, "tolerances, once each", tolerance, "0.02 is usual")
    for value in tolerances:
        advice = "0.02 is 2 % of the target's range"
        expect.number("a tolerance", value, advice, above=0)
    return tolerances


def _target_variable(target: Tensor, lengths: Tensor) -> dict[str, Variable]:
    after = torch.arange(target.shape[1], device=target.device) >= lengths[:, None]
    values = array_of(target.masked_fill(after, torch.nan))
    return {"central_target_response": Variable(("item", "frame"), values, "voltage, a.u.")}


def _grey_variable(stimulus: Tensor) -> dict[str, Variable]:
    distance = array_of(penalties.grey_sum(stimulus))
    return {"grey_distance": Variable(("item",), distance, "sum of squares")}
