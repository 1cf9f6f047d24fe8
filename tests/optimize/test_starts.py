"""Clips of a search as starts of a fit."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from stimopt.items import Item, Reading, make_items
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import builtin_network
from stimopt.optimize.generate import StimulusGenerator
from stimopt.optimize.regularize import StimulusRegularizer
from stimopt.optimize.starts import naturalistic_start, starting_stimulus
from stimopt.protocol import GREY, Protocol
from stimopt.results.result import Result, read, write
from stimopt.search.naturalistic import NaturalisticSearch
from tests.search.cases import EXTENT, noise_store, searched, two_networks

PROTOCOL = Protocol(t_pre=0.1)
TYPES = ["T4a", "Mi1", "Tm9", "T5c", "Tm3", "L1"]


@pytest.fixture(scope="module")
def networks() -> FrozenNetwork:
    return two_networks()


@pytest.fixture(scope="module")
def path(networks: FrozenNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    # Windows of 19, 21 and 23 frames.
    store = noise_store(folder, lengths=(30, 43, 46))
    data = StimulusDataModule(str(store), dt=PROTOCOL.dt, batch_size=30)
    search = searched(NaturalisticSearch(networks, PROTOCOL, cell_types=TYPES), data)
    return search.result().write(folder / "result.h5")


def test_every_item_starts_from_the_clip_of_its_type_and_network(
    path: Path, networks: FrozenNetwork
) -> None:
    result = read(path)
    items = make_items(networks, TYPES[::-1], seeds=[0, 1])
    stimuli, lengths = naturalistic_start(path, networks, items, dt=PROTOCOL.dt)
    assert stimuli.shape == (24, int(lengths.max()), networks.lattice.n_columns)
    assert stimuli.dtype == torch.float32 and torch.isfinite(stimuli).all()
    for item, stimulus, length in zip(items, stimuli, lengths.tolist(), strict=True):
        row = len(TYPES) * item.network + TYPES.index(item.cell_type)
        assert length == result.n_frames[row]
        np.testing.assert_array_equal(stimulus[:length], result.stimulus[row, :length])
        assert (stimulus[length:] == GREY).all()
    assert len(set(lengths.tolist())) > 1, "clips of different lengths are wanted here"
    # What the network says to the start is what the search said.
    cells = torch.tensor([[networks.cell_index(item.cell_type)] for item in items])
    index = torch.tensor([item.network for item in items])
    central = networks.respond(stimuli, PROTOCOL, cells, index)[..., 0]
    for item, trace, length in zip(items, central, lengths.tolist(), strict=True):
        row = len(TYPES) * item.network + TYPES.index(item.cell_type)
        np.testing.assert_allclose(trace[:length].max(), result.peak_response[row, 0], atol=1e-6)


def test_a_network_of_the_same_name_or_the_only_one_stands_in(
    path: Path, networks: FrozenNetwork, tmp_path: Path
) -> None:
    result = read(path)
    # One network alone, of which the result has it in another position.
    other = builtin_network(EXTENT)
    other.names = ("other",)
    stimuli, lengths = naturalistic_start(path, other, [Item((Reading("Mi1"),))])
    row = len(TYPES) + TYPES.index("Mi1")
    np.testing.assert_array_equal(
        stimuli[0, : int(lengths[0])], result.stimulus[row, : result.n_frames[row]]
    )
    stranger = builtin_network(EXTENT)
    stranger.names = ("stranger",)
    with pytest.raises(ValueError, match=r"expected clips for network stranger .* first, other"):
        naturalistic_start(path, stranger, [Item((Reading("Mi1"),))])


def test_a_search_within_a_file_of_several_results(
    path: Path, networks: FrozenNetwork, tmp_path: Path
) -> None:
    naturalistic = read(path)
    # The other two groups need only be of the same items, network and protocol.
    others = {k: dataclasses.replace(naturalistic, kind=k) for k in ("regularized", "artificial")}
    several = write(tmp_path / "optima.h5", {"naturalistic": naturalistic, **others})
    items = [Item((Reading("T4a"),))]
    one, other = (naturalistic_start(p, networks, items) for p in (path, several))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_invalid_start_is_rejected(path: Path, networks: FrozenNetwork, tmp_path: Path) -> None:
    items = [Item((Reading("Mi1"),))]
    with pytest.raises(ValueError, match=r"'grey', .* or a tensor, got ndarray"):
        starting_stimulus(networks, items, 1, 0.01, np.zeros((1, 1, 19)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected clips of extent 2 as the network, got 3"):
        naturalistic_start(path, builtin_network(2), items)
    with pytest.raises(ValueError, match=r"cell type that was searched for in .*got 'Mi4'"):
        naturalistic_start(path, networks, [Item((Reading("Mi4"),))])
    with pytest.raises(ValueError, match=r"expected Mi1 of network 0 in column u=1, v=0"):
        naturalistic_start(path, networks, [Item((Reading("Mi1", u=1),))])
    with pytest.raises(ValueError, match=r"expected clips at dt = 0\.02 s, got 0\.01 s"):
        naturalistic_start(path, networks, items, dt=0.02)
    with pytest.raises(ValueError, match="got no file"):
        naturalistic_start(tmp_path / "none.h5", networks, items)
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(ValueError, match="damaged or foreign"):
        naturalistic_start(tmp_path / "text.h5", networks, items)
    held = read(path)
    fitted = Result(**{**held.__dict__, "kind": "artificial"}).write(tmp_path / "fit.h5")
    with pytest.raises(ValueError, match=r"another run \(artificial\)"):
        naturalistic_start(fitted, networks, items)


def test_a_start_is_the_same_where_its_file_has_moved(
    path: Path, networks: FrozenNetwork, tmp_path: Path
) -> None:
    moved = shutil.copy(path, tmp_path / "moved.h5")
    one, other = (
        StimulusRegularizer(networks, "T4a", PROTOCOL, init=f"naturalistic:{each}").settings()
        for each in (path, moved)
    )
    assert one == other


@pytest.mark.parametrize("kind", [torch.float16, torch.int64])
def test_a_start_of_few_bits_or_whole_numbers_is_refused(
    networks: FrozenNetwork, kind: torch.dtype
) -> None:
    start = torch.zeros((2, 4, networks.lattice.n_columns), dtype=kind)
    with pytest.raises(ValueError, match=rf"a start of 32- or 64-bit numbers, got {kind}"):
        StimulusGenerator(networks, "T4a", PROTOCOL, init=start)
