"""A small network with every kind of tap, its stimulus, and comparisons with the dense equation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from stimopt.connectome import Connectome
from stimopt.dynamics.layout import CellLayout, Drive
from stimopt.dynamics.simulate import Step, simulate
from stimopt.lattice import HexLattice
from tests.dynamics.dense_step import simulate_dense

DT = 0.01
CPU = torch.device("cpu")

# Rounding only: a sum of some hundred terms of either sign, repeated over the frames.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def spec(reach: int = 6) -> dict[str, Any]:
    """Six types, two of them photoreceptors and one sparse, with long, short and doubled taps.

    Args:
        reach: leave out taps to columns further away.
    """

    def node(name: str, stride: tuple[int, int] = (1, 1)) -> dict[str, Any]:
        return {"name": name, "pattern": ["stride", list(stride)]}

    def edge(src: str, tar: str, alpha: int, *offsets: tuple[int, int, float]) -> dict[str, Any]:
        return {
            "src": src,
            "tar": tar,
            "alpha": alpha,
            "offsets": [[[du, dv], n] for du, dv, n in offsets if max(abs(du), abs(dv)) <= reach],
        }

    return {
        "nodes": [node("R1"), node("A"), node("Wide", (2, 3)), node("B"), node("R2"), node("C")],
        "edges": [
            edge("R1", "A", 1, (0, 0, 5.0), (1, -1, 2.0)),
            edge("R2", "A", -1, (0, 0, 1.0), (0, 1, 3.0), (-1, 0, 2.0), (1, 0, 1.5)),
            edge("A", "Wide", 1, (0, 0, 2.0), (1, 0, 1.0), (0, -2, 1.0)),
            edge("Wide", "B", -1, (0, 0, 4.0), (1, 1, 2.0), (-1, -2, 1.0)),
            edge("Wide", "Wide", 1, (2, 0, 1.0), (0, 3, 2.0)),
            edge("A", "B", 1, (6, -3, 1.0), (-6, 1, 2.0), (0, 6, 1.0)),
            edge("B", "A", -1, (0, 0, 3.0), (0, -1, 1.0)),
            edge("B", "B", 1, (1, 0, 0.5)),
            edge("B", "C", 1, (0, 0, 1.0), (3, 2, 1.0)),
            edge("B", "C", 1, (0, 0, 2.0)),
            edge("C", "R2", -1, (0, 0, 1.0)),
        ],
        "input_units": ["R1", "R2"],
        "output_units": ["C"],
    }


class Case:
    """A random network of several parameter sets, a stimulus and a state."""

    def __init__(
        self,
        extent: int = 3,
        items: int = 3,
        frames: int = 7,
        dtype: torch.dtype = torch.float64,
        networks: int = 2,
        seed: int = 0,
        reach: int = 6,
        connectome: Connectome | None = None,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.connectome = connectome or Connectome.from_spec(spec(reach))
        self.lattice = HexLattice(extent)
        self.layout = CellLayout(self.connectome, self.lattice)
        n_types, taps = len(self.connectome.cell_types), self.connectome.taps
        self.bias = rng.normal(0.2, 0.3, (networks, n_types))
        # Some shorter than dt, for which a step goes all the way.
        self.time_const = rng.uniform(0.005, 0.05, (networks, n_types))
        sign = self.connectome.signs[taps.pair]
        self.tap_weight = 0.15 * sign * taps.n_syn * taps.multiplicity
        self.tap_weight = self.tap_weight * rng.uniform(0.2, 1.0, (networks, len(taps)))
        self.tap_weight[0, ::7] = 0.0
        self.network_index = np.arange(items) % networks
        self.luminance = torch.as_tensor(rng.uniform(0, 1, (items, frames, self.lattice.n_columns)))
        self.initial = torch.as_tensor(rng.normal(0, 0.5, (items, self.layout.n_cells)))
        self.luminance, self.initial = self.luminance.to(dtype), self.initial.to(dtype)
        self.dtype = dtype

    def drive(self, readout: Tensor | None = None, items: slice = slice(None)) -> Drive:
        return Drive(
            bias=torch.as_tensor(self.bias, dtype=self.dtype),
            time_const=torch.as_tensor(self.time_const, dtype=self.dtype),
            tap_weight=torch.as_tensor(self.tap_weight, dtype=self.dtype),
            network_index=torch.as_tensor(self.network_index)[items],
            dt=DT,
            readout=None if readout is None else readout[items],
        )

    def dense(self, luminance: Tensor | None = None, initial: Tensor | None = None) -> Tensor:
        """Voltages by the dense equation, `(items, frames, cells)`, float64."""
        luminance = self.luminance if luminance is None else luminance
        initial = self.initial if initial is None else initial
        voltages = []
        for item, network in enumerate(self.network_index):
            parameters = (self.bias[network], self.time_const[network], self.tap_weight[network])
            voltages.append(
                simulate_dense(
                    self.connectome, self.lattice, parameters, luminance[item], initial[item], DT
                )
            )
        return torch.stack(voltages)


def assert_close(actual: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """Within the tolerance relative to the largest value."""
    assert actual.dtype == dtype
    assert actual.shape == expected.shape
    if expected.numel():
        error, scale = (actual.double() - expected).abs().max(), expected.abs().max()
        assert error <= TOLERANCE[dtype] * scale, f"{error} of {scale}"


def outputs_and_gradients(
    case: Case, step: Step, items: slice = slice(None), segment: int | None = None
) -> list[Tensor]:
    """Voltages, last state, and gradients of an objective that depends on all of them."""
    light = case.luminance[items].clone().requires_grad_()
    start = case.initial[items].clone().requires_grad_()
    voltages, final = simulate(step, case.drive(items=items), light, start, segment=segment)
    objective = voltages.square().sum() + final.sin().sum()
    return [voltages.detach(), final.detach(), *torch.autograd.grad(objective, (light, start))]
