"""Networks from objects of flyvis; flyvis itself is not imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stimopt import expect
from stimopt.connectome import N_SYN_FILL, Connectome
from stimopt.networks.flyvis import TENSORS, parameters_of, require_dynamics
from stimopt.networks.flyvis_files import find_connectome
from stimopt.networks.frozen import FrozenNetwork


def network_from_flyvis(
    view_or_network: Any,
    connectome: str | Path | None = None,
    extent: int | None = None,
    **options: Any,
) -> FrozenNetwork:
    """A frozen copy of a `flyvis.NetworkView` or `flyvis.Network`, or of several.

    A view stands for the network of its best checkpoint, as `view.init_network()` returns it. The
    parameters of a network are copied as they are, trained further or altered by hand; later
    changes of the original do not reach the copy.

    Example:
        >>> view = flyvis.NetworkView("flow/0000/000")  # doctest: +SKIP
        >>> network = network_from_flyvis(view)  # doctest: +SKIP

    Args:
        view_or_network: one, or a sequence of them on one connectome.
        connectome: the connectome file; by default the one of that name in the installed flyvis.
        extent: rings of columns; by default the original's.
        **options: as for `FrozenNetwork`.

    Raises:
        TypeError: if it is neither a view nor a network.
        ValueError: if its dynamics are not those computed here, or it does not fit the connectome.
    """
    several = isinstance(view_or_network, Sequence)
    originals = list(view_or_network) if several else [view_or_network]
    expect.that(originals, "at least one flyvis network", "an empty list", "pass one")
    networks = [_network_of(original) for original in originals]
    for network in networks:
        _require_same_dynamics(network)
    configs = [network.config.connectome for network in networks]
    files = sorted({str(config.file) for config in configs})
    extents = sorted({int(config.extent) for config in configs})
    alike = len(files) == 1 and (extent is not None or len(extents) == 1)
    got = f"{files} and {extents}"
    expect.that(alike, "networks on one connectome and extent", got, "convert them one by one")
    read = Connectome.from_json(find_connectome(files[0]) if connectome is None else connectome)
    parameters = []
    for original, network in zip(originals, networks, strict=True):
        name = str(getattr(original, "name", "flyvis.Network"))
        tensors = {key: getattr(network, key, None) for key in TENSORS}
        parameters.append(parameters_of(tensors, read, name, name))
    return FrozenNetwork(read, parameters, extents[0] if extent is None else extent, **options)


def _network_of(view_or_network: Any) -> Any:
    """The network itself; recognized by what it offers, as flyvis need not be importable here."""
    network = view_or_network
    if hasattr(network, "init_network"):
        network = network.init_network()
    expect.that(
        hasattr(network, "nodes_bias") and hasattr(network, "config"),
        "a flyvis.NetworkView or a flyvis.Network",
        type(view_or_network).__name__,
        "for another torch module use stimopt.ModuleNetwork",
        TypeError,
    )
    return network


def _require_same_dynamics(network: Any) -> None:
    dynamics, connectome = network.config.dynamics, network.config.connectome
    require_dynamics(str(dynamics.type), str(dynamics.activation.type), "the network")
    advice = "wrap the network in stimopt.ModuleNetwork"
    n_syn = float(connectome.n_syn_fill)
    expect.that(n_syn == N_SYN_FILL, f"n_syn_fill = {N_SYN_FILL:g} as published", n_syn, advice)
