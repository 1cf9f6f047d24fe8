"""Samples of movies as batches: read from stores, turned and resampled on the fly."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Subset

from stimopt import expect
from stimopt.lattice import HexLattice
from stimopt.movies.procedural import ProceduralSettings
from stimopt.movies.sampling import SampleIndex, SampleOrigin, SamplingSettings, resampling
from stimopt.movies.store import GeneratedStore, MovieStore, SceneStore
from stimopt.protocol import GREY, Protocol
from stimopt.storage.identity import sha256_of_values


class StimulusSample(NamedTuple):
    """One sample: its number, and its luminance `(frames, columns)` in [0, 1], float32."""

    sample: int
    luminance: Tensor


class StimulusBatch(NamedTuple):
    """Samples side by side; shorter ones are padded with grey at the end.

    Args:
        sample: sample numbers, `(batch,)`, int64.
        luminance: `(batch, frames, columns)` in [0, 1], float32, frames of the longest sample.
        n_frames: frames of each sample that count, `(batch,)`, int64.
    """

    sample: Tensor
    luminance: Tensor
    n_frames: Tensor


class StimulusDataset(Dataset[StimulusSample]):
    """Every sample of several stores by its number.

    Worker processes each open the stores themselves. The windows read last stay in memory, so that
    all mirrorings and rotations of a window cost one reading.

    Args:
        stores: the stores, on one lattice; one may be listed several times.
        dt: duration of a frame of the samples, in seconds.
        settings: how the scenes are cut and turned; None takes the defaults.
        cache_bytes: memory for windows, in every process.

    Raises:
        ValueError: if the stores are not on one lattice.
    """

    def __init__(
        self,
        stores: Sequence[SceneStore],
        dt: float,
        settings: SamplingSettings | None = None,
        cache_bytes: int = 2**24,
    ) -> None:
        extents = sorted({store.extent for store in stores})
        expect.that(
            len(extents) == 1,
            "stores of one extent",
            f"extents {extents}",
            "render them with the same extent",
        )
        self.stores = list(stores)
        self.lattice = HexLattice(extents[0])
        self.dt = Protocol(dt=dt).dt
        self.cache_bytes = cache_bytes
        scenes, designed = [s.scenes for s in stores], [s.designed for s in stores]
        self.index = SampleIndex(scenes, designed, settings)
        self._turns = {
            turn: self.lattice.mirroring(turn[0])[self.lattice.rotation(turn[1])]
            for of_designed in set(designed)
            for turn in self.index.settings.turns(of_designed)
        }
        self._windows: OrderedDict[tuple[int, int, int, int], NDArray[np.float32]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, sample: int) -> StimulusSample:
        origin = self.index.origin(sample)
        window = self._window(origin)
        rate = self.stores[origin.store].scenes[origin.scene].frame_rate
        # Turned before it is resampled: the window has fewer frames than the sample.
        turned = window.take(self._turns[origin.mirroring, origin.rotation], axis=1)
        shown = turned.take(resampling(len(window), rate, self.dt), axis=0)
        return StimulusSample(int(sample), torch.from_numpy(shown))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_windows": OrderedDict()}

    def close(self) -> None:
        """Close the stores and forget the windows; reading opens them again."""
        self._windows.clear()
        for store in self.stores:
            store.close()

    def _window(self, origin: SampleOrigin) -> NDArray[np.float32]:
        store = self.stores[origin.store]
        # By identity, so that a store listed twice takes memory once.
        key = (id(store), origin.scene, origin.start, origin.stop)
        if key not in self._windows:
            self._windows[key] = store.read(origin.scene, origin.start, origin.stop)
        self._windows.move_to_end(key)
        while len(self._windows) > 1 and self._cached_bytes() > self.cache_bytes:
            self._windows.popitem(last=False)
        return self._windows[key]

    def _cached_bytes(self) -> int:
        return sum(window.nbytes for window in self._windows.values())


def collate(samples: Sequence[StimulusSample]) -> StimulusBatch:
    """Put samples side by side, shorter ones padded with grey at the end."""
    clips = [sample.luminance for sample in samples]
    luminance = pad_sequence(clips, batch_first=True, padding_value=GREY)
    n_frames = torch.tensor([len(clip) for clip in clips])
    return StimulusBatch(torch.tensor([s.sample for s in samples]), luminance, n_frames)


class StimulusDataModule(pl.LightningDataModule):
    """Streams the samples of movie stores, in the order of their numbers.

    The same samples come from `test_dataloader` and `predict_dataloader`. Among several processes
    Lightning shares them out with its distributed sampler: process `rank` gets samples
    `start + rank`, `start + rank + world_size` and so on. In `trainer.test` that sampler repeats
    the first samples so that all processes get as many.

    Args:
        stores: path or paths of movie stores, in order; None takes the built-in movies.
        dt: duration of a frame of the samples, in seconds; the protocol's.
        batch_size: samples in a batch.
        num_workers: processes that read; 0 reads in the main process.
        window_seconds: least duration of a window; None is 19/24 s for film, the whole scene for
            the built-in movies.
        window_frames: least number of source frames of a window instead.
        mirrorings: axes of mirroring; None is 0 (none) and 1 for film, 0 for the built-in movies.
        rotations: multiples of 60 degrees; None is all six for film, 0 for the built-in movies.
        start_sample: first sample of a pass.
        stop_sample: sample after the last one of a pass; None is the end.
        extent: rings of columns that the stores must have, or that the built-in movies get (None
            is 15).
        seed: of the built-in movies' textures; None is 0.

    Raises:
        ValueError: for a setting out of range; when set up, for an unreadable store.

    Example:
        >>> data = StimulusDataModule("data/sintel.h5", rotations=[0])  # doctest: +SKIP
        >>> data.dataset[0].luminance.shape  # doctest: +SKIP
        torch.Size([80, 721])
    """

    def __init__(
        self,
        stores: list[str] | str | None = None,
        dt: float = 0.01,
        batch_size: int = 16,
        num_workers: int = 0,
        window_seconds: float | None = None,
        window_frames: int | None = None,
        mirrorings: list[int] | None = None,
        rotations: list[int] | None = None,
        start_sample: int = 0,
        stop_sample: int | None = None,
        extent: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.paths = [stores] if isinstance(stores, (str, Path)) else stores
        advice = "leave it out for the built-in movies"
        expect.that(self.paths != [], "at least one store", "an empty list", advice)
        advice = "leave the seed out: it is of the built-in movies"
        expect.that(stores is None or seed is None, "no seed beside stores", seed, advice)
        expect.whole("batch_size", batch_size, "16 is usual", at_least=1)
        expect.whole("num_workers", num_workers, "0 reads in the main process")
        expect.whole("start_sample", start_sample, "0 is the first")
        expect.whole("stop_sample", stop_sample, "leave it out for the last", optional=True)
        self.dt = Protocol(dt=dt).dt
        self.batch_size, self.num_workers = int(batch_size), num_workers
        self.start_sample, self.stop_sample = start_sample, stop_sample
        self.resume_from: int | None = None
        """First sample to load, where an interrupted pass resumes; None loads all."""
        self.sampling = SamplingSettings(
            window_seconds,
            window_frames,
            None if mirrorings is None else tuple(mirrorings),
            None if rotations is None else tuple(rotations),
        )
        self.extent = extent
        self.procedural = ProceduralSettings(seed=seed or 0)
        self._dataset: StimulusDataset | None = None

    def setup(self, stage: str | None = None) -> None:
        """Open the stores and number their samples.

        Raises:
            ValueError: if a store cannot be read, or its extent is not `extent`.
        """
        if self._dataset is not None:
            return
        stores: list[SceneStore] = []
        if self.paths is None:
            stores.append(
                GeneratedStore(self.procedural, 15 if self.extent is None else self.extent)
            )
        else:
            # A store that is listed several times is opened once.
            opened = {str(path): MovieStore(path) for path in self.paths}
            stores += [opened[str(path)] for path in self.paths]
        extents = sorted({store.extent for store in stores})
        expect.that(
            self.extent is None or extents == [self.extent],
            f"stores of extent {self.extent}",
            extents,
            "render them with that extent",
        )
        self._dataset = StimulusDataset(stores, self.dt, self.sampling)

    def test_dataloader(self) -> DataLoader[StimulusSample]:
        """The samples of a pass that remain to be loaded, in order, as `StimulusBatch`."""
        return DataLoader(
            Subset(self.dataset, self.remaining),
            batch_size=self.batch_size,
            shuffle=False,
            num_workers=self.num_workers,
            collate_fn=collate,
        )

    def predict_dataloader(self) -> DataLoader[StimulusSample]:
        """The same as `test_dataloader`."""
        return self.test_dataloader()

    def teardown(self, stage: str | None = None) -> None:
        """Close the stores; they open again when read."""
        if self._dataset is not None:
            self._dataset.close()

    @property
    def dataset(self) -> StimulusDataset:
        """All samples by number; sets up if need be."""
        if self._dataset is None:
            self.setup()
        assert self._dataset is not None
        return self._dataset

    @property
    def index(self) -> SampleIndex:
        """Sample numbers and origins."""
        return self.dataset.index

    @property
    def samples(self) -> range:
        """The sample numbers of a pass.

        Raises:
            ValueError: if `start_sample` or `stop_sample` is beyond the last sample.
        """
        stop = len(self.dataset) if self.stop_sample is None else self.stop_sample
        expect.that(
            0 <= self.start_sample <= stop <= len(self.dataset),
            f"samples within the {len(self.dataset)} of the stores",
            f"start_sample {self.start_sample} and stop_sample {self.stop_sample}",
            "move them",
        )
        return range(self.start_sample, stop)

    @property
    def remaining(self) -> range:
        """The sample numbers of a pass that are still to be loaded."""
        samples = self.samples
        return samples if self.resume_from is None else range(self.resume_from, samples.stop)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all that determines the samples and their numbers."""
        stores = [store.fingerprint for store in self.dataset.stores]
        settings = list(dataclasses.asdict(self.sampling).values())
        return sha256_of_values([stores, self.dt, settings])

    def describe(self, sample: int) -> dict[str, Any]:
        """Where a sample comes from, in plain names and numbers.

        Frames count from 0 in the source, dropped ones included; the last one is inclusive.
        """
        origin = self.index.origin(sample)
        scene = self.dataset.stores[origin.store].scenes[origin.scene]
        return {
            "sample": int(sample),
            "store": "procedural" if self.paths is None else str(self.paths[origin.store]),
            "scene": scene.name,
            "view": scene.view,
            "window": origin.window,
            "first_frame": origin.first_frame,
            "last_frame": origin.last_frame,
            "frame_rate": scene.frame_rate,
            "mirroring": origin.mirroring,
            "rotation": origin.rotation,
        }
