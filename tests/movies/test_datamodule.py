"""Streaming samples: flyvis's stimuli to 1e-6, in order, however batched and shared out."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, DistributedSampler, Subset

from stimopt.lattice import HexLattice
from stimopt.movies import GeneratedStore, MovieStore, ProceduralSettings, render
from stimopt.movies.datamodule import StimulusBatch, StimulusDataModule, StimulusDataset, collate
from stimopt.movies.eye import RenderSettings
from tests.movies.cases import SMALL, noise_frames


@pytest.fixture(scope="module")
def film(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The six film scenes, rendered as flyvis renders them."""
    out = tmp_path_factory.mktemp("film") / "film.h5"
    return str(render(shared / "data/sintel-clip", out, progress=False))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three scenes of noise on 19 columns: 45, 8 (shorter than a window) and 60 frames."""
    folder = tmp_path_factory.mktemp("small")
    for i, n_frames in enumerate((46, 9, 61)):
        np.save(folder / f"{i}.npy", noise_frames(n_frames, i))
    return str(render(folder, folder / "small.h5", SMALL, progress=False))


def passed(module: StimulusDataModule) -> list[tuple[int, NDArray[np.float32]]]:
    """Every sample of a pass with its luminance, padding cut off."""
    samples = []
    for batch in module.test_dataloader():
        assert isinstance(batch, StimulusBatch)
        assert batch.luminance.dtype == torch.float32
        assert batch.sample.dtype == batch.n_frames.dtype == torch.int64
        for number, luminance, n in zip(*batch, strict=True):
            samples.append((int(number), luminance[: int(n)].numpy()))
            assert (luminance[int(n) :] == 0.5).all()
    return samples


def test_the_film_gives_the_432_samples_of_flyvis(film: str, shared: Path) -> None:
    samples = passed(StimulusDataModule(film, batch_size=50))
    assert [number for number, _ in samples] == list(range(432))
    with h5py.File(shared / "reference/flyvis-1.2.0.h5") as recorded:
        search = recorded["search"]
        assert [len(luminance) for _, luminance in samples] == search["n_frames"][:].tolist()
        names = [name for name in search if name.startswith("sample_")]
        assert len(names) == 5
        for name in names:
            stimulus = search[name]["stimulus"][:]
            luminance = samples[int(name[7:])][1]
            np.testing.assert_allclose(luminance, stimulus, rtol=0, atol=1e-6)


def test_a_sample_number_leads_back_to_its_frames(film: str) -> None:
    module = StimulusDataModule([film])
    assert module.describe(421) == {
        "sample": 421,
        "store": film,
        "scene": "sky_1",
        "view": 2,
        "window": 1,
        "first_frame": 22,
        "last_frame": 41,
        "frame_rate": 24.0,
        "mirroring": 0,
        "rotation": 1,
    }


def test_mirrorings_and_rotations_are_of_the_picture(small: str) -> None:
    module = StimulusDataModule(small)
    x, y = HexLattice(2).picture_coordinates()
    samples = [luminance for _, luminance in passed(module)]
    for first in range(0, len(samples), 12):
        for turn in range(12):
            # Where each column's value was before: mirrored, then rotated, so undone backwards.
            angle = np.deg2rad(-60 * (turn % 6))
            x0 = np.cos(angle) * x - np.sin(angle) * y
            y0 = np.sin(angle) * x + np.cos(angle) * y
            x0 = -x0 if turn >= 6 else x0
            before = np.hypot(x0[:, None] - x, y0[:, None] - y).argmin(axis=1)
            np.testing.assert_array_equal(samples[first + turn], samples[first][:, before])


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_samples_do_not_depend_on_batches_and_workers(
    small: str, batch_size: int, num_workers: int
) -> None:
    expected = StimulusDataModule(small).dataset
    samples = passed(StimulusDataModule(small, batch_size=batch_size, num_workers=num_workers))
    assert [number for number, _ in samples] == list(range(len(expected)))
    for number, luminance in samples:
        np.testing.assert_array_equal(luminance, expected[number].luminance.numpy())


def test_samples_of_different_lengths_share_a_batch(small: str) -> None:
    module = StimulusDataModule(small, batch_size=10_000)
    (batch,) = module.test_dataloader()
    # 2 x 22, 1 x 8 and 3 x 20 source frames of two views, at 24 frames a second and 10 ms.
    assert sorted(set(batch.n_frames.tolist())) == [34, 84, 92]
    assert batch.luminance.shape == (2 * 12 * (2 + 1 + 3), 92, 19)
    valid = torch.arange(92) < batch.n_frames[:, None]
    assert (batch.luminance[~valid] == 0.5).all()
    assert (batch.luminance[valid] != 0.5).float().mean() > 0.99


def test_windows_and_turns_can_be_chosen(small: str) -> None:
    module = StimulusDataModule(
        small, dt=1 / 24, window_frames=10, mirrorings=[0], rotations=[0, 3]
    )
    # 45, 8 and 60 frames: round(n / 10) windows, with dt the duration of a source frame.
    counts = [2 * 2 * round(4.5), 2 * 2 * 1, 2 * 2 * 6]
    assert len(module.index) == sum(counts)
    assert [module.describe(i)["rotation"] for i in range(4)] == [0, 3, 0, 3]
    with MovieStore(small) as store:
        for number in (0, 2, 9):
            origin = module.index.origin(number)
            read = store.read(origin.scene, origin.start, origin.stop)
            if origin.rotation == 0:
                np.testing.assert_array_equal(module.dataset[number].luminance.numpy(), read)


def test_several_stores_follow_one_another(small: str, tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", np.zeros((25, 24, 48), dtype=np.uint8))
    other = str(render(tmp_path / "other.npy", tmp_path / "o.h5", SMALL, progress=False))
    alone = len(StimulusDataModule(small).index)
    module = StimulusDataModule([small, other, small])
    assert len(module.index) == 2 * alone + 2 * 12
    assert (module.dataset[alone].luminance == 0).all()
    assert module.describe(alone)["store"] == other
    last = module.dataset[len(module.index) - 1].luminance
    assert torch.equal(last, module.dataset[alone - 1].luminance)
    assert module.dataset.stores[0] is module.dataset.stores[2]


def test_a_pass_can_start_and_stop_anywhere(small: str) -> None:
    whole = passed(StimulusDataModule(small))
    module = StimulusDataModule(small, batch_size=8, start_sample=13, stop_sample=100)
    part = passed(module)
    assert [number for number, _ in part] == list(range(13, 100))
    for (_, luminance), (_, expected) in zip(part, whole[13:100], strict=True):
        np.testing.assert_array_equal(luminance, expected)
    module.start_sample, module.stop_sample = len(whole), None
    assert passed(module) == []
    module.start_sample = len(whole) + 1
    with pytest.raises(ValueError, match="expected samples within"):
        module.test_dataloader()


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_processes_share_the_samples_and_can_resume(small: str, world_size: int) -> None:
    start, batch_size, batches = 5, 4, 3
    module = StimulusDataModule(small, batch_size=batch_size, start_sample=start)
    subset = Subset(module.dataset, module.samples)
    seen, done = [], []
    for rank in range(world_size):
        sampler = DistributedSampler(subset, world_size, rank, shuffle=False)
        loader = DataLoader(subset, batch_size, sampler=sampler, collate_fn=collate)
        numbers = [batch.sample.tolist() for batch in loader]
        seen += [number for batch in numbers for number in batch]
        done += [number for batch in numbers[:batches] for number in batch]
    assert set(seen) == set(range(start, len(module.index)))
    extra = len(seen) - (len(module.index) - start)
    assert 0 <= extra < world_size
    # What is repeated, to give all processes as many, are the first samples.
    assert [n for n in sorted(set(seen)) if seen.count(n) == 2] == [start + i for i in range(extra)]
    # After some batches on all processes, the samples up to here are done and no others.
    assert sorted(done) == list(range(start, start + batches * batch_size * world_size))


class Recorder(pl.LightningModule):
    """Returns the sample numbers of its batches."""

    def predict_step(self, batch: StimulusBatch, batch_idx: int) -> torch.Tensor:
        assert isinstance(batch, StimulusBatch)
        return batch.sample


@pytest.mark.filterwarnings("ignore:The 'predict_dataloader' does not have many workers")
def test_a_trainer_predicts_from_it(small: str) -> None:
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False
    )
    module = StimulusDataModule(small, batch_size=7)
    predicted = trainer.predict(Recorder(), module)
    assert torch.cat(predicted).tolist() == list(range(len(module.index)))
    # Closed by the trainer's teardown, it opens again.
    assert module.dataset[3].sample == 3


def test_the_built_in_movies_need_no_files() -> None:
    module = StimulusDataModule(extent=2, seed=3)
    scenes = GeneratedStore(ProceduralSettings(seed=3), 2).scenes
    assert len(module.index) == len(scenes)
    assert module.describe(7)["store"] == "procedural"
    assert module.describe(7)["scene"] == scenes[7].name
    assert {module.dataset[i].luminance.shape[0] for i in (0, 200)} == {674, 100}
    turned = StimulusDataModule(extent=2, mirrorings=[0, 1], rotations=[0])
    assert len(turned.index) == 2 * len(scenes)


def test_an_interrupted_pass_loads_what_remains(small: str) -> None:
    module = StimulusDataModule(small, batch_size=8, start_sample=13, stop_sample=100)
    module.resume_from = 40
    assert module.samples == range(13, 100)
    assert [number for number, _ in passed(module)] == list(range(40, 100))


class CountingStore(GeneratedStore):
    """The built-in movies; counts how often they are read."""

    designed = False
    reads = 0

    def read(self, scene: int, start: int, stop: int) -> NDArray[np.float32]:
        self.reads += 1
        return super().read(scene, start, stop)


def test_a_window_is_read_once_for_all_its_turns_within_bounded_memory() -> None:
    store = CountingStore(ProceduralSettings(directions=1, edge_speeds=(9.5,)), extent=2)
    window_bytes = 79 * 19 * 4
    dataset = StimulusDataset([store, store], 0.01, cache_bytes=3 * window_bytes)
    half = len(dataset) // 2
    for i in range(half):
        dataset[i]
    assert store.reads == half // 12
    assert len(dataset._windows) <= 3
    assert dataset._cached_bytes() <= 3 * window_bytes * 1.3  # windows are 79 to 100 frames long
    # A store listed twice takes memory once; what was read long ago is read again.
    reads = store.reads
    dataset[half - 1], dataset[2 * half - 1]
    assert store.reads == reads
    dataset[0]
    assert store.reads == reads + 1
    tiny = StimulusDataset([store], 0.01, cache_bytes=0)
    reads = store.reads
    for i in range(24):
        tiny[i]
    assert store.reads == reads + 2


def test_a_dataset_can_be_sent_to_another_process(small: str) -> None:
    dataset = StimulusDataModule(small).dataset
    expected = dataset[40].luminance
    sent = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(sent[40].luminance, expected)
    assert len(pickle.dumps(dataset)) < 100_000


def test_a_fingerprint_distinguishes_samples(small: str) -> None:
    same = [StimulusDataModule(small, batch_size=b, num_workers=b).fingerprint for b in (1, 2)]
    others = [
        StimulusDataModule([small, small]),
        StimulusDataModule(small, dt=0.02),
        StimulusDataModule(small, rotations=[0]),
        StimulusDataModule(small, window_frames=19),
        StimulusDataModule(extent=2),
        StimulusDataModule(extent=2, seed=1),
    ]
    fingerprints = {*same, *(module.fingerprint for module in others)}
    assert same[0] == same[1] and len(fingerprints) == 1 + len(others)


def test_rejects_stores_on_different_lattices(small: str, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.zeros((4, 40, 60), dtype=np.uint8))
    other = RenderSettings(3, 3, 1, 1.0)
    larger = str(render(tmp_path / "m.npy", tmp_path / "m.h5", other, progress=False))
    with pytest.raises(ValueError, match=r"expected stores of one extent, got extents \[2, 3\]"):
        StimulusDataModule([small, larger]).setup()
    with pytest.raises(ValueError, match="expected stores of extent 15"):
        StimulusDataModule(small, extent=15).setup()
    with pytest.raises(ValueError, match="expected a movie store"):
        StimulusDataModule(str(tmp_path / "nowhere.h5")).setup()


@pytest.mark.parametrize(
    "wrong",
    [
        {"dt": 0.0},
        {"batch_size": 0},
        {"batch_size": 1.5},
        {"num_workers": -1},
        {"start_sample": -1},
        {"stop_sample": 2.5},
        {"stores": []},
        {"stores": "some.h5", "seed": 1},
        {"rotations": []},
        {"mirrorings": [7]},
        {"window_frames": 0},
        {"seed": -1},
    ],
)
def test_rejects_impossible_arguments(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        StimulusDataModule(**wrong)  # type: ignore[arg-type]
