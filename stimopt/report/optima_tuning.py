"""Direction, selectivity and polarity of artificial optima: measured, stored and written out."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from stimopt import expect
from stimopt.analysis import stimulus_tuning
from stimopt.analysis.indices import SELECTIVE_FROM
from stimopt.networks.model import ResponseModel
from stimopt.results.result import Result, Variable
from stimopt.results.three_optima import ThreeOptima

UNKNOWN = "\N{EN DASH}"
"""Written in place of a number that was not measured or does not exist."""


def with_tuning(optima: ThreeOptima, network: ResponseModel) -> ThreeOptima:
    """Measure the tuning to each artificial optimum and add it to the artificial result.

    The variables `preferred_direction_deg`, `direction_selectivity`, `polarity` and
    `polarity_index` are those of `analysis.StimulusTuning`.

    Raises:
        ValueError: for cells that are not in the central column.
    """
    result = optima.artificial
    central = not (result["readout_u"].any() or result["readout_v"].any())
    advice = "seek the optima at u=0, v=0 for their tuning"
    expect.that(central, "cells in the central column", "others", advice)
    tuning = [
        stimulus_tuning(
            network, item.artificial.stimulus, item.cell_type, result.protocol, item.network
        )
        for item in optima
    ]
    columns = {
        "preferred_direction_deg": ([t.preferred_direction_deg for t in tuning], "degrees"),
        "direction_selectivity": ([t.direction_selectivity for t in tuning], "0 to 1"),
        "polarity": ([t.polarity for t in tuning], "1 ON, -1 OFF, 0 neither"),
        "polarity_index": ([t.polarity_index for t in tuning], "-1 (OFF) to 1 (ON)"),
    }
    added = {
        name: Variable(("item",), np.array(values), units)
        for name, (values, units) in columns.items()
    }
    extended = dataclasses.replace(result, variables={**result.variables, **added})
    return dataclasses.replace(optima, artificial=extended)


@dataclass(frozen=True)
class TuningText:
    """Tuning of one artificial optimum, as numbers and as text.

    Attributes:
        direction_deg: preferred direction of motion in degrees; NaN if not measured.
        selectivity: direction selectivity index, 0 to 1; NaN if not measured.
        polarity: 1 for ON, -1 for OFF, 0 if neither or not measured.
        polarity_index: OFF (-1) to ON (1); NaN if not measured.
    """

    direction_deg: float = math.nan
    selectivity: float = math.nan
    polarity: int = 0
    polarity_index: float = math.nan

    @classmethod
    def of_item(cls, artificial: Result, i: int) -> TuningText:
        """The tuning stored with an item; all unknown without `with_tuning`."""
        if "preferred_direction_deg" not in artificial.variables:
            return cls()
        return cls(
            float(artificial["preferred_direction_deg"][i]),
            float(artificial["direction_selectivity"][i]),
            int(artificial["polarity"][i]),
            float(artificial["polarity_index"][i]),
        )

    @property
    def direction_text(self) -> str:
        """Whole degrees, 0 to 359; in brackets where the cell is hardly selective."""
        if math.isnan(self.direction_deg):
            return UNKNOWN
        text = f"{round(self.direction_deg) % 360}°"
        return text if self.selectivity > SELECTIVE_FROM else f"({text})"

    @property
    def selectivity_text(self) -> str:
        """Two decimals."""
        return UNKNOWN if math.isnan(self.selectivity) else f"{self.selectivity:.2f}"

    @property
    def polarity_text(self) -> str:
        """ON or OFF."""
        return {1: "ON", -1: "OFF"}.get(self.polarity, UNKNOWN)
