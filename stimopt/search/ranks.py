"""The variables that only a search reports: clips by rank, and where they come from."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from stimopt.movies.datamodule import StimulusDataModule
from stimopt.results.result import Variable
from stimopt.results.variables import VOLTAGE
from stimopt.search.argmax import NONE, TopSamples

ORIGIN: dict[str, Any] = {
    "store": "",
    "scene": "",
    "view": NONE,
    "window": NONE,
    "first_frame": NONE,
    "last_frame": NONE,
    "frame_rate": np.nan,
    "mirroring": NONE,
    "rotation": NONE,
}
"""Entries of `StimulusDataModule.describe`, and their values where there is no clip."""


def rank_variables(top: TopSamples, data: StimulusDataModule) -> dict[str, Variable]:
    """The best clips of every item, `(item, rank)`, and where they come from."""
    dims = ("item", "rank")
    response, peak_frame, sample, _ = (table.flatten(0, 1).numpy() for table in top)
    response = np.where(sample == NONE, np.nan, response)
    variables = {
        "peak_response": Variable(dims, response, VOLTAGE),
        "peak_frame": Variable(dims, peak_frame, "frames from onset"),
        "sample": Variable(dims, sample, "sample number, -1 where there is none"),
    }
    origins = {s: data.describe(s) for s in np.unique(sample[sample != NONE]).tolist()}
    origins[NONE] = ORIGIN
    for name in ORIGIN:
        rows = [[origins[s][name] for s in row] for row in sample.tolist()]
        variables[name] = Variable(dims, np.array(rows))
    return variables


def every_peak_variables(peaks: Tensor, samples: range) -> dict[str, Variable]:
    """Peak response of every sample, from `(samples, networks, types)`."""
    return {
        "every_sample": Variable(("clip",), np.array(samples)),
        "every_peak_response": Variable(("clip", "item"), peaks.flatten(1).numpy(), VOLTAGE),
    }
