"""Circuits and results with a known fault."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from stimopt.connectome import Connectome, NetworkParameters
from stimopt.networks.frozen import FrozenNetwork
from stimopt.optimize.generate import StimulusGenerator
from stimopt.results import Result


def two_inputs() -> FrozenNetwork:
    """A target T that A excites from its own column, and B, alike, from the column u = 1."""
    types = ("R1", "A", "B", "T")
    edges = {
        ("R1", "A"): (0, 0),
        ("R1", "B"): (0, 0),
        ("A", "T"): (0, 0),
        ("B", "T"): (-1, 0),  # from the source to the target
    }
    connectome = Connectome.from_spec(
        {
            "nodes": [{"name": name, "pattern": ["stride", [1, 1]]} for name in types],
            "edges": [
                {"src": source, "tar": target, "alpha": 1, "offsets": [[list(offset), 1]]}
                for (source, target), offset in edges.items()
            ],
            "input_units": ["R1"],
            "output_units": ["T"],
        }
    )
    parameters = NetworkParameters(
        name="two inputs",
        bias=np.zeros(len(types)),
        time_const=np.full(len(types), 0.02),
        syn_strength=np.ones(len(connectome.pairs)),
        sign=connectome.signs,
        syn_count=connectome.taps.n_syn,
    )
    return FrozenNetwork(connectome, [parameters], extent=2)


def with_stimulus(network: FrozenNetwork, stimulus: NDArray[np.float32], cell: str = "T") -> Result:
    """The result of a fit that starts, and ends, with a stimulus `(1, frames, columns)`."""
    seconds = 0.01 * stimulus.shape[1]
    start = torch.as_tensor(stimulus)
    return StimulusGenerator(network, cell, init=start, t_stim=seconds).result()
