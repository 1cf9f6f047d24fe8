"""What light reaches: cell types on a path of synapses, and responses with a gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.model import ResponseModel


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


def require_gradient(activity: Tensor, stimulus: Tensor, labels: Sequence[str]) -> None:
    """Each item's own response must move its stimulus.

    Args:
        activity: of each item, `(items,)`.
        stimulus: what it should depend on, `(items, frames, columns)`.
        labels: of the items.

    Raises:
        RuntimeError: naming the items whose stimulus it does not move.
    """
    gradient = None
    if activity.requires_grad:
        (gradient,) = torch.autograd.grad(activity.sum(), stimulus, allow_unused=True)
    if gradient is None:
        stuck = list(labels)
    else:
        # NaN counts as reached: the item will stop with that as its reason.
        reached = (gradient != 0).flatten(1).any(1)
        stuck = [label for label, ok in zip(labels, reached.tolist(), strict=True) if not ok]
    if stuck:
        raise RuntimeError(
            f"expected a gradient from the response of every item to its stimulus, got none for "
            f"{', '.join(stuck[:10])}; start from another stimulus, or check that photoreceptors "
            "reach the cell within the stimulus"
        )
