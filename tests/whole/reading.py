"""Reading one file by what stimopt reads it with, by name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from stimopt.connectome import Connectome
from stimopt.items import Item
from stimopt.movies import MovieStore
from stimopt.networks.flyvis import read_trained
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.motion_circuit import motion_circuit_spec
from stimopt.networks.opening import builtin_network
from stimopt.optimize.starts import naturalistic_start
from stimopt.results import result as results
from tests.movies.cases import read_all
from tests.whole.commandline import EXTENT


@functools.cache
def builtin() -> FrozenNetwork:
    """The network that winners are started on."""
    return builtin_network(EXTENT)


def read_winner(path: Path) -> None:
    """The winner of T4c, as a start."""
    naturalistic_start(path, builtin(), [Item("T4c")], 0.01)


def read_result(path: Path) -> None:
    """All of a result."""
    results.read(path)


def read_store(path: Path) -> None:
    """All of a store, against its check sums."""
    with MovieStore(path) as store:
        read_all(store)


def read_network(path: Path) -> None:
    """A folder of a trained network; `path` is its checkpoint."""
    read_trained(path.parent, Connectome.from_spec(motion_circuit_spec()))


def read_connectome(path: Path) -> None:
    """A connectome."""
    Connectome.from_json(path)


READERS: dict[str, Callable[[Path], None]] = {
    "winner": read_winner,
    "result": read_result,
    "store": read_store,
    "network": read_network,
    "connectome": read_connectome,
}
