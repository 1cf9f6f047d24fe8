"""Sampling against torch's resampling, windows counted by hand, and recorded flyvis lengths."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stimopt.movies.sampling import (
    SampleIndex,
    SamplingSettings,
    SceneLength,
    cut,
    resampled_frames,
    resampling,
)

FILM = (30, 36, 46, 46, 43, 41)  # frames of the six film scenes once the first is dropped


def film_store(views: int = 3) -> list[SceneLength]:
    return [SceneLength(n, 24.0, 1) for n in FILM for _ in range(views)]


def torch_resampling(n_frames: int, steps: int) -> np.ndarray:
    frames = torch.arange(n_frames, dtype=torch.float32)[None, None]
    shown = torch.nn.functional.interpolate(frames, size=steps, mode="nearest-exact")
    return shown.flatten().numpy().astype(int)


# Windows: (frames, least length) -> first frame and length of each, worked out by hand.
@pytest.mark.parametrize(
    ("n_frames", "window", "expected"),
    [
        (43, 19, [(0, 21), (22, 21)]),
        (30, 19, [(0, 19), (11, 19)]),
        (46, 19, [(0, 23), (23, 23)]),
        (41, 19, [(0, 20), (21, 20)]),
        (36, 19, [(0, 19), (17, 19)]),
        (49, 19, [(0, 19), (15, 19), (30, 19)]),
        (28, 19, [(0, 19)]),
        (19, 19, [(0, 19)]),
        (10, 19, [(0, 10)]),
        (1, 19, [(0, 1)]),
        (5, 1, [(i, 1) for i in range(5)]),
    ],
)
def test_scenes_are_cut_as_flyvis_cuts_them(
    n_frames: int, window: int, expected: list[tuple[int, int]]
) -> None:
    windows = cut(n_frames, window)
    found = [(i * windows.step, windows.length) for i in range(windows.n_windows)]
    assert found == expected


@given(st.integers(1, 3000), st.integers(1, 200))
def test_windows_lie_within_their_scene_in_order(n_frames: int, window: int) -> None:
    windows = cut(n_frames, window)
    starts = [i * windows.step for i in range(windows.n_windows)]
    assert starts == sorted(set(starts))
    assert starts[-1] + windows.length <= n_frames
    assert windows.length >= min(window, n_frames)


def test_the_whole_mpi_sintel_training_set_gives_2268_samples() -> None:
    # Frames of the 23 published training sequences, by name.
    published = {
        "alley_1": 50, "alley_2": 50, "ambush_2": 21, "ambush_4": 33, "ambush_5": 50,
        "ambush_6": 20, "ambush_7": 50, "bamboo_1": 50, "bamboo_2": 50, "bandage_1": 50,
        "bandage_2": 50, "cave_2": 50, "cave_4": 50, "market_2": 50, "market_5": 50,
        "market_6": 40, "mountain_1": 50, "shaman_2": 50, "shaman_3": 50, "sleeping_1": 50,
        "sleeping_2": 50, "temple_2": 50, "temple_3": 50,
    }  # fmt: skip
    store = [SceneLength(n - 1, 24.0, 1) for n in published.values() for _ in range(3)]
    index = SampleIndex([store])
    assert index.n_windows == 189
    assert len(index) == 2268
    assert index.lengths(0.01) == {80}


def test_lengths_of_the_film_samples_are_the_recorded_ones(shared: Path) -> None:
    index = SampleIndex([film_store()])
    with h5py.File(shared / "reference/flyvis-1.2.0.h5") as recorded:
        expected = recorded["search/n_frames"][:]
    frames = [index.origin(i).n_frames for i in range(len(index))]
    assert [resampled_frames(n, 24.0, 0.01) for n in frames] == expected.tolist()
    assert index.lengths(0.01) == set(expected.tolist())


def test_a_sample_number_is_window_mirroring_rotation() -> None:
    index = SampleIndex([film_store()])
    assert len(index) == 432
    # 421 = 35 * 12 + 0 * 6 + 1: the last window of the last view of the last scene.
    assert index.origin(421) == (0, 17, 1, 21, 41, 22, 41, 0, 1)
    assert index.origin(0) == (0, 0, 0, 0, 19, 1, 19, 0, 0)
    assert [index.origin(i)[-2:] for i in range(12)] == [(m, r) for m in (0, 1) for r in range(6)]
    np.testing.assert_array_equal(index.windows_of(np.arange(432)), np.arange(432) // 12)


lengths = st.lists(
    st.builds(
        SceneLength,
        st.integers(1, 200),
        st.sampled_from([24.0, 25.0, 100.0, 29.97]),
        st.integers(0, 3),
    ),
    max_size=6,
)
samplings = st.builds(
    SamplingSettings,
    window_seconds=st.sampled_from([None, 0.1, 0.8, math.inf]),
    mirrorings=st.sampled_from([None, (0,), (1, 0), (0, 1, 2, 3)]),
    rotations=st.sampled_from([None, (0,), (5, 3), (0, 1, 2)]),
)


@settings(deadline=None)
@given(st.lists(st.tuples(lengths, st.booleans()), min_size=1, max_size=4), samplings, st.data())
def test_sample_numbers_and_origins_are_one_to_one(
    stores: list[tuple[list[SceneLength], bool]], sampling: SamplingSettings, data: st.DataObject
) -> None:
    if not any(scenes for scenes, _ in stores):
        stores = [([SceneLength(7, 24.0)], False)]
    index = SampleIndex([s for s, _ in stores], [d for _, d in stores], sampling)
    # Enumerated with plain loops, in the order in which samples are numbered.
    expected = []
    for store, (scenes, designed) in enumerate(stores):
        for scene, length in enumerate(scenes):
            windows = cut(length.n_frames, sampling.window(length, designed))
            for window in range(windows.n_windows):
                for mirroring, rotation in sampling.turns(designed):
                    expected.append((store, scene, window, mirroring, rotation))
    assert len(index) == len(expected)
    sample = data.draw(st.integers(0, len(expected) - 1))
    origin = index.origin(sample)
    keys = (origin.store, origin.scene, origin.window, origin.mirroring, origin.rotation)
    assert keys == expected[sample]
    scene = index.stores[origin.store][origin.scene]
    assert 0 <= origin.start < origin.stop <= scene.n_frames
    assert origin.first_frame == origin.start + scene.drop_first
    assert origin.last_frame == origin.stop - 1 + scene.drop_first
    events = [expected[i][:3] for i in range(len(expected))]
    order = list(dict.fromkeys(events))
    assert index.windows_of(sample) == order.index(events[sample])
    every = range(len(expected))
    rates = [index.stores[store][scene].frame_rate for store, scene, *_ in expected]
    frames = [index.origin(i).n_frames for i in every]
    steps = {resampled_frames(n, r, 0.01) for n, r in zip(frames, rates, strict=True)}
    assert index.lengths(0.01) == steps


@pytest.mark.parametrize("sample", [-1, 432])
def test_rejects_a_sample_out_of_range(sample: int) -> None:
    index = SampleIndex([film_store()])
    with pytest.raises(IndexError, match="expected a sample from 0 to 431"):
        index.origin(sample)
    with pytest.raises(IndexError, match="expected a sample from 0 to 431"):
        index.windows_of([0, sample])


def test_designed_stimuli_are_taken_whole_and_unturned_unless_asked() -> None:
    scenes = [SceneLength(674, 100.0), SceneLength(100, 100.0)]
    index = SampleIndex([scenes, scenes], [True, False])
    assert [index.origin(i) for i in range(2)] == [
        (0, 0, 0, 0, 674, 0, 673, 0, 0),
        (0, 1, 0, 0, 100, 0, 99, 0, 0),
    ]
    assert len(index) == 2 + 12 * (round(674 / 79) + round(100 / 79))
    asked = SampleIndex([scenes], [True], SamplingSettings(window_frames=50, rotations=(0, 3)))
    assert len(asked) == 2 * (round(674 / 50) + 2)


def test_a_store_listed_again_counts_again() -> None:
    index = SampleIndex([film_store()] * 100)
    assert len(index) == 43200
    assert index.origin(43199) == index.origin(431)._replace(store=99)
    assert index.origin(57 * 432 + 421) == index.origin(421)._replace(store=57)


def test_memory_goes_with_scenes_not_with_samples() -> None:
    tracemalloc.start()
    index = SampleIndex([[SceneLength(1_000_000_000, 24.0)]] * 100)
    allocated, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(index) > 10**10
    assert allocated < 100_000
    last = index.origin(len(index) - 1)
    assert (last.store, last.mirroring, last.rotation) == (99, 1, 5)


# torch computes in float32, which is exact enough for these lengths; where a step's middle falls
# exactly between two frames its rounding decides, so such lengths are left out.
@pytest.mark.parametrize("n_frames", [*range(1, 60), 76, 100])
@pytest.mark.parametrize(("rate", "dt"), [(24.0, 0.01), (24.0, 0.02), (30.0, 0.005), (60.0, 0.02)])
def test_resampling_is_torchs_nearest(n_frames: int, rate: float, dt: float) -> None:
    index = resampling(n_frames, rate, dt)
    steps = len(index)
    expected = torch_resampling(n_frames, steps)
    halfway = ((2 * np.arange(steps) + 1) * n_frames) % (2 * steps) == 0
    np.testing.assert_array_equal(index[~halfway], expected[~halfway])
    assert (np.abs(index - expected) <= halfway).all()
    assert index[0] >= 0 and index[-1] <= n_frames - 1
    assert (np.diff(index) >= 0).all()


@pytest.mark.parametrize(
    ("n_frames", "rate", "dt", "steps"),
    [
        (19, 24.0, 0.01, 80),
        (20, 24.0, 0.01, 84),
        (23, 24.0, 0.01, 96),
        (24, 24.0, 0.01, 100),
        (30, 24.0, 0.01, 125),
        (79, 100.0, 0.01, 79),
        (1, 1000.0, 0.01, 1),
        (12, 24.0, 1 / 24, 12),
        (29, 100.0, 0.01, 29),
        (48, 60.0, 0.0083333, 96),
        (48, 60.0, 0.008333, 96),
        (19, 60.0, 0.008, 40),
        (36_000, 60.0, 0.01, 60_000),
    ],
)
def test_steps_last_as_long_as_the_frames(
    n_frames: int, rate: float, dt: float, steps: int
) -> None:
    assert resampled_frames(n_frames, rate, dt) == steps


@pytest.mark.parametrize(
    "wrong",
    [
        {"window_seconds": 0.0},
        {"window_seconds": math.nan},
        {"window_frames": 0},
        {"window_frames": 1.5},
        {"window_frames": 19, "window_seconds": 0.8},
        {"mirrorings": ()},
        {"mirrorings": (4,)},
        {"rotations": (0, 0)},
        {"rotations": (6,)},
        {"rotations": (0.5,)},
    ],
)
def test_rejects_impossible_sampling(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        SamplingSettings(**wrong)  # type: ignore[arg-type]


def test_rejects_no_scenes_and_empty_scenes() -> None:
    with pytest.raises(ValueError, match="at least one scene"):
        SampleIndex([[]])
    with pytest.raises(ValueError, match="at least one frame"):
        SampleIndex([[SceneLength(0, 24.0)]])
