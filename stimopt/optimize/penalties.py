"""What is kept small: pure functions from a stimulus to one number an item.

Sums run over columns, then over frames. Torch shares one sum over both out between threads if it
gives a single number, as for one item, and its rounding then depends on how many there are.
"""

from __future__ import annotations

from torch import Tensor

from stimopt.protocol import GREY


def grey(stimulus: Tensor) -> Tensor:
    """Mean squared distance to grey: `(items, frames, columns)` to `(items,)`, as in flyvis."""
    return ((stimulus - GREY) ** 2).mean(dim=2).mean(dim=1)


def grey_sum(stimulus: Tensor) -> Tensor:
    """Summed squared distance to grey: `(items, frames, columns)` to `(items,)`."""
    return ((stimulus - GREY) ** 2).sum(dim=2).sum(dim=1)


def total_variation(stimulus: Tensor, neighbours: Tensor) -> Tensor:
    """Mean absolute difference between adjacent columns: `(items,)`.

    Args:
        stimulus: `(items, frames, columns)`.
        neighbours: every adjacent pair once, `(pairs, 2)`, as `HexLattice.neighbour_pairs`.
    """
    a, b = neighbours.unbind(dim=1)
    return (stimulus[..., a] - stimulus[..., b]).abs().mean(dim=2).mean(dim=1)


def temporal_roughness(stimulus: Tensor) -> Tensor:
    """Mean squared difference between successive frames: `(items, frames, columns)` to `(items,)`.

    Zero for a single frame.
    """
    if stimulus.shape[1] < 2:
        return stimulus.new_zeros(len(stimulus))
    return stimulus.diff(dim=1).square().mean(dim=2).mean(dim=1)
