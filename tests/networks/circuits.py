"""Small networks as files in flyvis's formats: the built-in circuit, or one of a test's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stimopt.connectome import Connectome, NetworkParameters
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.motion_circuit import motion_circuit_parameters, motion_circuit_spec

Change = Callable[[dict[str, Any]], Any]


def write_circuit(
    folder: Path, change_spec: Change | None = None, change_tensors: Change | None = None
) -> list[str]:
    """Write the built-in circuit as a connectome and a trained network; gives the options.

    A change is made in place, before the file is written. Pairs that a changed connectome has no
    longer are left out of the tensors.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spec = motion_circuit_spec()
    whole = Connectome.from_spec(spec)
    parameters = motion_circuit_parameters()
    by_pair = dict(zip(whole.pairs, parameters.syn_strength, strict=True))
    if change_spec is not None:
        change_spec(spec)
    connectome = Connectome.from_spec(spec)
    tensors: dict[str, Any] = {
        "nodes_bias": torch.tensor(parameters.bias),
        "nodes_time_const": torch.tensor(parameters.time_const),
        "edges_sign": torch.tensor(connectome.signs),
        "edges_syn_count": torch.tensor(connectome.taps.n_syn).log(),
        "edges_syn_strength": torch.tensor([by_pair[pair] for pair in connectome.pairs]),
    }
    if change_tensors is not None:
        change_tensors(tensors)
    (folder / "connectome.json").write_text(json.dumps(spec), encoding="utf-8")
    (folder / "trained").mkdir(exist_ok=True)
    torch.save({"network": tensors}, folder / "trained" / "best_chkpt")
    return network_options(folder)


def network_options(folder: Path) -> list[str]:
    """Options that open what `write_circuit` wrote."""
    return [
        f"--network.path={folder / 'trained'}",
        f"--network.connectome={folder / 'connectome.json'}",
    ]


def loop(gain: float, time_const: float, bias: float = 1.0) -> FrozenNetwork:
    """A receptor, and a pair of cells that inhibit and excite each other with weight `gain`.

    Around a state in which both are active, W G has the eigenvalues +-i gain.
    """
    edges = {("R1", "A"): 0.01, ("A", "B"): gain, ("B", "A"): -gain}
    return circuit("loop", edges, {"R1": 0.5, "A": bias * (1 + gain), "B": bias}, time_const)


def latch(gain: float, threshold: float, time_const: float = 0.05) -> FrozenNetwork:
    """A receptor, and a cell that excites itself with weight `gain` once it is above zero.

    At grey it is not: its bias is that far below what the receptor gives. Above gain 1 there is no
    way back from white.
    """
    edges = {("R1", "A"): 1.0, ("A", "A"): gain}
    return circuit("latch", edges, {"R1": 0.0, "A": -threshold}, time_const)


def circuit(
    name: str, edges: dict[tuple[str, str], float], bias: dict[str, float], time_const: float
) -> FrozenNetwork:
    """One cell of each type in every column, connected within the column by signed weights."""
    spec = {
        "nodes": [{"name": kind, "pattern": ["stride", [1, 1]]} for kind in bias],
        "edges": [
            {"src": src, "tar": tar, "alpha": 1 if w > 0 else -1, "offsets": [[[0, 0], 1]]}
            for (src, tar), w in edges.items()
        ],
        "input_units": ["R1"],
        "output_units": list(bias)[-1:],
    }
    connectome = Connectome.from_spec(spec)
    parameters = NetworkParameters(
        name=name,
        bias=np.array(list(bias.values())),
        time_const=np.full(len(bias), time_const),
        syn_strength=np.array([abs(edges[pair]) for pair in connectome.pairs]),
        sign=connectome.signs,
        syn_count=connectome.taps.n_syn,
    )
    return FrozenNetwork(connectome, [parameters], extent=1)


def together(first: FrozenNetwork, *others: FrozenNetwork) -> FrozenNetwork:
    """The parameter sets of networks on one connectome in one network, numbered in their names."""
    networks = (first, *others)
    joined = first.select([0] * len(networks))
    joined.names = tuple(f"{network.names[0]}-{i}" for i, network in enumerate(networks))
    for name, values in joined.named_buffers():
        values.copy_(torch.cat([getattr(network, name) for network in networks]))
    return joined
