"""Searches against brute force, closed forms and recorded flyvis values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from stimopt.movies import render
from stimopt.movies.datamodule import StimulusDataModule, StimulusDataset, collate
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import builtin_network
from stimopt.protocol import Protocol
from stimopt.runs.checkpointing import SafeCheckpointIO
from stimopt.runs.trainer import run_search
from stimopt.search.argmax import unpack
from stimopt.search.naturalistic import NaturalisticSearch
from tests.search.cases import (
    EXTENT,
    Linear,
    assert_same_result,
    grey_store,
    linear_network,
    noise_store,
    searched,
    two_networks,
)

PROTOCOLS = [
    Protocol(t_pre=0.2),
    Protocol(t_pre=0.0, t_fade_in=0.3),
    Protocol(t_pre=0.2, baseline="grey", readout_start=0.03, readout_stop=-0.02),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise_store(tmp_path_factory.mktemp("noise"))


@pytest.fixture(scope="module")
def networks() -> FrozenNetwork:
    return two_networks()


def brute_force(
    network: FrozenNetwork, dataset: StimulusDataset, protocol: Protocol, types: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Peaks and their frames `(samples, networks, types)`: one sample and one network at a time."""
    cells = torch.tensor([network.cell_index(name) for name in types])
    peaks, frames = [], []
    for sample in range(len(dataset)):
        luminance = dataset[sample].luminance[None]
        n = luminance.shape[1]
        start = 0 if protocol.readout_start is None else round(protocol.readout_start / protocol.dt)
        stop = (
            n if protocol.readout_stop is None else n + round(protocol.readout_stop / protocol.dt)
        )
        of_networks = [
            network.respond(luminance, protocol, cells, torch.tensor([i]))[0, start:stop].numpy()
            for i in range(network.n_networks)
        ]
        peaks.append([r.max(axis=0) for r in of_networks])
        frames.append([start + r.argmax(axis=0) for r in of_networks])
    return np.array(peaks), np.array(frames)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_search_is_the_brute_force_answer_at_any_batch_size(
    store: Path, networks: FrozenNetwork, protocol: Protocol
) -> None:
    types = ["T4a", "Mi1", "R1", "Tm3"]
    data = StimulusDataModule(str(store), dt=protocol.dt)
    peaks, frames = brute_force(networks, data.dataset, protocol, types)
    order = np.lexsort((np.arange(len(peaks))[:, None, None] + 0 * peaks, -peaks), axis=0)[:3]
    for batch_size in (1, 7, 100):
        data = StimulusDataModule(str(store), dt=protocol.dt, batch_size=batch_size)
        search = NaturalisticSearch(networks, protocol, cell_types=types, top_k=3, keep_all=True)
        searched(search, data)
        winners = search.winners
        np.testing.assert_array_equal(winners.sample.permute(2, 0, 1), order)
        for name, every in (("response", peaks), ("peak_frame", frames)):
            expected = np.take_along_axis(every, order, axis=0)
            np.testing.assert_array_equal(getattr(winners, name).permute(2, 0, 1), expected)
        assert search.every_peak is not None
        np.testing.assert_array_equal(search.every_peak, peaks)


def test_reading_workers_change_nothing(store: Path, networks: FrozenNetwork) -> None:
    winners = []
    for workers in (0, 2):
        data = StimulusDataModule(str(store), batch_size=9, num_workers=workers)
        search = NaturalisticSearch(networks, PROTOCOLS[0], top_k=2, one_per_window=True)
        winners.append(searched(search, data).winners)
    assert all(torch.equal(a, b) for a, b in zip(*winners, strict=True))


def test_a_search_in_64_bits_finds_the_same_peaks(store: Path) -> None:
    data, top = StimulusDataModule(str(store)), []
    for precision in ("32-true", "64-true"):
        search = searched(NaturalisticSearch(two_networks()), data, precision=precision)
        top.append(unpack(search.best.top).response)
    torch.testing.assert_close(top[1], top[0], atol=1e-5, rtol=1e-5)


