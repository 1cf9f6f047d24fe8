"""Likeness of paths in circuits whose paths are known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from stimopt.analysis import path_similarity, ranked_clips
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import builtin_network
from stimopt.protocol import Protocol
from stimopt.results import Result, Variable
from stimopt.search.naturalistic import NaturalisticSearch
from tests.analysis.planted import two_inputs, with_stimulus
from tests.search.cases import EXTENT, noise_store, searched


@pytest.fixture(scope="module")
def network() -> FrozenNetwork:
    return two_inputs()


def centre(network: FrozenNetwork, levels: list[float]) -> Result:
    """A result whose one stimulus has these levels in the central column and the one beside it."""
    stimulus = np.full((1, 20, network.lattice.n_columns), 0.5, np.float32)
    for place, level in zip(((0, 0), (1, 0)), levels, strict=True):
        stimulus[0, 10:, network.lattice.index(*place)] = level
    return with_stimulus(network, stimulus)


def test_other_inputs_have_nothing_in_common_and_the_same_course_is_the_same(
    network: FrozenNetwork,
) -> None:
    by_a, by_b = centre(network, [1.0, 0.5]), centre(network, [0.5, 1.0])
    assert path_similarity(by_a, network, by_a)[0, 0] == pytest.approx(1.0)
    assert path_similarity(by_a, network, by_b)[0, 0] == pytest.approx(0.0, abs=1e-6)
    both = centre(network, [1.0, 1.0])
    # Equal courses through two inputs against one of them: the cosine of 45 degrees.
    assert path_similarity(by_a, network, both)[0, 0] == pytest.approx(0.5**0.5, abs=1e-3)
    # A dimmer clip takes the same path.
    assert path_similarity(by_a, network, centre(network, [0.75, 0.5]))[0, 0] > 0.999


def test_all_clips_of_a_cell_are_compared_and_missing_ones_are_nan(network: FrozenNetwork) -> None:
    by_a, by_b = centre(network, [1.0, 0.5]), centre(network, [0.5, 1.0])
    several = {
        name: variable._replace(
            values=np.concatenate([by_b[name], by_a[name]], axis=variable.dims.index("item"))
        )
        if "item" in variable.dims
        else variable
        for name, variable in by_a.variables.items()
    }
    clips = dataclasses.replace(by_a, variables=several)
    np.testing.assert_allclose(path_similarity(by_a, network, clips), [[0.0, 1.0]], atol=1e-6)
    other = Variable(("item",), np.array(["A"]))
    of_another = dataclasses.replace(by_a, variables={**by_a.variables, "cell_type": other})
    assert path_similarity(of_another, network, clips).shape == (1, 0)


def test_nothing_moved_has_no_path_and_other_protocols_are_refused(network: FrozenNetwork) -> None:
    still, by_a = centre(network, [0.5, 0.5]), centre(network, [1.0, 0.5])
    assert np.isnan(path_similarity(still, network, by_a)[0, 0])
    longer = dataclasses.replace(by_a, protocol=Protocol(t_pre=2.0))
    with pytest.raises(ValueError, match="expected clips under the protocol of the result"):
        path_similarity(by_a, network, longer)
    with pytest.raises(ValueError, match="at least one frame before the peak"):
        path_similarity(by_a, network, by_a, seconds=0.0)


def test_ranked_clips_are_those_that_gave_the_ranked_responses(tmp_path: Path) -> None:
    network = builtin_network(extent=EXTENT)
    data = StimulusDataModule([str(noise_store(tmp_path))], dt=0.01, extent=EXTENT)
    search = NaturalisticSearch(network, cell_types=["T4c", "Mi1"], top_k=3, keep_all=True)
    found = searched(search, data).result()
    clips = ranked_clips(found, data)
    assert clips["cell_type"].tolist() == ["T4c"] * 3 + ["Mi1"] * 3
    assert clips["every_peak_response"].shape[1] == 6
    for row, expected in enumerate(found["peak_response"].ravel()):
        n, cell = clips["n_frames"][row], str(clips["cell_type"][row])
        stimulus = torch.as_tensor(clips["stimulus"][row : row + 1, :n])
        read = torch.tensor([network.cell_index(cell)])
        assert float(network.respond(stimulus, Protocol(), read).max()) == pytest.approx(
            expected, abs=1e-5
        )
    other = StimulusDataModule([str(noise_store(tmp_path / "b", lengths=(8, 9)))], 0.01, EXTENT)
    with pytest.raises(ValueError, match="expected the movies of the search"):
        ranked_clips(found, other)
