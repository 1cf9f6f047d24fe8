"""The direction-selective cells of the fly, and responses computed one stimulus at a time."""

from __future__ import annotations

import torch

from stimopt.analysis import moving_edge
from stimopt.lattice import Floats, HexLattice
from stimopt.networks.frozen import FrozenNetwork
from stimopt.protocol import GREY, Protocol

PROTOCOL = Protocol()
BROAD = HexLattice(8)
DETECTORS = [f"{kind}{subtype}" for kind in ("T4", "T5") for subtype in "abcd"]
PREFERRED = {"a": 180.0, "b": 0.0, "c": 90.0, "d": 270.0}

# Directions and peak voltages of network 000 to ON and OFF edges at 19 columns a second, measured
# by other code, with edges that enter and end elsewhere.
RECORDED = {
    "T4a": (176, 1.51, 0.41),
    "T4b": (351, 1.39, 0.25),
    "T4c": (58, 1.32, 0.49),
    "T4d": (276, 0.09, 0.30),
    "T5a": (187, 0.35, 0.86),
    "T5b": (348, 0.11, 0.55),
    "T5c": (101, 0.04, 0.99),
    "T5d": (253, 0.10, 1.85),
}


def peak(network: FrozenNetwork, stimulus: Floats, cell_type: str) -> float:
    """Largest voltage of one stimulus alone, relative to that after the pre-stimulus."""
    cell = torch.tensor([network.cell_index(cell_type)])
    grey = torch.full((1, 1, network.lattice.n_columns), GREY)
    rest = network.initial_state(grey, PROTOCOL)[0, cell]
    shown = torch.as_tensor(stimulus[None].copy(), dtype=torch.float32)
    return float((network.respond(shown, PROTOCOL, cell)[0] - rest).max())


def edge_at_centre(angle: float, polarity: int, speed: float, protocol: Protocol) -> Floats:
    """An edge cut off half a column past the centre."""
    edge = moving_edge(BROAD, angle, polarity, speed, protocol)
    return edge[: protocol.frames((BROAD.extent + 1.5) / speed) + 1]
