"""Results of the three kinds with known peaks, and a name that tries to break out of a page."""

from __future__ import annotations

import numpy as np

from stimopt.analysis.criteria import CRITERIA
from stimopt.lattice import HexLattice
from stimopt.protocol import Protocol
from stimopt.results.result import Result, Variable
from stimopt.results.three_optima import ThreeOptima

LATTICE = HexLattice(2)
HOSTILE = '../<b onclick="x()">&[red]'
TUNING = {
    "preferred_direction_deg": [90.0, 359.7, np.nan],
    "direction_selectivity": [0.73, 0.05, np.nan],
    "polarity": [1, -1, 0],
    "polarity_index": [0.9, -0.8, np.nan],
}


def result_of(kind: str, names: list[str], peaks: list[float], frames: int = 25) -> Result:
    """A result whose central responses peak at the last frame; item 1 missed its tolerance."""
    n, columns = len(names), LATTICE.n_columns
    rng = np.random.default_rng(len(kind))
    stimulus = rng.random((n, frames, columns)).astype(np.float32)
    response = np.zeros_like(stimulus)
    response[:, -1] = np.array(peaks, np.float32)[:, None]
    central = response[:, :, LATTICE.center]
    zeros = np.zeros(n, np.int64)
    values = {
        "item": {
            "label": np.array(names),
            "cell_type": np.array(names),
            "network": zeros,
            "seed": zeros,
            "readout_u": zeros,
            "readout_v": zeros,
            "n_frames": np.full(n, frames),
            "tolerance_met": np.arange(n) != 1,
        },
        "item frame": {"central_response": central, "central_target_response": central},
        "item frame column": {"stimulus": stimulus, "response": response},
        "step item": {"losses": np.zeros((3, n))},
    }
    variables = {
        name: Variable(tuple(dims.split()), array)
        for dims, arrays in values.items()
        for name, array in arrays.items()
    }
    config = {"objective": "last_frame"}
    return Result(kind, variables, Protocol(), "ab" * 32, ("<net>",), LATTICE.extent, config)


def optima_of(names: list[str], frames: int = 25, **tuning: list[float]) -> ThreeOptima:
    """Peaks of 1, 2, ... (naturalistic), 2 % less (regularized) and twice as much (artificial)."""
    peaks = [1.0 + i for i in range(len(names))]
    artificial = result_of("artificial", names, [2 * p for p in peaks], frames)
    for name, values in tuning.items():
        artificial.variables[name] = Variable(("item",), np.array(values))
    return ThreeOptima(
        result_of("naturalistic", names, peaks, frames),
        result_of("regularized", names, [0.98 * p for p in peaks], frames),
        artificial,
    )


def ladder_of(cell_type: str, peaks: list[float]) -> Result:
    """Rungs between a floor of -2 and a ceiling of 5; the response at grey is 1."""
    n, below = len(peaks), np.array(peaks) < 1
    result = result_of("artificial", [cell_type] * n, peaks)
    for name, values in {
        "label": np.array([f"{cell_type}-level {i}" for i in range(n)]),
        "grey_objective": np.ones(n),
        "ceiling": np.where(below, -2.0, 5.0),
        "sign": np.where(below, -1, 1),
    }.items():
        result.variables[name] = Variable(("item",), values)
    return result


def explained_result() -> Result:
    """T4c with two inputs of three, and Tm3 with the third; places and shares are known."""
    result = result_of("explained", ["T4c", "Tm3"], [1.0, 2.0])
    frames = result["stimulus"].shape[1]
    values = {
        "item": {"label": ["T4c [1]", "Tm3"], "peak_frame": [frames - 1, frames - 1]},
        "source": {"source": ["Mi1", "Mi9", "L1"]},
        "item source": {
            "contribution": [[2.0, -0.75, 0.0], [0.0, 0.0, 1.0]],
            "lesioned_response": [[0.25, -0.05, np.nan], [np.nan, np.nan, 0.5]],
        },
        "item tap": {
            "tap_source": [[0, 0, 1], [2, -1, -1]],
            "tap_du": [[0, 1, -2], [0, 0, 0]],
            "tap_dv": [[0, -1, 0], [0, 0, 0]],
            "tap_contribution": [[1.5, 0.5, -0.75], [1.0, 0.0, 0.0]],
        },
        "item frame source": {"source_current": np.zeros((2, frames, 3))},
        "item frame column": {"sensitivity": np.zeros_like(result["stimulus"])},
    }
    result.variables |= {
        name: Variable(tuple(dims.split()), np.array(array))
        for dims, arrays in values.items()
        for name, array in arrays.items()
    }
    return result


def checked_result() -> Result:
    """T4c, which fails half_dt alone, and Tm3, which fails nothing; paths are skipped."""
    result = result_of("checked", ["T4c", "Tm3"], [1.0, 2.0])
    thresholds = np.array([criterion.threshold for criterion in CRITERIA])
    outcome = np.ones((2, len(CRITERIA)), np.int8)
    figure = np.tile(thresholds, (2, 1))
    half_dt, paths = (
        [criterion.name for criterion in CRITERIA].index(name) for name in ("half_dt", "paths")
    )
    outcome[0, half_dt], figure[0, half_dt] = 0, 0.5
    outcome[:, paths], figure[:, paths] = -1, np.nan
    result.variables |= {
        "label": Variable(("item",), np.array(["T4c [1]", "Tm3"])),
        "threshold": Variable(("check",), thresholds),
        "outcome": Variable(("item", "check"), outcome),
        "figure": Variable(("item", "check"), figure),
    }
    return result
