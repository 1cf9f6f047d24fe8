"""Penalties: pure functions from luminance to one number for each item, kept small.

A penalty takes luminance `(items, frames, columns)` to `(items,)`. It is named by its short name,
by a dotted path such as `my_lab.smooth`, or passed as a function under a name of its own.

Means run over columns, then over frames, see `stimopt.optimize.sums`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from stimopt import expect
from stimopt.lattice import HexLattice
from stimopt.optimize.named import look_up
from stimopt.optimize.sums import square_sum
from stimopt.protocol import GREY

Penalty = Callable[[Tensor], Tensor]
Weighted = float | tuple[float, Penalty]
"""A weight, or a weight and a function."""


def grey(luminance: Tensor) -> Tensor:
    """Mean squared distance to grey: `(items, frames, columns)` to `(items,)`, as in flyvis."""
    return ((luminance - GREY) ** 2).mean(dim=2).mean(dim=1)


def grey_sum(luminance: Tensor) -> Tensor:
    """Summed squared distance to grey: `(items, frames, columns)` to `(items,)`."""
    return square_sum(luminance - GREY)


def total_variation(luminance: Tensor, neighbours: Tensor) -> Tensor:
    """Mean absolute difference between adjacent columns: `(items,)`.

    Args:
        luminance: `(items, frames, columns)`.
        neighbours: every adjacent pair once, `(pairs, 2)`, as `HexLattice.neighbour_pairs`.
    """
    a, b = neighbours.to(luminance.device).unbind(dim=1)
    return (luminance[..., a] - luminance[..., b]).abs().mean(dim=2).mean(dim=1)


def variation_on(lattice: HexLattice) -> Penalty:
    """`total_variation` between the adjacent columns of a lattice."""
    neighbours = torch.as_tensor(lattice.neighbour_pairs())

    def variation(luminance: Tensor) -> Tensor:
        return total_variation(luminance, neighbours)

    return variation


def temporal_roughness(luminance: Tensor) -> Tensor:
    """Mean squared difference between successive frames: `(items, frames, columns)` to `(items,)`.

    Zero for a single frame.
    """
    if luminance.shape[1] < 2:
        return luminance.new_zeros(len(luminance))
    return luminance.diff(dim=1).square().mean(dim=2).mean(dim=1)


def find_penalties(
    penalties: Mapping[str, Weighted], lattice: HexLattice
) -> dict[str, tuple[float, Penalty]]:
    """Weight and function of every penalty, by the last part of its name.

    Args:
        penalties: weights by name (`grey`, `grey_sum`, `variation`, `roughness`) or dotted path;
            under any other name, a pair of a weight and a function.
        lattice: of the stimulus, for penalties across columns.

    Raises:
        ValueError: for an unknown name, a weight out of range, or two penalties of one name.

    Example:
        >>> found = find_penalties({"grey": 3000.0, "dark": (1.0, Tensor.mean)}, HexLattice(1))
        >>> sorted(found)
        ['dark', 'grey']
    """
    known: dict[str, Penalty] = {
        "grey": grey,
        "grey_sum": grey_sum,
        "variation": variation_on(lattice),
        "roughness": temporal_roughness,
    }
    terms: dict[str, tuple[float, Penalty]] = {}
    for name, value in penalties.items():
        expect.that(
            not isinstance(value, tuple) or len(value) == 2,
            f"a weight, or a pair of a weight and a function, for penalty {name}",
            value,
            "0.5 or (0.5, function)",
        )
        weight, function = value if isinstance(value, tuple) else (value, name)
        expect.number(f"weight of penalty {name}", weight, "0 leaves it out", at_least=0)
        tag = name.rpartition(".")[2]
        expect.that(
            tag not in terms and tag not in ("total", "activity"),
            "penalties of different names",
            f"{tag} twice" if tag in terms else tag,
            "name one of them differently: {'other': (weight, function)}",
        )
        terms[tag] = float(weight), look_up("a penalty", function, known)
    return terms
