"""Results of the three kinds with known peaks, and a name that tries to break out of a page."""

from __future__ import annotations

import numpy as np

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
