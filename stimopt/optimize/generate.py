"""The artificial optimum of a weighted loss: a stimulus grown from noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from stimopt import expect
from stimopt.items import Item
from stimopt.networks.model import ResponseModel
from stimopt.optimize import penalties as known
from stimopt.optimize.objective_module import ObjectiveModule
from stimopt.optimize.objectives import Objective
from stimopt.optimize.penalties import Penalty, Weighted, find_penalties
from stimopt.optimize.region import (
    Fall,
    RegionSteps,
    StepsToRegionOptimum,
    from_grey,
    largest_size,
)
from stimopt.optimize.starts import kind_of_start, starting_stimulus
from stimopt.optimize.steps import OptimizerFactory, adam, descend
from stimopt.optimize.sums import TINY, length
from stimopt.optimize.terms import ACTIVITY, Terms, with_total
from stimopt.protocol import GREY, Protocol
from stimopt.storage.identity import function_name

FLYVIS_PENALTIES: dict[str, Weighted] = {"grey": 3000.0}


class StimulusGenerator(ObjectiveModule):
    """Grows the stimulus that drives a cell type most; the defaults are flyvis's.

    loss = -activity_weight * pool(objective(sign * response)) + sum of weight * penalty.

    Args:
        network: the frozen network.
        cell_types: a name, several (a list, or with commas between), or `all`.
        protocol: pre-stimulus, step, baseline and read-out window.
        objective: `exp_last_frame` (flyvis), or another of `ObjectiveModule`'s.
        activity_weight: of the objective.
        penalties: weights by name: `grey` (mean squared distance to grey; flyvis's 3000 goes with
            `exp`), `grey_sum`, `variation` (across columns), `roughness` (in time), the dotted
            path of a function from luminance `(items, frames, columns)` to `(items,)`; or under a
            name of its own a pair of a weight and a function.
        init: `noise`, `grey`, `naturalistic:RESULT.h5` (the winner in a search result), or a
            tensor `(items, frames, columns)`; the last two keep their own length.
        optimizer: from parameters to a torch optimizer; Adam at 0.01 by default.
        **options: as for `ObjectiveModule`, such as `t_stim`, `seeds`, `sign`, `contrast` and
            `parametrization`.

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
        objective: str | Objective = "exp_last_frame",
        activity_weight: float = 1.0,
        penalties: Mapping[str, Weighted] = FLYVIS_PENALTIES,
        init: str | Tensor = "noise",
        optimizer: OptimizerFactory = adam,
        **options: Any,
    ) -> None:
        protocol = Protocol() if protocol is None else protocol
        expect.number("activity_weight", activity_weight, "1 is usual", above=0)

        def start(items: Sequence[Item], n_frames: int) -> Tensor:
            if isinstance(init, Tensor):
                return init
            assert protocol is not None
            return starting_stimulus(network, items, n_frames, protocol.dt, init)

        super().__init__(
            network,
            cell_types,
            protocol,
            objective=objective,
            start=start,
            optimizer=optimizer,
            **options,
        )
        self.activity_weight = activity_weight
        self.penalties = find_penalties(penalties, network.lattice)
        self._settings |= {
            "init": kind_of_start(init),
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
        terms = {ACTIVITY: -self.activity_weight * self.objective_values(responses)}
        for name, (weight, penalty) in self.penalties.items():
            terms[f"loss/{name}"] = weight * penalty(luminance)
        return with_total(terms)


class RegionGenerator(StepsToRegionOptimum, StimulusGenerator):
    """The same loss in fewer gradients, by steps toward the optimum of each region.

    The grey penalties are not followed by their gradient but minimised exactly in every step, so
    that no pixel wanders around grey.

    Args:
        *arguments: as for `StimulusGenerator`.
        anneal: steps over which the limit of a step falls to nothing; each item then stops.
        **options: as for `StimulusGenerator`, without parametrization, optimizer and schedule.

    Example:
        >>> import stimopt
        >>> network = stimopt.builtin_network(extent=3)
        >>> fit = stimopt.RegionGenerator(network, "T4c", t_stim=0.1, anneal=5)
        >>> stimopt.fit(fit, steps=5)["losses"].shape
        (6, 1)
    """

    def __init__(self, *arguments: Any, anneal: int = 30, **options: Any) -> None:
        super().__init__(*arguments, optimizer=descend, **options)
        self.region = RegionSteps(self.luminance().detach(), Fall(anneal))
        pixels = self.stimulus[0].numel()
        curvatures: dict[Penalty, float] = {known.grey: 2 / pixels, known.grey_sum: 2.0}
        self._curvature = sum(
            weight * curvatures.get(penalty, 0.0) for weight, penalty in self.penalties.values()
        )
        self._settings["anneal"] = anneal

    def region_optimum(self, gradient: Tensor, luminance: Tensor) -> Tensor:
        """1/2 + the pull of all terms but grey, over grey's curvature, in [0, 1]."""
        pull = self._curvature * (luminance - GREY) - gradient
        direction = self.region.mean_direction(pull)
        size = length(pull) / max(self._curvature, TINY)
        return from_grey(size.minimum(largest_size(direction)), direction)
