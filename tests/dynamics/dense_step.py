"""The step in dense float64 numpy: slow, obvious, and what the others are checked against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stimopt.connectome import Connectome
from stimopt.lattice import HexLattice

Floats = NDArray[np.float64]


def dense_weights(
    connectome: Connectome, lattice: HexLattice, tap_weight: Floats
) -> tuple[Floats, list[tuple[str, int, int]]]:
    """Weight from every cell (column) to every cell (row), and the cells as (type, u, v)."""
    cells = [
        (name, int(u), int(v))
        for name, (su, sv) in zip(connectome.cell_types, connectome.strides, strict=True)
        for u, v in zip(lattice.u, lattice.v, strict=True)
        if u % su == 0 and v % sv == 0
    ]
    number = {cell: i for i, cell in enumerate(cells)}
    weights = np.zeros((len(cells), len(cells)))
    taps = connectome.taps
    for k in range(len(taps)):
        source, target = (
            connectome.cell_types[taps.source[k]],
            connectome.cell_types[taps.target[k]],
        )
        for u, v in zip(lattice.u, lattice.v, strict=True):
            here = number.get((source, int(u), int(v)))
            there = number.get((target, int(u + taps.du[k]), int(v + taps.dv[k])))
            if here is not None and there is not None:
                weights[there, here] += tap_weight[k]
    return weights, cells


def simulate_dense(
    connectome: Connectome,
    lattice: HexLattice,
    bias: Floats,
    time_const: Floats,
    tap_weight: Floats,
    luminance: Floats,
    initial: Floats,
    dt: float,
) -> Floats:
    """Voltages `(frames, cells)` of one item, by the equation as it stands.

    V <- V + dt / max(tau, dt) * (-V + b + W max(V, 0) + x); output frame t contains input frame t.

    Args:
        connectome: cell types and taps.
        lattice: the columns.
        bias: `(types,)`.
        time_const: seconds, `(types,)`.
        tap_weight: `(taps,)`.
        luminance: `(frames, columns)`.
        initial: voltage before the first frame, `(cells,)`.
        dt: seconds.
    """
    weights, cells = dense_weights(connectome, lattice, tap_weight)
    type_index = {name: i for i, name in enumerate(connectome.cell_types)}
    b = np.array([bias[type_index[name]] for name, _, _ in cells])
    tau = np.array([time_const[type_index[name]] for name, _, _ in cells])
    column = {
        (int(u), int(v)): i for i, (u, v) in enumerate(zip(lattice.u, lattice.v, strict=True))
    }
    voltage = np.array(initial, dtype=np.float64)
    voltages = []
    for frame in luminance:
        x = np.array(
            [frame[column[u, v]] if name in connectome.input_types else 0.0 for name, u, v in cells]
        )
        voltage = voltage + dt / np.maximum(tau, dt) * (
            -voltage + b + weights @ np.maximum(voltage, 0.0) + x
        )
        voltages.append(voltage)
    return np.stack(voltages)
