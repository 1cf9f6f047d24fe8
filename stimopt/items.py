"""Items of a fit or a search: each is one stimulus, and the cells whose responses count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stimopt import expect
from stimopt.networks.model import ResponseModel
from stimopt.protocol import Protocol
from stimopt.storage.identity import make_plain

ALL = "all"


@dataclass(frozen=True)
class Reading:
    """One cell of one network.

    Args:
        cell_type: name of the cell's type.
        u: first axial coordinate of its column.
        v: second axial coordinate of its column.
        network: position of its network (parameter set).
    """

    cell_type: str
    u: int = 0
    v: int = 0
    network: int = 0

    def __post_init__(self) -> None:
        make_plain(self)


@dataclass(frozen=True)
class Item:
    """One stimulus being sought.

    Args:
        readings: the cells whose responses count. The first is the item's own cell: figures and
            results show its type.
        seed: of the noise that the stimulus starts from.
        variant: what else distinguishes the item, for its label; empty if nothing does.
    """

    readings: tuple[Reading, ...]
    seed: int = 0
    variant: str = ""

    def __post_init__(self) -> None:
        make_plain(self)

    @property
    def cell_type(self) -> str:
        """Cell type of the first reading."""
        return self.readings[0].cell_type

    @property
    def network(self) -> int:
        """Position of the first reading's network."""
        return self.readings[0].network

    @property
    def u(self) -> int:
        """First axial coordinate of the first reading's column."""
        return self.readings[0].u

    @property
    def v(self) -> int:
        """Second axial coordinate of the first reading's column."""
        return self.readings[0].v

    def settings(self) -> dict[str, Any]:
        """Plain values, for checkpoints and results."""
        readings = [[r.cell_type, r.u, r.v, r.network] for r in self.readings]
        return {"readings": readings, "seed": self.seed, "variant": self.variant}


def make_items(
    network: ResponseModel,
    cell_types: str | Sequence[str],
    seeds: int | Sequence[int] = 0,
    networks: str | Sequence[int] = ALL,
    u: int = 0,
    v: int = 0,
    *,
    contrast: str | Sequence[str] = (),
    consensus: bool = False,
) -> list[Item]:
    """Every combination of network, cell type and seed, in that order.

    Args:
        network: decides which names and columns exist.
        cell_types: a name, several, several with commas between, or `all`.
        seeds: a seed or several.
        networks: positions of the networks to use, or `all`.
        u: first axial coordinate of the column read out.
        v: second axial coordinate.
        contrast: cell types read beside each item's own, in the same column and network; named
            as `cell_types`.
        consensus: make the networks readings of one item instead of separate items.

    Raises:
        ValueError: for a name, seed, network or column that does not exist, one listed twice,
            or an empty list.
    """
    names = choose_cell_types(network, cell_types)
    others = choose_cell_types(network, contrast)
    chosen_seeds = [seeds] if isinstance(seeds, (int, np.integer)) else list(seeds)
    positions = choose_networks(network, networks)
    for seed in chosen_seeds:
        expect.whole("seeds", seed, "0 is usual", at_most=2**63 - 1)
    for kind, values in (
        ("cell types", names),
        ("seeds", chosen_seeds),
        ("networks", positions),
    ):
        expect.that(values, f"at least one of the {kind}", "an empty list", "name some")
        once = len(set(values)) == len(values)
        expect.that(once, f"{kind} listed once each", values, "remove the repeated ones")
    expect.that(
        not (consensus and others),
        "contrast or consensus",
        "both",
        "compare cell types or pool networks, one at a time",
    )
    for name in names:
        expect.that(
            name not in others,
            f"{name} against other cell types",
            f"contrast {others}",
            f"leave {name} out of the contrast",
        )
    for name in [*names, *others]:
        network.cell_index(name, u, v)
    groups = [positions] if consensus else [[position] for position in positions]
    return [
        Item(tuple(Reading(read, u, v, k) for k in group for read in (name, *others)), seed)
        for group in groups
        for name in names
        for seed in chosen_seeds
    ]


