"""How far an optimum can be trusted: a figure for every criterion, compared with its threshold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from stimopt import expect
from stimopt.analysis import robustness
from stimopt.analysis.central_response import grey_voltage
from stimopt.analysis.criteria import CRITERIA, checked_thresholds
from stimopt.analysis.indices import percentile_of
from stimopt.analysis.paths import path_similarity, rows_of_cells
from stimopt.analysis.shown import ShownStimuli, drive_of, traces_of
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.model import ResponseModel
from stimopt.results import Result, ThreeOptima, Variable
from stimopt.results.items import rows_by_cell, seeking_grey, select_items

PASSED, FAILED, SKIPPED = 1, 0, -1
"""Outcomes. A check that needs something which was not passed is skipped, and never passes."""

WITHOUT_DRIVE = ("reproduced", "finite", "restarts")
"""Checks whose figure is not of the drive by the stimulus."""

OF_VOLTAGE = ("last_frame", "soft_peak", "exp_last_frame")
"""Objectives that rise and fall with the peak of one voltage."""

Figures = np.ma.MaskedArray[Any, Any]
"""`(items,)`; masked where a check is skipped."""


def check_optima(
    result: Result | ThreeOptima,
    network: ResponseModel,
    *,
    clips: Result | None = None,
    others: Sequence[ResponseModel] = (),
    thresholds: Mapping[str, float] | None = None,
) -> Result:
    """Compare every optimum with `CRITERIA`.

    Example:
        >>> import stimopt
        >>> network = stimopt.builtin_network(extent=6)
        >>> ceiling = stimopt.fit(stimopt.ResponseRange(network, "T4c", t_stim=0.3))
        >>> checked = stimopt.check_optima(ceiling, network)
        >>> dict(zip(checked["criterion"], checked["outcome"][0], strict=True))["extent"] == 1
        np.True_

    Args:
        result: of a search or fit; of the three optima the artificial one is checked.
        network: the one the result is of.
        clips: of a search with the same network and protocol; the three optima have them.
        others: networks of the same lattice and cell types, as a list; those of a result of several
            count, too.
        thresholds: by name of the criterion, where they are not the default.

    Returns:
        A result of kind `checked`: `criterion` and `threshold` `(check,)`, `figure` and `outcome`
        `(item, check)`, the latter 1 where it passes, 0 where it fails and -1 where it was
        skipped, and `passed` `(item,)`, whether nothing fails. `optimality` is skipped for stimuli
        that were not free to drive their cell alone: those of an objective that is no peak voltage,
        of several cells or networks, of few columns, filtered, or with penalties but for grey.

    Raises:
        ValueError: for a result without stimuli or of another network, clips of another network or
            protocol, networks that lack a cell, or a threshold out of range.
    """
    if isinstance(result, ThreeOptima):
        clips, result = result.naturalistic if clips is None else clips, result.artificial
    alone = isinstance(others, ResponseModel)
    expect.that(not alone, "other networks as a list", "one network", "pass [network]")
    limits = checked_thresholds(thresholds or {})
    shown = ShownStimuli.of(result, network)
    figures = _Measures(result, network, shown, clips, others).all()
    figure = np.stack([np.ma.filled(each, np.nan) for each in figures.values()], axis=1)
    skipped = np.stack([np.ma.getmaskarray(each) for each in figures.values()], axis=1)
    passes = [c.passes(figure[:, k], limits[c.name]) for k, c in enumerate(CRITERIA)]
    outcome = np.where(np.stack(passes, axis=1), PASSED, FAILED)
    outcome = np.where(skipped, SKIPPED, outcome)
    described = ("label", "cell_type", "seed", "network", "readout_u", "readout_v")
    per_check, both = ("check",), ("item", "check")
    variables = {
        **{name: result.variables[name] for name in described if name in result.variables},
        "criterion": Variable(per_check, np.array([c.name for c in CRITERIA])),
        "threshold": Variable(per_check, np.array([limits[c.name] for c in CRITERIA])),
        "figure": Variable(both, figure),
        "outcome": Variable(both, outcome.astype(np.int8), "1 passed, 0 failed, -1 skipped"),
        "passed": Variable(("item",), (outcome != FAILED).all(axis=1)),
    }
    return dataclasses.replace(result, kind="checked", variables=variables)


class _Measures:
    """The figure of every criterion, each by the method of its name."""

    def __init__(
        self,
        result: Result,
        network: ResponseModel,
        shown: ShownStimuli,
        clips: Result | None,
        others: Sequence[ResponseModel],
    ) -> None:
        self.result, self.network, self.shown = result, network, shown
        self.clips, self.others = clips, others
        self.traces = traces_of(network, shown)
        self.at_grey = shown.peaks(traces_of(network, shown.at_grey())).value
        self.drive = shown.signs * (shown.peaks(self.traces).value - self.at_grey)

    def all(self) -> dict[str, Figures]:
        """The figures of all criteria by name, in their order."""
        return {each.name: self._where_driven(each.name) for each in CRITERIA}

    def _where_driven(self, name: str) -> Figures:
        """A figure; of the rung of a ladder at grey, which seeks no drive, only some."""
        figures = np.ma.asarray(getattr(self, name)())
        if name in WITHOUT_DRIVE:
            return figures
        return np.ma.masked_where(seeking_grey(self.result), figures)

    def reproduced(self) -> Any:
        return np.array([self._difference(i) for i in range(len(self.shown))])

    def _difference(self, i: int) -> float:
        try:
            return select_items(self.result, [i]).check(self.network, np.inf)
        except RuntimeError:  # NaN in other places
            return np.nan

    def finite(self) -> Any:
        counts = torch.arange(self.traces.shape[1]) < self.shown.lengths[:, None]
        return (counts & ~self.traces.isfinite()).sum(dim=1).double().numpy()

    def settled(self) -> Any:
        return self._robust(robustness.drift_at_grey)

    def level(self) -> Any:
        if "fraction_reached" not in self.result.variables:
            return self._skipped()
        sought = np.ma.masked_equal(np.abs(self.result["fraction"]), 0)
        return self.result["fraction_reached"] / sought

    def optimality(self) -> Any:
        # Clips, and what stays near them, are no optima of pixels.
        if self.result.kind not in ("range", "artificial") or not _seeks_drive(self.result):
            return self._skipped()
        measure, free = robustness.gain_by_small_steps, self.result.kind == "range"
        return measure(self.network, self.shown, self.drive, free)

    def restarts(self) -> Any:
        """Of the ceiling, in its own result or in that of an efficient optimum, else of seeds."""
        for name in ("start_spread", "ceiling_start_spread"):
            if name in self.result.variables:
                return self.result[name] / self._range()
        return self._spread_of_seeds()

    def _range(self) -> Any:
        """From grey to the ceiling, or the drive where that is not known."""
        extreme = self.result.extreme
        if {extreme, "grey_objective"} <= self.result.variables.keys():
            return np.abs(self.result[extreme] - self.result["grey_objective"])
        return self._driven

    @property
    def _driven(self) -> Any:
        """The drive; NaN where a stimulus does not excite its cell, as nothing is a part of it."""
        return np.where(self.drive > 0, self.drive, np.nan)

    def _spread_of_seeds(self) -> Any:
        """Spread of the drives of items that differ only in their seed, part of the largest."""
        spread = self._skipped()
        for rows in rows_by_cell(self.result).values():
            if len(set(self.result["seed"][rows].tolist())) > 1:
                spread[rows] = np.ptp(self.drive.numpy()[rows]) / self._driven[rows].max()
        return spread

    def half_dt(self) -> Any:
        return self._robust(robustness.change_at_half_step)

    def extent(self) -> Any:
        if not isinstance(self.network, FrozenNetwork):
            return self._skipped()
        return self._robust(robustness.change_on_larger_lattice)

    def noise(self) -> Any:
        return self._robust(robustness.left_under_noise)

    def one_column(self) -> Any:
        return self._robust(robustness.left_one_column_off)

    def missed_frame(self) -> Any:
        return self._robust(robustness.left_with_a_missed_frame)

    def best_clip(self) -> Any:
        figures = self._skipped()
        if self.clips is not None:
            natural = ShownStimuli.of(self.clips, self.network)
            by_clip = drive_of(self.network, natural).numpy()
            for i, rows in enumerate(rows_of_cells(self.result, self.clips)):
                # Where no clip excites the cell, any drive exceeds that.
                if rows and (best := by_clip[rows].max()) > 0:
                    figures[i] = float(self.drive[i]) / best
                elif rows:
                    figures[i] = np.copysign(np.inf, float(self.drive[i]))
        return figures

    def percentile(self) -> Any:
        figures = self._skipped()
        if self.clips is not None and "every_peak_response" in self.clips.variables:
            peaks = self.shown.peaks(self.traces).value.numpy()
            for i, rows in enumerate(rows_of_cells(self.result, self.clips)):
                if rows and self.shown.signs[i] > 0 and np.isfinite(peaks[i]):
                    every = self.clips["every_peak_response"][:, rows[0]]
                    peak = peaks[i] - self._baseline_of_clips(i)
                    figures[i] = percentile_of(peak, every[np.isfinite(every)])
        return figures

    def _baseline_of_clips(self, i: int) -> float:
        """What the search subtracted from the voltages of an item's cell type."""
        assert self.clips is not None
        protocol, position = self.clips.protocol, int(self.shown.networks[i])
        if protocol.baseline == "absolute":
            return 0.0
        return grey_voltage(self.network, str(self.shown.cell_types[i]), protocol, position)

    def other_networks(self) -> Any:
        if not self.others and self.network.n_networks == 1:
            return self._skipped()
        return robustness.share_in_other_networks(self.network, self.shown, self.drive, self.others)

    def paths(self) -> Any:
        if self.clips is None or not isinstance(self.network, FrozenNetwork):
            return self._skipped()
        similarity = path_similarity(self.result, self.network, self.clips)
        has_clips = [len(rows) > 0 for rows in rows_of_cells(self.result, self.clips)]
        best = np.nan_to_num(similarity, nan=-np.inf).max(axis=1, initial=-np.inf)
        return np.ma.array(np.where(np.isfinite(best), best, np.nan), mask=~np.array(has_clips))

    def _robust(self, measure: Any) -> Any:
        return measure(self.network, self.shown, self.drive)

    def _skipped(self) -> Any:
        return np.ma.array(np.full(len(self.shown), np.nan), mask=True)


def _seeks_drive(result: Result) -> bool:
    """Whether all pixels were free to drive one cell further, but for the distance to grey."""
    config, shared = result.config, {"reading_response", "columns_used"} & result.variables.keys()
    penalties = {name for name in config if name.startswith("penalties.")}
    filtered = str(config.get("parametrization")).startswith(("Filtered", "Bandlimited"))
    of_voltage = config.get("objective", "last_frame") in OF_VOLTAGE
    return of_voltage and not (shared or filtered or penalties - {"penalties.grey"})
