"""A circuit small enough for many edges, and its tuning."""

from __future__ import annotations

import pytest

from stimopt.analysis import EdgeTuning, edge_tuning
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import builtin_network
from tests.analysis.cases import DETECTORS, PROTOCOL


@pytest.fixture(scope="session")
def circuit() -> FrozenNetwork:
    return builtin_network(extent=5)


@pytest.fixture(scope="session")
def edges(circuit: FrozenNetwork) -> EdgeTuning:
    return edge_tuning(circuit, DETECTORS, PROTOCOL, speeds=(13.0, 19.0))