def test_the_answers_of_a_linear_network(tmp_path: Path) -> None:
    # Brightest in scene 1, darkest in scene 2; scenes 0 and 3 are equal.
    levels = [[0.6] * 10, [0.5] * 4 + [0.9] + [0.5] * 5, [0.4] * 3 + [0.1] + [0.4] * 6, [0.6] * 10]
    path = grey_store(tmp_path, levels)
    data = StimulusDataModule(str(path), window_frames=10, batch_size=5)
    network = linear_network()
    search = searched(NaturalisticSearch(network, Protocol(t_pre=0.05), top_k=3), data)
    assert search.labels == ["on", "off", "dull"]
    # All turns of a uniform scene are alike, so the lowest numbers of the best scene win.
    assert search.winners.sample[0].tolist() == [[12, 13, 14], [24, 25, 26], [0, 1, 2]]
    assert search.winners.peak_frame[0].tolist() == [[4] * 3, [3] * 3, [0] * 3]
    np.testing.assert_allclose(search.winners.response[0, :, 0], [0.9, -0.05, 0.0], atol=1e-7)
    one_each = NaturalisticSearch(network, Protocol(t_pre=0.05), top_k=5, one_per_window=True)
    searched(one_each, data)
    expected = [[12, 0, 36, 24, -1], [24, 12, 0, 36, -1], [0, 12, 24, 36, -1]]
    assert one_each.winners.sample[0].tolist() == expected
    assert one_each.winners.window[0].tolist() == [
        [s // 12 if s >= 0 else -1 for s in r] for r in expected
    ]


def test_padding_after_a_shorter_clip_never_wins(tmp_path: Path) -> None:
    # Padded with grey, the dark short clip would reach 0.5 and beat the long one.
    path = grey_store(tmp_path, [[0.1] * 4, [0.3] * 12])
    data = StimulusDataModule(str(path), window_frames=12, mirrorings=[0], rotations=[0])
    search = searched(NaturalisticSearch(linear_network(), Protocol(t_pre=0.05)), data)
    assert search.winners.sample[0, :2, 0].tolist() == [1, 0]
    np.testing.assert_allclose(search.winners.response[0, :2, 0], [0.3, -0.05], atol=1e-7)
    result = search.result()
    assert result.n_frames.tolist() == [12, 4, 4]
    assert np.isnan(result.stimulus[1, 4:]).all() and np.isnan(result.response[1, 4:]).all()


def test_an_interrupted_pass_resumes_to_the_same_result(
    store: Path, networks: FrozenNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(batch_size: int, resume: bool, folder: Path, **options: Any) -> NaturalisticSearch:
        data = StimulusDataModule(str(store), batch_size=batch_size)
        search = NaturalisticSearch(networks, PROTOCOLS[0], top_k=4, keep_all=True)
        return searched(search, data, folder, resume=resume, **options)

    whole = run(5, False, tmp_path / "whole")
    whole.result().write(tmp_path / "whole.h5")
    part = run(5, False, tmp_path / "part", limit_test_batches=3)
    assert part.samples_done == range(15)
    loaded: list[int] = []
    load = StimulusDataset.__getitem__

    def watched(self: StimulusDataset, sample: int) -> Any:
        loaded.append(int(sample))
        return load(self, sample)

    monkeypatch.setattr(StimulusDataset, "__getitem__", watched)
    # Resumed with another batch size, and so with other batches.
    rest = run(4, True, tmp_path / "part")
    n = len(rest.data.dataset)
    assert loaded == list(range(15, n)), "samples done are not loaded again"
    assert rest.samples_done == whole.samples_done == range(n)
    assert list(rest.data.remaining) == list(range(n)), "the data module starts anew afterwards"
    rest.result().write(tmp_path / "rest.h5")
    assert_same_result(tmp_path / "whole.h5", tmp_path / "rest.h5")
    # A finished pass does its last sample again.
    loaded.clear()
    again = run(5, True, tmp_path / "part")
    assert loaded == [n - 1]
    again.result().write(tmp_path / "again.h5")
    assert_same_result(tmp_path / "whole.h5", tmp_path / "again.h5")


def test_an_error_in_the_middle_leaves_the_last_checkpoint(
    store: Path, networks: FrozenNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = StimulusDataModule(str(store), batch_size=5)
    load = StimulusDataset.__getitem__

    def failing(self: StimulusDataset, sample: int) -> Any:
        if sample == 23:
            raise OSError("disk gone")
        return load(self, sample)

    monkeypatch.setattr(StimulusDataset, "__getitem__", failing)
    search = NaturalisticSearch(networks, PROTOCOLS[0], top_k=np.int64(1))  # NumPy's serve too
    for resume in (False, True):
        with pytest.raises(OSError, match="disk gone"):
            searched(search, data, tmp_path, resume=resume)
    monkeypatch.undo()
    searched(search, data, tmp_path, resume=True)
    whole = searched(NaturalisticSearch(networks, PROTOCOLS[0]), data)
    assert all(torch.equal(a, b) for a, b in zip(search.winners, whole.winners, strict=True))


def test_rejects_an_altered_checkpoint(
    store: Path, networks: FrozenNetwork, tmp_path: Path
) -> None:
    def search() -> NaturalisticSearch:
        return NaturalisticSearch(networks, PROTOCOLS[0])

    data = StimulusDataModule(str(store), batch_size=50)
    searched(search(), data, tmp_path, limit_test_batches=1)
    path = tmp_path / "last.ckpt"
    saved = SafeCheckpointIO().load_checkpoint(path)
    saved["stimopt"]["top"] = saved["stimopt"]["top"][:, :3]
    SafeCheckpointIO().save_checkpoint(saved, path)
    with pytest.raises(ValueError, match=r"expected top as torch\.int64"):
        searched(search(), data, tmp_path, resume=True)
    del saved["stimopt"]
    SafeCheckpointIO().save_checkpoint(saved, path)
    with pytest.raises(ValueError, match="expected a checkpoint of a search"):
        searched(search(), data, tmp_path, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_k": 2}, "expected top_k = 1 as in the checkpoint, got 2"),
        ({"cell_types": ["T4a"]}, "expected cell_types"),
        (
            {"protocol": PROTOCOLS[1]},
            "expected protocol.t_fade_in = 0.0 as in the checkpoint, got 0.3",
        ),
        ({"network": builtin_network(EXTENT)}, "expected network_hash"),
        ({"data": {"rotations": [0]}}, "expected data"),
        ({"data": {"stop_sample": 30}}, "expected stop_sample"),
    ],
)
def test_rejects_the_checkpoint_of_another_run(
    store: Path, networks: FrozenNetwork, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    def run(change: dict[str, Any], resume: bool) -> None:
        options = {"network": networks, "protocol": PROTOCOLS[0], **change}
        data = StimulusDataModule(str(store), batch_size=50, **options.pop("data", {}))
        search = NaturalisticSearch(**options)
        searched(search, data, tmp_path, resume=resume, limit_test_batches=1)

    run({}, False)
    with pytest.raises(ValueError, match=message):
        run(change, True)


def test_rejects_before_it_starts(store: Path, networks: FrozenNetwork) -> None:
    def run(network: FrozenNetwork, protocol: Protocol, **data: Any) -> None:
        searched(NaturalisticSearch(network, protocol), StimulusDataModule(str(store), **data))

    with pytest.raises(ValueError, match=r"expected movies of extent 2 .*, got 3"):
        run(builtin_network(2), Protocol())
    with pytest.raises(
        ValueError, match=r"expected samples at the protocol's dt of 0\.02 s, got 0\.01"
    ):
        run(networks, Protocol(dt=0.02), dt=0.01)
    # The shortest clip has 5 frames at 24 a second, 0.21 s.
    with pytest.raises(ValueError, match="expected a read-out window within the 21 frames"):
        run(networks, Protocol(readout_start=0.3))
    with pytest.raises(ValueError, match="expected at least one sample, got start_sample"):
        run(networks, Protocol(), start_sample=3, stop_sample=3)
    with pytest.raises(RuntimeError, match="expected a search that has run"):
        NaturalisticSearch(networks).result()


def test_rejects_samples_in_another_order(store: Path, networks: FrozenNetwork) -> None:
    class Backwards(StimulusDataModule):
        def test_dataloader(self) -> DataLoader[Any]:
            backwards = Subset(self.dataset, self.samples[::-1])
            return DataLoader(backwards, batch_size=self.batch_size, collate_fn=collate)

    data = Backwards(str(store))
    with pytest.raises(RuntimeError, match=r"expected samples \[0, 1, .* in batch 0 of process 0"):
        searched(NaturalisticSearch(networks, PROTOCOLS[0]), data)


class Overflowing(Linear):
    """Leaves the finite numbers where it is bright."""

    def forward(self, luminance: torch.Tensor) -> torch.Tensor:
        return super().forward(luminance) * torch.where(luminance[..., :1] > 0.8, torch.nan, 1)


def test_rejects_responses_that_are_not_finite(tmp_path: Path) -> None:
    network = linear_network()
    network.module = Overflowing(network.lattice.n_columns)
    path = grey_store(tmp_path, [[0.6] * 4, [0.9] * 4])
    data = StimulusDataModule(str(path), mirrorings=[0], rotations=[0])
    with pytest.raises(ValueError, match="expected finite responses, got 3"):
        searched(NaturalisticSearch(network, Protocol(t_pre=0.05)), data)


@pytest.mark.filterwarnings("ignore:networks that cannot be trusted")
def test_networks_without_a_finite_response_have_none(tmp_path: Path) -> None:
    network = builtin_network(extent=2).lesion("Mi9>T4c")
    network.tap_weight[1] *= 1e30
    data = StimulusDataModule(str(noise_store(tmp_path, 2)), extent=2)
    search = NaturalisticSearch(network, cell_types="T4c", keep_all=True)
    result = run_search(search, data, enable_progress_bar=False)
    best, every = result["peak_response"], result["every_peak_response"]  # items first; clips first
    assert np.isfinite(best[0]).all() and np.isfinite(every[:, 0]).all()
    assert np.isnan(best[1]).all() and np.isnan(every[:, 1]).all()


def test_a_protocol_stands_where_other_fits_take_cell_types() -> None:
    with pytest.raises(ValueError, match="expected a Protocol as the second argument, got 'T4c'"):
        NaturalisticSearch(linear_network(), "T4c")  # type: ignore[arg-type]


# -- the trained network and the film -----------------------------------------------------------


@pytest.fixture(scope="module")
def film(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("film") / "film.h5"
    return str(render(shared / "data/sintel-clip", out, progress=False))


def require_recorded(
    recorded: h5py.File, film: str, network: FrozenNetwork, first: int, stop: int
) -> NaturalisticSearch:
    """Search a part of the film and compare with what flyvis 1.2.0 found there."""
    assert list(network.cell_types) == recorded["cell_types"].asstr()[:].tolist()
    response = recorded["search/peak_response"][first:stop]
    frame = recorded["search/peak_frame"][first:stop]
    data = StimulusDataModule(film, start_sample=first, stop_sample=stop, batch_size=12)
    search = searched(NaturalisticSearch(network, Protocol(), keep_all=True), data)
    assert search.every_peak is not None
    # The order of sums in float32 moves voltages by about 2e-6.
    np.testing.assert_allclose(search.every_peak[:, 0], response, rtol=0, atol=1e-4)
    winners = response.argmax(axis=0)
    assert (search.winners.sample[0, :, 0] - first).tolist() == winners.tolist()
    frames = frame[winners, np.arange(len(winners))]
    assert search.winners.peak_frame[0, :, 0].tolist() == frames.tolist()
    return search


def test_the_last_two_windows_of_the_film_as_flyvis_recorded_them(
    recorded: h5py.File, film: str, real_network: FrozenNetwork
) -> None:
    result = require_recorded(recorded, film, real_network, 408, 432).result()
    i = result.cell_type.tolist().index("T4c")
    assert (result["sample"][i, 0], result.peak_frame[i, 0]) == (421, 29)
    assert round(float(result.peak_response[i, 0]), 3) == 1.826
    clip, n_frames = recorded["search/sample_421"], result.n_frames[i]
    np.testing.assert_allclose(result.stimulus[i, :n_frames], clip["stimulus"][:], atol=1e-6)
    np.testing.assert_allclose(
        result.central_response[i, :n_frames], clip["central_response"][:, i], atol=1e-4
    )


@pytest.mark.slow
def test_the_whole_film_as_flyvis_recorded_it(
    recorded: h5py.File, film: str, real_network: FrozenNetwork
) -> None:
    search = require_recorded(recorded, film, real_network, 0, 432)
    i = real_network.cell_types.index("T4c")
    assert search.winners.sample[0, i].tolist() == [421]
    assert search.result().check(real_network) <= 1e-4
