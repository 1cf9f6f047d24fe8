"""The equation with dense matrices in float64: slow, obvious, and the reference for every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stimopt.connectome import Connectome
from stimopt.lattice import HexLattice

Floats = NDArray[np.float64]
Cell = tuple[str, int, int]


def cells_on(connectome: Connectome, lattice: HexLattice) -> list[Cell]:
    """Type and column (u, v) of every cell, types one after another."""
    return [
        (name, int(u), int(v))
        for name, (su, sv) in zip(connectome.cell_types, connectome.strides, strict=True)
        for u, v in zip(lattice.u, lattice.v, strict=True)
        if u % su == 0 and v % sv == 0
    ]


def dense_weights(connectome: Connectome, lattice: HexLattice, tap_weight: Any) -> Floats:
    """W: weight from every cell (column) to every cell (row)."""
    cells = cells_on(connectome, lattice)
    number = {cell: i for i, cell in enumerate(cells)}
    weights = np.zeros((len(cells), len(cells)))
    taps, types = connectome.taps, connectome.cell_types
    for k in range(len(taps)):
        source, target = types[taps.source[k]], types[taps.target[k]]
        for u, v in zip(lattice.u.tolist(), lattice.v.tolist(), strict=True):
            here = number.get((source, u, v))
            there = number.get((target, u + int(taps.du[k]), v + int(taps.dv[k])))
            if here is not None and there is not None:
                weights[there, here] += float(tap_weight[k])
    return weights


def simulate_dense(
    connectome: Connectome,
    lattice: HexLattice,
    parameters: Sequence[Any],
    luminance: Tensor,
    initial: Tensor,
    dt: float,
) -> Tensor:
    """Voltages `(frames, cells)` of one item; differentiable by torch's own autograd.

    V <- V + dt / max(tau, dt) * (-V + b + W max(V, 0) + x); output frame t contains input frame t.

    Args:
        connectome: cell types and taps.
        lattice: the columns.
        parameters: bias `(types,)`, time constant in seconds `(types,)`, tap weight `(taps,)`.
        luminance: `(frames, columns)`.
        initial: voltage before the first frame, `(cells,)`.
        dt: seconds.
    """
    cells = cells_on(connectome, lattice)
    kinds = [connectome.type_index[name] for name, _, _ in cells]
    columns = [int(lattice.index(u, v)) for _, u, v in cells]
    bias, time_const = (torch.as_tensor(p).double()[kinds] for p in parameters[:2])
    weights = torch.as_tensor(dense_weights(connectome, lattice, parameters[2]))
    is_input = torch.tensor([float(name in connectome.input_types) for name, _, _ in cells])
    leak = dt / time_const.clamp(min=dt)
    voltage, voltages = initial.double(), []
    for frame in luminance.double():
        x = is_input * frame[columns]
        voltage = voltage + leak * (-voltage + bias + weights @ voltage.clamp(min=0) + x)
        voltages.append(voltage)
    return torch.stack(voltages)
