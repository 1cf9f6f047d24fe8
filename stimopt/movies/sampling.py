"""Which samples a set of scenes gives: windows in time, mirrorings, rotations, resampling.

A sample is a temporal window of one view of a scene, mirrored and rotated. Samples are numbered
by store, scene and view, window, mirroring and rotation, the last the fastest: in one store with
all 2 mirrorings and 6 rotations, sample = window * 12 + mirroring * 6 + rotation, as in flyvis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from stimopt import expect
from stimopt.lattice import Ints

FLYVIS_WINDOW_SECONDS = 19 / 24
"""flyvis samples 19 frames of a film of 24 frames a second."""

ALL_MIRRORINGS = (0, 1)
ALL_ROTATIONS = (0, 1, 2, 3, 4, 5)


@dataclass(frozen=True)
class SceneLength:
    """What sampling needs to know of one view of a scene.

    Args:
        n_frames: frames at hand.
        frame_rate: frames per second.
        drop_first: frames of the source before the first one at hand.
    """

    n_frames: int
    frame_rate: float
    drop_first: int = 0


@dataclass(frozen=True)
class SamplingSettings:
    """How scenes are cut and turned.

    What is None is chosen for each store: film is cut into windows of 19/24 s, in 2 mirrorings and
    6 rotations; designed stimuli are taken whole and unturned, as they come in all directions.

    Args:
        window_seconds: least duration of a window, rounded to whole frames of each scene;
            `inf` takes scenes whole.
        window_frames: least number of frames of a window instead, at whatever frame rate.
        mirrorings: axes of `HexLattice.mirroring`, 0 being none.
        rotations: multiples of 60 degrees, counter-clockwise.

    Raises:
        ValueError: for a setting out of range, or both kinds of window.
    """

    window_seconds: float | None = None
    window_frames: int | None = None
    mirrorings: tuple[int, ...] | None = None
    rotations: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        expect.that(
            self.window_seconds is None or self.window_frames is None,
            "window_seconds or window_frames",
            f"both ({self.window_seconds} and {self.window_frames})",
            "leave one out",
        )
        if self.window_seconds != math.inf:
            advice = "0.8 is 0.8 s"
            expect.number("window_seconds", self.window_seconds, advice, above=0, optional=True)
        expect.whole(
            "window_frames", self.window_frames, "flyvis takes 19", at_least=1, optional=True
        )
        for name, allowed in (("mirrorings", (0, 1, 2, 3)), ("rotations", ALL_ROTATIONS)):
            values = getattr(self, name)
            expect.that(
                values is None
                or (
                    0 < len(values) == len(set(values)) and all(_one_of(v, allowed) for v in values)
                ),
                f"{name} as different numbers of {list(allowed)}",
                values,
                "[0] turns them off",
            )

    def turns(self, designed: bool) -> tuple[tuple[int, int], ...]:
        """Every (mirroring, rotation) of a store, in the order of samples."""
        mirrorings = self.mirrorings or ((0,) if designed else ALL_MIRRORINGS)
        rotations = self.rotations or ((0,) if designed else ALL_ROTATIONS)
        return tuple((m, r) for m in mirrorings for r in rotations)

    def window(self, scene: SceneLength, designed: bool) -> int:
        """Least number of frames of a window of that scene."""
        if self.window_frames is not None:
            return self.window_frames
        seconds = self.window_seconds
        if seconds is None:
            seconds = math.inf if designed else FLYVIS_WINDOW_SECONDS
        # Beyond the scene's length all windows are the same, and infinity does not round.
        return max(1, round(min(seconds * scene.frame_rate, scene.n_frames)))


class SampleOrigin(NamedTuple):
    """Where a sample comes from.

    Args:
        store: number of the store in the list.
        scene: number of the scene and view in the store.
        window: number of the temporal window within the scene.
        start: first frame in the store.
        stop: frame in the store after the last one.
        first_frame: first frame in the source, counted from 0 and including dropped frames.
        last_frame: last frame in the source, inclusive.
        mirroring: axis, 0 for none.
        rotation: multiple of 60 degrees, counter-clockwise.
    """

    store: int
    scene: int
    window: int
    start: int
    stop: int
    first_frame: int
    last_frame: int
    mirroring: int
    rotation: int

    @property
    def n_frames(self) -> int:
        """Frames of the source in the sample."""
        return self.stop - self.start


class Windows(NamedTuple):
    """How a scene is cut: window i covers frames `i * step` to `i * step + length`."""

    n_windows: int
    length: int
    step: int


def cut(n_frames: int, window: int) -> Windows:
    """Cut a scene into windows of nearly equal distance, as flyvis does.

    k = round(n_frames / window) windows, each max(window, n_frames // k) frames long, overlap by
    ceil((length k - n_frames) / (k - 1)) frames; a negative overlap leaves frames out between
    them. A single window is the first `window` frames, or the whole scene if that is shorter.

    Args:
        n_frames: frames of the scene, at least 1.
        window: least frames of a window, at least 1.
    """
    count = round(n_frames / window)
    if count <= 1:
        return Windows(1, min(n_frames, window), 0)
    length = max(window, n_frames // count)
    overlap = math.ceil((length * count - n_frames) / (count - 1))
    return Windows(count, length, length - overlap)


def resampled_frames(n_frames: int, frame_rate: float, dt: float) -> int:
    """Steps of `dt` seconds that hold a number of frames: their duration over dt, rounded up.

    19 frames of 24 a second at 10 ms give 80. The quotient is taken as whole if it is to a part in
    10,000, or rounding alone would add a step: of the quotient (flyvis's formula does so for 30
    frames, but for none of the lengths that its windows have), or of a step as it is typed, such as
    0.0083333 for frames of 60 a second.
    """
    steps = n_frames / (frame_rate * dt)
    whole = math.isclose(steps, round(steps), rel_tol=1e-4)
    return max(1, round(steps) if whole else math.ceil(steps))


@lru_cache(maxsize=256)
def resampling(n_frames: int, frame_rate: float, dt: float) -> Ints:
    """Frame shown in each step: the one whose time is nearest to the middle of the step.

    The frames are stretched evenly over the steps, `floor((i + 1/2) n_frames / steps)`, as torch's
    `interpolate(mode="nearest-exact")`, which flyvis uses, but exactly and not in float32.

    Returns:
        Frame of every step, `(steps,)`, read-only.
    """
    steps = resampled_frames(n_frames, frame_rate, dt)
    index = (2 * np.arange(steps, dtype=np.int64) + 1) * n_frames // (2 * steps)
    index.flags.writeable = False
    return index


class SampleIndex:
    """Numbers the samples of several stores and finds each one's origin.

    Memory is O(scenes). A store that is listed again counts again, with numbers of its own.

    Args:
        stores: length of every scene of every store.
        designed: for each store, whether its scenes are designed stimuli; None is none of them.
        settings: how to cut and turn; None takes the defaults.

    Raises:
        ValueError: if there is no scene, or one without frames.
    """

    def __init__(
        self,
        stores: Sequence[Sequence[SceneLength]],
        designed: Sequence[bool] | None = None,
        settings: SamplingSettings | None = None,
    ) -> None:
        self.stores = list(stores)
        self.designed = [False] * len(stores) if designed is None else list(designed)
        self.settings = settings or SamplingSettings()
        frames = [scene.n_frames for store in stores for scene in store]
        expect.that(frames, "at least one scene", "none", "give a store with scenes")
        advice = "leave the scene without frames out"
        expect.that(min(frames) >= 1, "at least one frame in every scene", min(frames), advice)
        counts = [len(store) for store in stores]
        self._scene_stores = np.repeat(np.arange(len(stores)), counts)
        self._first_scene = _cumulated(counts)
        windows = [
            self._cut(store, scene).n_windows
            for store, count in enumerate(counts)
            for scene in range(count)
        ]
        turns = [len(self._turns(store)) for store in self._scene_stores.tolist()]
        self._first_window = _cumulated(windows)
        self._first_sample = _cumulated([w * t for w, t in zip(windows, turns, strict=True)])

    def __len__(self) -> int:
        return int(self._first_sample[-1])

    @property
    def n_windows(self) -> int:
        """Number of windows of all scenes, mirrorings and rotations not counted."""
        return int(self._first_window[-1])

    def origin(self, sample: int) -> SampleOrigin:
        """Where a sample comes from.

        Raises:
            IndexError: if there is no such sample.
        """
        number = self._require(sample)
        at = int(np.searchsorted(self._first_sample, number, side="right")) - 1
        store = int(self._scene_stores[at])
        scene = at - int(self._first_scene[store])
        turns = self._turns(store)
        window, turn = divmod(number - int(self._first_sample[at]), len(turns))
        windows = self._cut(store, scene)
        dropped = self.stores[store][scene].drop_first
        start = window * windows.step
        stop = start + windows.length
        mirroring, rotation = turns[turn]
        return SampleOrigin(
            store,
            scene,
            window,
            start,
            stop,
            start + dropped,
            stop - 1 + dropped,
            mirroring,
            rotation,
        )

    def windows_of(self, samples: Ints | Sequence[int] | int) -> Ints:
        """Number of the window among all windows, for every sample.

        Samples that differ only in mirroring and rotation share it, so it tells events apart.

        Raises:
            IndexError: if there is no such sample.
        """
        numbers = np.asarray(samples, dtype=np.int64)
        if numbers.size:
            self._require(int(numbers.min()))
            self._require(int(numbers.max()))
        at = np.searchsorted(self._first_sample, numbers, side="right") - 1
        turns = np.array([len(self._turns(store)) for store in range(len(self.stores))])
        within = (numbers - self._first_sample[at]) // turns[self._scene_stores[at]]
        return np.asarray(self._first_window[at] + within)

    def lengths(self, dt: float) -> set[int]:
        """Lengths of all samples once resampled at `dt`, in frames, each length once.

        All samples of a scene are equally long, so this takes O(scenes).
        """
        return {
            resampled_frames(self._cut(store, i).length, scene.frame_rate, dt)
            for store, scenes in enumerate(self.stores)
            for i, scene in enumerate(scenes)
        }

    def _turns(self, store: int) -> tuple[tuple[int, int], ...]:
        return self.settings.turns(self.designed[store])

    def _cut(self, store: int, scene: int) -> Windows:
        length = self.stores[store][scene]
        return cut(length.n_frames, self.settings.window(length, self.designed[store]))

    def _require(self, sample: int) -> int:
        expected = f"a sample from 0 to {len(self) - 1}"
        expect.that(0 <= sample < len(self), expected, sample, "choose one of these", IndexError)
        return int(sample)


def _cumulated(counts: Sequence[int]) -> Ints:
    """Where each of consecutive groups begins, and where the last ends."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def _one_of(value: object, allowed: Sequence[int]) -> bool:
    return isinstance(value, (int, np.integer)) and value in allowed
