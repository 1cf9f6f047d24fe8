"""Samples of movies as batches: read from stores, turned and resampled on the fly."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from stimopt.lattice import HexLattice
from stimopt.movies import (
    GeneratedStore,
    MovieStore,
    ProceduralMovies,
    ProceduralSettings,
    SceneStore,
    render,
)
from stimopt.movies.eye import RenderSettings
from stimopt.movies.sampling import (
    SampleIndex,
    SampleOrigin,
    SamplingSettings,
    SceneLength,
    resampling,
)
from stimopt.protocol import GREY, Protocol


class StimulusSample(NamedTuple):
    """One sample: its number, and its luminance `(frames, columns)` in [0, 1], float32."""

    sample: int
    luminance: Tensor


class StimulusBatch(NamedTuple):
    """Samples side by side; those of different lengths are filled up with grey at the end.

    Args:
        sample: sample numbers, `(batch,)`, int64.
        luminance: `(batch, frames, columns)` in [0, 1], float32, frames of the longest sample.
        n_frames: frames of each sample that count, `(batch,)`, int64.
    """

    sample: Tensor
    luminance: Tensor
    n_frames: Tensor

    @property
    def valid(self) -> Tensor:
        """Which frames belong to a sample, `(batch, frames)`, bool; the others are filling."""
        frames = torch.arange(self.luminance.shape[1], device=self.n_frames.device)
        return frames < self.n_frames[:, None]


class StimulusDataset(Dataset[StimulusSample]):
    """Every sample of several stores by its number.

    Worker processes each open the stores themselves. The windows read last are kept, so that the
    mirrorings and rotations of a window cost one reading.

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
        if len(extents) != 1:
            raise ValueError(
                f"expected stores of one extent, got extents {extents}; render them alike"
            )
        self.stores = list(stores)
        self.lattice = HexLattice(extents[0])
        self.dt = Protocol(dt=dt).dt
        self.cache_bytes = cache_bytes
        lengths = {
            id(store): tuple(
                SceneLength(s.n_frames, s.frame_rate, s.drop_first) for s in store.scenes
            )
            for store in stores
        }
        self.index = SampleIndex(
            [lengths[id(store)] for store in stores],
            [store.designed for store in stores],
            settings or SamplingSettings(),
        )
        self._turns = {
            turn: self.lattice.mirroring(turn[0])[self.lattice.rotation(turn[1])]
            for designed in {store.designed for store in stores}
            for turn in self.index.settings.turns(designed)
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
        # By identity, so that a store listed twice is kept once.
        key = (id(store), origin.scene, origin.start, origin.stop)
        if key in self._windows:
            self._windows.move_to_end(key)
            return self._windows[key]
        window = store.read(origin.scene, origin.start, origin.stop)
        self._windows[key] = window
        while len(self._windows) > 1 and self._held_bytes() > self.cache_bytes:
            self._windows.popitem(last=False)
        return window

    def _held_bytes(self) -> int:
        return sum(window.nbytes for window in self._windows.values())


def collate(samples: Sequence[StimulusSample]) -> StimulusBatch:
    """Put samples side by side, shorter ones filled up with grey at the end."""
    n_frames = torch.tensor([len(s.luminance) for s in samples])
    columns = samples[0].luminance.shape[1]
    luminance = torch.empty(len(samples), int(n_frames.max()), columns)
    for row, sample in zip(luminance, samples, strict=True):
        row[: len(sample.luminance)] = sample.luminance
        row[len(sample.luminance) :] = GREY
    return StimulusBatch(torch.tensor([s.sample for s in samples]), luminance, n_frames)


class StimulusDataModule(L.LightningDataModule):
    """Streams the samples of movie stores, in the order of their numbers.

    The same samples come from `test_dataloader` and `predict_dataloader`. Among several processes
    Lightning shares them out with its distributed sampler. In `trainer.test` that sampler repeats
    the first samples so that all processes get as many; an argmax in which ties go to the lowest
    sample number does not notice. Every process then has sample `start_sample + i * world_size +
    rank` as its i-th, so after b batches on all of them the samples up to
    `start_sample + b * batch_size * world_size` are done: set `start_sample` to that to go on.

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
        start_sample: sample to start from.
        stop_sample: sample to stop before; None is the end.
        extent: rings of columns that the stores must have, and the built-in movies get; None
            takes the stores', and 15.
        seed: of the built-in movies.
        folder: where to keep the built-in movies as a store; None computes them when they are
            needed.
        cache_bytes: memory for windows read last, in every process.

    Raises:
        ValueError: for a setting out of range; when set up, for an unreadable store.
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
        seed: int = 0,
        folder: str | None = None,
        cache_bytes: int = 2**24,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.paths = [stores] if isinstance(stores, (str, Path)) else stores
        if self.paths is not None and not self.paths:
            raise ValueError(
                "expected at least one store, got an empty list; leave it out for the built-in "
                "movies"
            )
        for name, value, low in (
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("start_sample", start_sample, 0),
            ("cache_bytes", cache_bytes, 0),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise ValueError(f"expected {name} >= {low}, got {value!r}; give a whole number")
        self.dt = Protocol(dt=dt).dt
        self.batch_size, self.num_workers = batch_size, num_workers
        self.start_sample, self.stop_sample = start_sample, stop_sample
        self.sampling = SamplingSettings(
            window_seconds,
            window_frames,
            None if mirrorings is None else tuple(mirrorings),
            None if rotations is None else tuple(rotations),
        )
        self.extent, self.cache_bytes = extent, cache_bytes
        self.procedural = ProceduralSettings(seed=seed)
        self.folder = None if folder is None else Path(folder)
        self._dataset: StimulusDataset | None = None

    def prepare_data(self) -> None:
        """Render the built-in movies into `folder`, if they are to be kept and are not there."""
        if self.paths is None and self.folder is not None:
            render(ProceduralMovies(self.procedural), self._built_in_path(), self._built_in())

    def setup(self, stage: str | None = None) -> None:
        """Open the stores and number their samples.

        Raises:
            ValueError: if a store cannot be read, or has another extent than asked for.
        """
        if self._dataset is not None:
            return
        if self.paths is not None:
            # A store that is listed several times is opened once.
            opened = {str(path): MovieStore(path) for path in self.paths}
            stores: list[SceneStore] = [opened[str(path)] for path in self.paths]
        elif self.folder is not None:
            stores = [MovieStore(self._built_in_path())]
        else:
            stores = [GeneratedStore(self.procedural, self._built_in().extent)]
        if self.extent is not None and {store.extent for store in stores} != {self.extent}:
            found = sorted({store.extent for store in stores})
            raise ValueError(
                f"expected stores of extent {self.extent}, got {found}; render them with that "
                "extent"
            )
        self._dataset = StimulusDataset(stores, self.dt, self.sampling, self.cache_bytes)

    def test_dataloader(self) -> DataLoader[StimulusSample]:
        """The samples from `start_sample` to `stop_sample`, in order, as `StimulusBatch`."""
        return DataLoader(
            Subset(self.dataset, self.samples),
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
            self.prepare_data()
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
        if not 0 <= self.start_sample <= stop <= len(self.dataset):
            raise ValueError(
                f"expected samples within the {len(self.dataset)} of the stores, got "
                f"start_sample {self.start_sample} and stop_sample {self.stop_sample}; "
                "move them"
            )
        return range(self.start_sample, stop)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all that determines the samples and their numbers."""
        stores = [store.fingerprint for store in self.dataset.stores]
        settings = [
            self.sampling.window_seconds,
            self.sampling.window_frames,
            self.sampling.mirrorings,
            self.sampling.rotations,
        ]
        return hashlib.sha256(json.dumps([stores, self.dt, settings]).encode()).hexdigest()

    def describe(self, sample: int) -> dict[str, Any]:
        """Where a sample comes from, in plain names and numbers.

        Frames count from 0 in the source, dropped ones included; the last one is inclusive.
        """
        origin = self.index.origin(sample)
        scene = self.dataset.stores[origin.store].scenes[origin.scene]
        built_in = self.paths is None
        return {
            "sample": int(sample),
            "store": "procedural" if built_in else str((self.paths or [])[origin.store]),
            "scene": scene.name,
            "view": scene.view,
            "window": origin.window,
            "first_frame": origin.first_frame,
            "last_frame": origin.last_frame,
            "frame_rate": scene.frame_rate,
            "mirroring": origin.mirroring,
            "rotation": origin.rotation,
        }

    def _built_in(self) -> RenderSettings:
        default = RenderSettings()
        return default if self.extent is None else RenderSettings(extent=self.extent)

    def _built_in_path(self) -> Path:
        fingerprint = ProceduralMovies(self.procedural).fingerprint(self._built_in().extent)
        return Path(self.folder or ".") / f"procedural-{fingerprint[:12]}.h5"
