"""Varied optima: unlike stimuli that drive one cell nearly as far, and how unlike they can be."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stimopt import expect
from stimopt.networks.model import ResponseModel
from stimopt.optimize import penalties
from stimopt.optimize.at_level import LEVEL_STEPS, SMALLEST, GreyestAtLevel
from stimopt.optimize.region import Fall, RegionSteps, nearest_to_grey
from stimopt.optimize.starts import noise
from stimopt.optimize.sums import TINY, dot
from stimopt.optimize.terms import GREY_LOSS, VIOLATION, Terms
from stimopt.protocol import GREY, Protocol
from stimopt.results import Result, Variable
from stimopt.results.variables import array_of

REPULSION = 0.9
"""Worth of a squared distance between stimuli, in squared distances to grey. It is below 1, so that
no stimulus differs in what the cell does not see, and a linear cell has one solution."""
FIRST_LIMIT = 0.2
"""Steps from noise, of which some items lose their way with longer ones."""
FRACTION, STIMULI = 0.85, 4


class VariedGenerator(GreyestAtLevel):
    """Seeks stimuli that each drive a cell to a level and differ as much as they can.

    For each cell there is the efficient stimulus e, nearest to grey at the level, and a group of n
    stimuli x_i that start from noise and repel each other. With y = x - 1/2 and the mean m of the
    y_i, the group minimises

        sum_i |y_i|^2 - b |y_i - m|^2,    each response >= level,

    where sum_i |y_i - m|^2 is n - 1 halves of the mean squared distance of a pair, and b = 0.9 is
    what distance is worth in contrast. Within a region of the network, and with the second term
    linearized as it is concave, the optimum is clip(1/2 + b (y_i - m) + mu_i g_i).

    The diversity of a cell is the part of the efficient stimulus's contrast that its varied stimuli
    need not have in common:

        diversity = 1 - |m|^2 / |e|^2,    cut to [0, 1].

    It has no unit and no scale, and any increasing function of the response leaves it the same. It
    is 0 for a linear cell, with or without a saturating output, whatever the fraction: its good
    stimuli are a convex set, so their mean is one of them and has no less contrast than e. Pixels
    that the cell does not see cannot raise it, since only what is common is measured. It is 1 for
    a phase-invariant energy cell, whose good stimuli come with their negatives and cancel. A cell
    with n solutions that share no pixel has 1 - 1/n.

    Each stimulus has a control: it has the same contrast and the same distance to e, but what it
    does not share with e is random (signs of its pixels are drawn anew). If many stimuli so far
    from e drove the cell, the control would too.

    Args:
        network: the frozen network.
        cell_types: a name, several (a list, or with commas between), or `all`.
        protocol: pre-stimulus, step, baseline and read-out window.
        ceiling: result of `range_fit` for these cells, or its file.
        fraction: of the way from the response at grey to the ceiling, in (0, 1], that each reaches
            at least.
        stimuli: n, of the group, at least 2.
        anneal: steps over which the limit of a step falls to nothing; each item then stops.
        **options: as for `ObjectiveModule`, and as for the ceiling.

    Raises:
        ValueError: for a fraction or number out of range, or a ceiling that does not fit.

    Example:
        >>> import stimopt
        >>> network = stimopt.builtin_network(extent=3)
        >>> options = {"cell_types": "T4c", "t_stim": 0.1}
        >>> ceiling = stimopt.fit(stimopt.VariedGenerator.range_fit(network, **options))
        >>> varied = stimopt.fit(stimopt.VariedGenerator(network, ceiling=ceiling, **options))
        >>> varied["label"].tolist()[:2]
        ['T4c-efficient', 'T4c-varied 1']
        >>> bool(0 <= varied["diversity"][0] <= 1)
        True
    """

    efficient: Tensor

    def __init__(
        self,
        network: ResponseModel,
        cell_types: str | list[str] = "T4c",
        protocol: Protocol | None = None,
        *,
        ceiling: str | Path | Result | None = None,
        fraction: float = FRACTION,
        stimuli: int = STIMULI,
        anneal: int = LEVEL_STEPS,
        **options: Any,
    ) -> None:
        self.require(fraction, stimuli, anneal)
        self._size = 1 + stimuli
        super().__init__(
            network,
            cell_types,
            protocol,
            (fraction,) * self._size,
            math.inf,
            ceiling,
            anneal,
            variants=["efficient", *(f"varied {i + 1}" for i in range(stimuli))],
            **options,
        )
        efficient = torch.arange(len(self.items)) % self._size == 0
        self.register_buffer("efficient", efficient, persistent=False)
        # Another noise for every stimulus, and for every seed.
        items = [replace(it, seed=it.seed * self._size + i) for i, it in enumerate(self.items)]
        start = noise(items, *self.stimulus.shape[1:]).to(self.stimulus)
        with torch.no_grad():
            moved = (~efficient & ~self.flat)[:, None, None]
            self.stimulus.copy_(torch.where(moved, start, self.stimulus))
        self.region = RegionSteps(self.stimulus.detach(), Fall(anneal, FIRST_LIMIT), momentum=0.9)
        self._settings["stimuli"] = stimuli

    @staticmethod
    def require(
        fraction: float = FRACTION, stimuli: int = STIMULI, anneal: int = LEVEL_STEPS
    ) -> None:
        """Reject values out of range."""
        expect.number("fraction", fraction, f"{FRACTION:g} is usual", above=0, at_most=1)
        expect.whole("stimuli of a group", stimuli, f"{STIMULI} is usual", at_least=2)
        expect.whole("anneal in steps", anneal, f"{LEVEL_STEPS} is usual", at_least=1)

    def region_optimum(self, gradient: Tensor, luminance: Tensor) -> Tensor:
        """The nearest stimulus to the centre of repulsion where the linear response is enough."""
        direction, missing = self.linear_response(gradient)
        common = self._common(luminance).repeat_interleave(self._size, dim=0)
        apart = (luminance - common).masked_fill(self.efficient[:, None, None], 0.0)
        centre = (GREY + REPULSION * apart).clamp(0.0, 1.0)
        factor = nearest_to_grey(direction, luminance, missing, centre)
        self.multiplier.copy_((2 * factor).clamp(min=SMALLEST))
        return (centre + factor[:, None, None] * direction).clamp(0.0, 1.0)

    def score(self, terms: Terms) -> Tensor:
        """Distance to grey of the efficient one; of the others the last that meets the level.

        What one of a group is worth depends on where the others are, which differs between steps.
        """
        latest = -self.region.done.to(terms[GREY_LOSS])
        worth = torch.where(self.efficient, terms[GREY_LOSS], latest)
        return torch.where(terms[VIOLATION] <= 0, worth, torch.inf)

    def extra_variables(self) -> dict[str, Variable]:
        """Those of any level, the diversity of each cell, and the controls."""
        shared = super().extra_variables()
        best = self.record.best_stimulus
        controls = self.controls(best)
        with torch.no_grad():
            reached = (self.objective_values(self.respond(controls)) - self.at_grey) / self.span
        met = torch.as_tensor(shared["level_met"].values)
        distance = penalties.grey_sum(best - self._of_efficient(best) + GREY).sqrt()
        part = "of the way from grey"
        return {
            **shared,
            "diversity": Variable(("item",), array_of(self._diversity(best, met))),
            "distance": Variable(("item",), array_of(distance), "luminance, to the efficient one"),
            "control_reached": Variable(
                ("item",), array_of(reached.masked_fill(self.flat, torch.nan)), part
            ),
        }

    def controls(self, stimuli: Tensor) -> Tensor:
        """The control of each stimulus, `(items, frames, columns)`, in [0, 1].

        Args:
            stimuli: of that shape.
        """
        y, e = stimuli - GREY, self._of_efficient(stimuli) - GREY
        norm = dot(e, e).clamp(min=TINY)
        along = (dot(y, e) / norm)[:, None, None] * e
        rest = y - along
        coins = torch.Generator().manual_seed(0)
        signs = torch.randint(0, 2, rest.shape, generator=coins).to(rest) * 2 - 1
        other = signs * rest
        other = other - (dot(other, e) / norm)[:, None, None] * e
        size = (dot(rest, rest) / dot(other, other).clamp(min=TINY)).sqrt()
        return (GREY + along + size[:, None, None] * other).clamp(0.0, 1.0)

    def _diversity(self, stimuli: Tensor, met: Tensor) -> Tensor:
        """Diversity of each cell's stimuli, `(items,)`; NaN unless all of them meet the level."""
        efficient = stimuli[:: self._size]
        common = self._common(stimuli)
        index = 1 - penalties.grey_sum(common) / penalties.grey_sum(efficient).clamp(min=TINY)
        all_met = met.reshape(-1, self._size).all(dim=1).to(index.device)
        index = index.clamp(0.0, 1.0).masked_fill(~all_met, torch.nan)
        return index.repeat_interleave(self._size)

    def _common(self, luminance: Tensor) -> Tensor:
        """Mean of each group, `(cells, frames, columns)`."""
        groups = luminance.reshape(-1, self._size, *luminance.shape[1:])
        return groups[:, 1:].mean(dim=1)

    def _of_efficient(self, luminance: Tensor) -> Tensor:
        """The efficient one of each item's cell, `(items, frames, columns)`."""
        return luminance[:: self._size].repeat_interleave(self._size, dim=0)
