"""Networks that a flyvis user already holds, taken over as they are; flyvis is not imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stimopt.connectome import N_SYN_FILL, Connectome, find_connectome
from stimopt.networks.flyvis import NetworkParameters
from stimopt.networks.frozen import FrozenNetwork

DYNAMICS = ("PPNeuronIGRSynapses", "relu")
"""Type and activation of the dynamics that `FrozenNetwork` computes."""


def from_flyvis_object(
    view_or_network: Any,
    connectome: str | Path | None = None,
    extent: int | None = None,
    **options: Any,
) -> FrozenNetwork:
    """A frozen copy of a `flyvis.NetworkView` or `flyvis.Network`, or of several.

    Of a view it is the network of its best checkpoint, as `view.init_network()` gives it; of a
    network the parameters as they stand, trained further or altered by hand. What is changed in
    the original afterwards does not reach the copy.

    Args:
        view_or_network: one, or a sequence of them on one connectome.
        connectome: the connectome file; by default the one of that name in the installed flyvis.
        extent: rings of columns; by default the original's.
        **options: as for `FrozenNetwork`.

    Raises:
        TypeError: if it is neither a view nor a network.
        ValueError: if its dynamics are not those computed here, or it does not fit the connectome.
    """
    given = list(view_or_network) if isinstance(view_or_network, Sequence) else [view_or_network]
    if not given:
        raise ValueError("expected at least one flyvis network, got an empty list; give one")
    networks = [_network_of(one) for one in given]
    configs = [network.config.connectome for network in networks]
    for network in networks:
        _check_dynamics(network)
    files = sorted({str(config.file) for config in configs})
    extents = sorted({int(config.extent) for config in configs})
    if len(files) > 1 or (extent is None and len(extents) > 1):
        raise ValueError(
            f"expected networks on one connectome and extent, got {files} and {extents}; take "
            "them over one by one"
        )
    path = find_connectome().with_name(files[0]) if connectome is None else Path(connectome)
    read = Connectome.from_json(path)
    parameters = [
        _parameters(network, read, str(getattr(one, "name", "flyvis.Network")))
        for one, network in zip(given, networks, strict=True)
    ]
    return FrozenNetwork(read, parameters, extents[0] if extent is None else extent, **options)


def _network_of(view_or_network: Any) -> Any:
    """The network itself; told by what it offers, as flyvis need not be importable here."""
    network = view_or_network
    if hasattr(network, "init_network"):
        network = network.init_network()
    if not hasattr(network, "nodes_bias") or not hasattr(network, "config"):
        raise TypeError(
            f"expected a flyvis.NetworkView or a flyvis.Network, got "
            f"{type(view_or_network).__name__}; for another torch module use "
            "stimopt.networks.model.ModuleNetwork"
        )
    return network


def _check_dynamics(network: Any) -> None:
    dynamics, connectome = network.config.dynamics, network.config.connectome
    found = (str(dynamics.type), str(dynamics.activation.type))
    if found != DYNAMICS:
        raise ValueError(
            f"expected dynamics {DYNAMICS[0]} with {DYNAMICS[1]}, got {found[0]} with {found[1]}; "
            "wrap the network in stimopt.networks.model.ModuleNetwork instead"
        )
    if float(connectome.n_syn_fill) != N_SYN_FILL:
        raise ValueError(
            f"expected n_syn_fill = {N_SYN_FILL:g} as in the published networks, got "
            f"{connectome.n_syn_fill}; give such a network"
        )


def _parameters(network: Any, connectome: Connectome, name: str) -> NetworkParameters:
    n_types, n_pairs = len(connectome.cell_types), len(connectome.pairs)
    values = {
        key: _values(network, key, count)
        for key, count in (
            ("nodes_bias", n_types),
            ("nodes_time_const", n_types),
            ("edges_sign", n_pairs),
            ("edges_syn_count", len(connectome.taps)),
            ("edges_syn_strength", n_pairs),
        )
    }
    if (values["edges_sign"] != connectome.signs).any():
        raise ValueError(
            "expected the signs of the connectome's pairs of types, got others; give the "
            "connectome file the network was built from"
        )
    return NetworkParameters(
        name=name,
        bias=values["nodes_bias"],
        time_const=values["nodes_time_const"],
        syn_strength=values["edges_syn_strength"],
        sign=values["edges_sign"],
        # Kept as its logarithm by flyvis.
        syn_count=np.exp(values["edges_syn_count"]),
    )


def _values(network: Any, key: str, count: int) -> NDArray[np.float64]:
    tensor = getattr(network, key, None)
    if tensor is None or tuple(tensor.shape) != (count,):
        got = "none" if tensor is None else tuple(tensor.shape)
        raise ValueError(
            f"expected {count} values of {key}, shared across columns, got {got}; give the "
            "connectome file the network was built from"
        )
    values: NDArray[np.float64] = tensor.detach().cpu().double().numpy().copy()
    if not np.isfinite(values).all():
        raise ValueError(f"expected finite {key}, got NaN or infinity; check the training")
    return values
