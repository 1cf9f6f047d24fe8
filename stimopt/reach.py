"""Which cell types light reaches: those on a path of synapses from the photoreceptors."""

from __future__ import annotations

from collections.abc import Sequence

from stimopt.network import FrozenNetwork
from stimopt.response_model import ResponseModel


def unreached(
    network: ResponseModel, cell_types: Sequence[str], positions: Sequence[int]
) -> list[str]:
    """Those of the cell types that no path of non-zero weights reaches, in any of the networks.

    Only paths between types are looked at, and of `FrozenNetwork` alone; another module may have
    any wiring, so all of its types count as reached.

    Args:
        network: the networks.
        cell_types: asked for.
        positions: of the networks asked.
    """
    if not isinstance(network, FrozenNetwork):
        return []
    reached = set().union(*(_reached(network, position) for position in positions))
    return [name for name in cell_types if name not in reached]


def _reached(network: FrozenNetwork, position: int) -> set[str]:
    connectome = network.connectome
    taps, used = connectome.taps, (network.tap_weight[position] != 0).cpu().numpy()
    edges = set(zip(taps.source[used].tolist(), taps.target[used].tolist(), strict=True))
    found = {connectome.type_index[name] for name in connectome.input_types}
    while more := {target for source, target in edges if source in found} - found:
        found |= more
    return {connectome.cell_types[i] for i in found}
