"""What a search adds to its result: clips by rank, where they come from, and every peak."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stimopt.movies.datamodule import StimulusDataModule
from stimopt.protocol import Protocol
from stimopt.results.result import read
from stimopt.search.naturalistic import NaturalisticSearch
from tests.search.cases import grey_store, linear_network, noise_store, searched, two_networks


def test_the_result_contains_the_clips_and_can_be_checked(tmp_path: Path) -> None:
    protocol = Protocol(t_pre=0.2, baseline="grey", readout_start=0.03, readout_stop=-0.02)
    store, networks = str(noise_store(tmp_path)), two_networks()
    data = StimulusDataModule([store, store], dt=protocol.dt)
    search = NaturalisticSearch(networks, protocol, top_k=2, one_per_window=True)
    path = searched(search, data).result().write(tmp_path / "result.h5")
    result = read(path)
    n_types = len(networks.cell_types)
    assert result.kind == "naturalistic" and result.network_names == ("first", "other")
    assert result.check(networks) <= 1e-6
    assert result.network.tolist() == [0] * n_types + [1] * n_types
    assert result.cell_type.tolist() == list(networks.cell_types) * 2
    half = len(data.dataset) // 2
    assert result["sample"][:, 0].max() < half, "ties go to the first listing"
    np.testing.assert_array_equal(result.peak_response[:, 1], result.peak_response[:, 0])
    center = networks.lattice.center
    for i in range(0, 2 * n_types, 7):
        sample, n = int(result["sample"][i, 0]), int(result.n_frames[i])
        np.testing.assert_array_equal(
            result.stimulus[i, :n], data.dataset[sample].luminance.numpy()
        )
        central = result.response[i, :n, center]
        np.testing.assert_array_equal(central, result.central_response[i, :n])
        inside = central[protocol.readout(n)]
        np.testing.assert_allclose(inside.max(), result.peak_response[i, 0], atol=1e-6)
        assert inside.argmax() + 3 == result.peak_frame[i, 0]
        origin = data.describe(sample)
        for name in ("store", "scene", "view", "window", "first_frame", "mirroring", "rotation"):
            assert result[name][i, 0] == origin[name], name
    assert result.config["samples"] == len(data.dataset)


def test_missing_ranks_are_marked(tmp_path: Path) -> None:
    path = grey_store(tmp_path, [[0.6] * 4, [0.9] * 4])
    data = StimulusDataModule(str(path), mirrorings=[0], rotations=[0])
    search = NaturalisticSearch(linear_network(), Protocol(t_pre=0.05), top_k=3)
    result = searched(search, data).result()
    assert result["sample"][0].tolist() == [1, 0, -1]
    assert result["scene"][0].tolist() == ["scene_1", "scene_0", ""]
    assert result["window"][0].tolist() == [0, 0, -1]
    assert np.isnan(result["peak_response"][0, 2]) and np.isnan(result["frame_rate"][0, 2])


def test_every_peak_is_reported_on_request(tmp_path: Path) -> None:
    data = StimulusDataModule(str(noise_store(tmp_path)), start_sample=7)
    search = NaturalisticSearch(
        two_networks(), Protocol(t_pre=0.2), top_k=2, keep_all=True, networks=[1]
    )
    result = searched(search, data).result()
    every = result["every_peak_response"]
    assert result["every_sample"].tolist() == list(data.samples)
    np.testing.assert_array_equal(every.max(axis=0), result["peak_response"][:, 0])
    np.testing.assert_array_equal(every.argmax(axis=0) + 7, result["sample"][:, 0])
    assert set(result["network"]) == {1}