def choose_cell_types(network: ResponseModel, cell_types: str | Sequence[str]) -> list[str]:
    """Names of cell types, checked; `all` stands for every one.

    Raises:
        ValueError: for an unknown name, with the nearest one.
    """
    if isinstance(cell_types, str) and cell_types == ALL:
        return list(network.cell_types)
    names = expect.names(cell_types)
    for name in names:
        expect.one_of("cell type", name, network.cell_types)
    return names


def choose_networks(network: ResponseModel, networks: str | Sequence[int]) -> list[int]:
    """Positions of networks, checked; `all` stands for every one.

    Raises:
        ValueError: for a position that does not exist.
    """
    if isinstance(networks, (str, int, np.integer)):
        expect.that(networks == ALL, "networks 'all' or positions", repr(networks), "use a list")
        return list(range(network.n_networks))
    for position in networks:
        listed = ", ".join(network.names)
        expect.whole("networks", position, f"loaded: {listed}", at_most=network.n_networks - 1)
    return list(networks)


def label_items(items: Sequence[Item], names: Sequence[str]) -> list[str]:
    """A short distinct name for every item: cell type, then what else varies.

    Args:
        items: to be labelled.
        names: of the networks.
    """
    several_networks = len({item.network for item in items}) > 1
    several_seeds = len({item.seed for item in items}) > 1
    several_columns = len({(item.u, item.v) for item in items}) > 1
    labels = []
    for item in items:
        label = item.cell_type
        if several_networks:
            label += f"-{names[item.network].rsplit('/', 1)[-1]}-{item.network}"
        if several_columns:
            label += f"-u{item.u}v{item.v}"
        if several_seeds:
            label += f"-seed{item.seed}"
        labels.append(label + (f"-{item.variant}" if item.variant else ""))
    return labels


class Readout(nn.Module):
    """Reads the responses of items from a network with one or several parameter sets.

    A simulation shows one stimulus to one parameter set. An item whose readings lie in several
    sets is simulated once in each of them. If every item lies in one set, nothing is copied.

    Args:
        network: contains the cells.
        items: each with the same number of readings.

    Raises:
        ValueError: if the items differ in their number of readings, or a reading names a network
            that does not exist.
    """

    item: Tensor
    network: Tensor
    cells: Tensor
    simulation: Tensor
    place: Tensor

    def __init__(self, network: ResponseModel, items: Sequence[Item]) -> None:
        super().__init__()
        counts = sorted({len(item.readings) for item in items})
        expect.that(
            len(counts) == 1 and counts[0] > 0,
            "items with the same number of readings, at least one",
            counts,
            "run one fit for each number",
        )
        simulations = [(i, k) for i, item in enumerate(items) for k in _networks_of(item)]
        rows = {pair: row for row, pair in enumerate(simulations)}
        choose_networks(network, [k for _, k in simulations])
        cells: list[list[int]] = [[] for _ in simulations]
        simulation, place = [], []
        for i, item in enumerate(items):
            for reading in item.readings:
                row = rows[i, reading.network]
                simulation.append(row)
                place.append(len(cells[row]))
                cells[row].append(network.cell_index(reading.cell_type, reading.u, reading.v))
        most = max(map(len, cells))
        padded = [row + [row[0]] * (most - len(row)) for row in cells]
        self.copies = len(simulations) > len(items)
        for name, values in (
            ("item", [i for i, _ in simulations]),
            ("network", [k for _, k in simulations]),
            ("cells", padded),
            ("simulation", simulation),
            ("place", place),
        ):
            tensor = torch.tensor(values, dtype=torch.int64)
            if name in ("simulation", "place"):
                tensor = tensor.reshape(len(items), -1)
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, network: ResponseModel, luminance: Tensor, protocol: Protocol) -> Tensor:
        """Responses `(items, readings, frames)` to luminance `(items, frames, columns)`."""
        if self.copies:
            luminance = luminance.index_select(0, self.item)
        traces = network.respond(luminance, protocol, self.cells, self.network)
        # Each trace in one piece: sums over frames then round alike for any number of items.
        traces = traces.transpose(1, 2).contiguous()
        return traces[self.simulation, self.place] if self.copies else traces


def _networks_of(item: Item) -> list[int]:
    return list(dict.fromkeys(reading.network for reading in item.readings))
