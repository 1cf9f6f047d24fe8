"""Contributions of rises and falls to a response, derived for a linear cell."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stimopt.analysis import change_drive
from stimopt.lattice import HexLattice
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.module import ModuleNetwork
from tests.analysis.cases import PROTOCOL


class Differentiator(nn.Module):
    """r(t) = gain (x(t) - x(t - 5)) at the centre: excited by rises for a positive gain."""

    def __init__(self, lattice: HexLattice, gain: float) -> None:
        super().__init__()
        self.center, self.gain = lattice.center, gain

    def forward(self, luminance: Tensor) -> Tensor:
        here = luminance[..., self.center]
        return (self.gain * (here - nn.functional.pad(here, (5, 0))[:, : here.shape[1]]))[..., None]


@pytest.mark.parametrize("gain", [2.0, -2.0])
def test_changes_of_a_linear_cell_drive_it_as_derived(gain: float) -> None:
    lattice = HexLattice(1)
    network = ModuleNetwork(Differentiator(lattice, gain), {"cell": 0}, 1)
    stimulus = np.full((40, lattice.n_columns), 0.5)
    stimulus[20:] = 0.9
    stimulus[22:] = 0.6
    stimulus[30:] = 0.2
    # In frame 24 both the rise by 0.4 and the fall by 0.3 are at most five frames old.
    drive = change_drive(network, stimulus, "cell", PROTOCOL, 24)
    assert drive.on == pytest.approx(gain * 0.4)
    assert drive.off == pytest.approx(-gain * 0.3)
    assert drive.polarity_index == np.sign(gain)
    # In frame 26 the rise has passed, and in 19 nothing has happened.
    assert change_drive(network, stimulus, "cell", PROTOCOL, 26).on == pytest.approx(0)
    assert np.isnan(change_drive(network, stimulus, "cell", PROTOCOL, 19).polarity_index)
    # Changes further back than asked for do not count.
    late = change_drive(network, stimulus, "cell", PROTOCOL, 24, seconds=0.03)
    assert (late.on, late.off) == (0, pytest.approx(-gain * 0.3))
    with pytest.raises(ValueError, match=r"got 40; "):
        change_drive(network, stimulus, "cell", PROTOCOL, 40)


@pytest.mark.parametrize("cell", ["T4b", "T5c"])
@pytest.mark.parametrize("contrast", [0.05, 0.5])
def test_changes_add_up_to_the_response(circuit: FrozenNetwork, cell: str, contrast: float) -> None:
    # The circuit rectifies: a gradient at the stimulus alone would not add up.
    rng = np.random.default_rng(0)
    stimulus = 0.5 + contrast * rng.uniform(-1, 1, size=(15, circuit.lattice.n_columns))
    shown = torch.as_tensor(np.stack([stimulus, 0.5 + 0 * stimulus]), dtype=torch.float32)
    index = torch.tensor([circuit.cell_index(cell)])
    response, rest = circuit.respond(shown, PROTOCOL, index)[:, -1, 0].tolist()
    drive = change_drive(circuit, stimulus, cell, PROTOCOL, 14, seconds=0.15)
    assert drive.on + drive.off == pytest.approx(
        response - rest, abs=0.02 * (abs(drive.on) + abs(drive.off))
    )
