"""Results of random stimuli, without a search or fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stimopt.items import label_items, make_items
from stimopt.networks.model import ResponseModel
from stimopt.protocol import Protocol
from stimopt.results import Result, ThreeOptima, Variable
from stimopt.results.three_optima import KINDS
from stimopt.results.variables import item_variables

PROTOCOL = Protocol(t_pre=0.1)


def random_result(
    network: ResponseModel,
    kind: str = "artificial",
    cell_types: str | Sequence[str] = "T4c,T5a",
    seeds: int | Sequence[int] = 0,
    protocol: Protocol = PROTOCOL,
    u: int = 0,
    v: int = 0,
) -> Result:
    """A result of 12 frames, the second item of which ends after 9."""
    items = make_items(network, cell_types, seeds, u=u, v=v)
    random = np.random.default_rng(KINDS.index(kind))
    stimulus = random.random((len(items), 12, network.lattice.n_columns), np.float32)
    lengths = np.where(np.arange(len(items)) == 1, 9, 12)
    labels = label_items(items, network.names)
    variables = item_variables(network, protocol, items, labels, stimulus, lengths)
    losses = random.random((5, len(items)), np.float32)
    variables["losses"] = Variable(("step", "item"), losses)
    variables["central_target_response"] = variables["central_response"]
    return Result(
        kind=kind,
        variables=variables,
        protocol=protocol,
        network_hash=network.content_hash,
        network_names=network.names,
        extent=network.lattice.extent,
        config={"steps": 4, "items": [item.settings() for item in items]},
    )


def random_optima(
    network: ResponseModel, protocol: Protocol = PROTOCOL, u: int = 0, v: int = 0
) -> ThreeOptima:
    """The search has a type more than the fits, the generation two seeds of each type."""
    shared: dict[str, Any] = {"protocol": protocol, "u": u, "v": v}
    return ThreeOptima(
        random_result(network, "naturalistic", "Mi1,T4c,T5a", **shared),
        random_result(network, "regularized", **shared),
        random_result(network, "artificial", seeds=[0, 7], **shared),
    )
