"""The results of chunks joined: equal to one result of all items."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import xarray

import stimopt
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import builtin_network
from stimopt.optimize.generate import StimulusGenerator
from stimopt.results import Result
from stimopt.results.campaign import ItemArray, write_manifest
from stimopt.results.result import read

TYPES, SEEDS = ["T4a", "T5b", "Mi1"], [0, 3]


@pytest.fixture(scope="module")
def networks() -> FrozenNetwork:
    return builtin_network(2).lesion("Mi9>T4a")


def generated(
    networks: FrozenNetwork, types: Sequence[str], positions: list[int], t_stim: float = 0.1
) -> Result:
    generator = StimulusGenerator(
        networks, list(types), networks=positions, seeds=SEEDS, t_stim=t_stim
    )
    return generator.result()


def written(folder: Path, results: Sequence[Result]) -> Path:
    for i, result in enumerate(results):
        (folder / "chunks" / str(i)).mkdir(parents=True)
        result.write(folder / "chunks" / str(i) / "result.h5")
    write_manifest(folder, {}, [str(i) for i in range(len(results))])
    return folder


@pytest.fixture(scope="module")
def folder(networks: FrozenNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    chunks = [generated(networks, t, [k]) for k in (0, 1) for t in (TYPES[:2], TYPES[2:])]
    return written(tmp_path_factory.mktemp("campaign"), chunks)


def test_chunks_read_as_the_result_of_all_items(folder: Path, networks: FrozenNetwork) -> None:
    joined, together = stimopt.read(folder), generated(networks, TYPES, [0, 1])
    assert isinstance(joined, Result)
    assert joined.variables.keys() == together.variables.keys()
    for name, variable in together.variables.items():
        dims, values, units = joined.variables[name]
        assert (dims, units) == (variable.dims, variable.units)
        np.testing.assert_array_equal(np.asarray(values), variable.values, err_msg=name)
    assert joined.network_hash == together.network_hash
    assert joined.config["penalties.grey"] == together.config["penalties.grey"]
    assert joined.check(networks) == 0.0


def test_large_arrays_are_read_item_by_item(folder: Path) -> None:
    joined = stimopt.read(folder)
    assert isinstance(joined, Result)
    values = joined["stimulus"]
    assert isinstance(values, ItemArray) and isinstance(joined["response"], ItemArray)
    assert values.shape == (12, 10, 19) and len(values) == 12 and values.ndim == 3
    whole = np.asarray(values)
    assert whole.shape == values.shape and whole.dtype == values.dtype == np.float32
    for key in (5, -1, slice(3, 9, 2), [7, 0], (4, 2), (slice(None), -1), (2, slice(1, 3), 5)):
        np.testing.assert_array_equal(values[key], whole[key])
    np.testing.assert_array_equal(values[whole[:, 0, 0] > 0.5], whole[whole[:, 0, 0] > 0.5])
    n, columns, square = np.arange(12), np.arange(12) % 7, np.array([[0, 5], [8, 2]])
    for key in ((n, slice(None), columns), (n, n % 5, columns), ([3, 1], 2), square, (square, 1)):
        np.testing.assert_array_equal(values[key], whole[key])
    for key in ((..., 3), (slice(None), ..., 3), (None, 0)):
        np.testing.assert_array_equal(values[key], whole[key])
    taken = values.take([8, 1])
    assert isinstance(taken, ItemArray)
    np.testing.assert_array_equal(taken, whole[[8, 1]])


def test_what_is_joined_can_be_written_for_xarray(folder: Path, tmp_path: Path) -> None:
    joined = stimopt.read(folder)
    with xarray.open_dataset(joined.write(tmp_path / "all.h5"), engine="h5netcdf") as data:
        assert dict(data.sizes) == {"item": 12, "frame": 10, "column": 19}
        assert data["label"].values.tolist() == joined["label"].tolist()


def test_shorter_clips_end_in_nan(networks: FrozenNetwork, tmp_path: Path) -> None:
    parts = [generated(networks, ["T4a"], [0], t_stim) for t_stim in (0.05, 0.1)]
    joined = stimopt.read(written(tmp_path, parts))
    assert joined["stimulus"].shape[:2] == joined["central_response"].shape == (4, 10)
    assert np.isnan(joined["stimulus"][0, 5:]).all() and np.isnan(joined["response"][1, 5:]).all()
    assert not np.isnan(joined["stimulus"][0, :5]).any()
    np.testing.assert_allclose(joined["time"], 0.01 * np.arange(10))
    assert joined.check(networks) == 0.0


def test_a_campaign_that_is_not_finished_is_refused(folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "part")
    shutil.rmtree(copied / "chunks" / "2")
    with pytest.raises(ValueError, match=r"got 1 of 4 chunks missing \(2\); rerun the command"):
        stimopt.read(copied)


def test_chunks_of_different_networks_are_refused(
    folder: Path, networks: FrozenNetwork, tmp_path: Path
) -> None:
    copied = shutil.copytree(folder, tmp_path / "mixed")
    other = generated(builtin_network(2), TYPES[:1], [0])
    other.write(copied / "chunks" / "1" / "result.h5")
    with pytest.raises(ValueError, match=r"expected network_hash .* in .*1.result\.h5"):
        stimopt.read(copied)


def test_a_damaged_chunk_and_another_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "damaged")
    (copied / "chunks" / "3" / "result.h5").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"damaged or foreign file.* after removing .*3$"):
        stimopt.read(copied)
    with pytest.raises(ValueError, match=r"campaign\.json, got no file"):
        stimopt.read(tmp_path)
    with pytest.raises(ValueError, match=r"got no file; give .*chunks.3.result\.h5$"):
        stimopt.read(copied / "chunks" / "3")
    (tmp_path / "campaign.json").write_text('{"schema": "other"}')
    with pytest.raises(ValueError, match=r"expected schema stimopt\.campaign/1"):
        stimopt.read(tmp_path)


def test_the_chunks_themselves_are_results(folder: Path, networks: FrozenNetwork) -> None:
    one = read(folder / "chunks" / "3" / "result.h5")
    assert one["network"].tolist() == [1, 1] and one.check(networks) == 0.0
