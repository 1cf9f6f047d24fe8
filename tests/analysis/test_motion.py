"""Direction of motion in stimuli whose motion is known."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from stimopt.analysis import angle_between, stimulus_motion
from stimopt.lattice import HexLattice
from stimopt.protocol import Protocol
from tests.analysis.cases import BROAD, PROTOCOL, RECORDED, edge_at_centre


@pytest.mark.parametrize(
    ("speed", "dt"), [(9.7, 0.01), (13.0, 0.01), (19.0, 0.01), (50.0, 0.01), (19.0, 0.005)]
)
def test_motion_of_edges(speed: float, dt: float) -> None:
    protocol = Protocol(dt=dt)
    # 60 degrees on, the lattice repeats itself.
    for angle in range(0, 60, 5):
        for polarity in (1, -1):
            edge = edge_at_centre(angle, polarity, speed, protocol)
            motion = stimulus_motion(edge, BROAD, protocol)
            assert angle_between(motion.direction_deg, angle) < 3
            assert motion.polarity_index == polarity


@pytest.mark.parametrize("angle", range(0, 360, 30))
def test_motion_of_edges_in_noise_and_of_bands(angle: int) -> None:
    noise = np.random.default_rng(angle).uniform(-0.25, 0.25, (200, BROAD.n_columns))
    for polarity in (1, -1):
        edge = edge_at_centre(angle, polarity, 19.0, PROTOCOL)
        motion = stimulus_motion(edge + noise[: len(edge)], BROAD, PROTOCOL)
        assert angle_between(motion.direction_deg, angle) < 15
        assert polarity * motion.polarity_index > 0
        # A band two columns wide has a front and a back.
        gone = np.concatenate([np.full((11, BROAD.n_columns), 0.5), edge[:-11]])
        band = edge - gone + 0.5
        assert angle_between(stimulus_motion(band, BROAD, PROTOCOL).direction_deg, angle) < 3


def test_motion_turns_and_mirrors_with_the_stimulus() -> None:
    stimulus = np.random.default_rng(0).uniform(size=(30, BROAD.n_columns))
    motion = stimulus_motion(stimulus, BROAD, PROTOCOL, seconds=0.3)
    for k in range(6):
        turned = stimulus_motion(stimulus[:, BROAD.rotation(k)], BROAD, PROTOCOL, seconds=0.3)
        assert angle_between(turned.direction_deg, motion.direction_deg + 60 * k) < 1e-6
        assert turned.polarity_index == pytest.approx(motion.polarity_index)
    mirrored = stimulus_motion(stimulus[:, BROAD.mirroring(1)], BROAD, PROTOCOL, seconds=0.3)
    assert angle_between(mirrored.direction_deg, 180 - motion.direction_deg) < 1e-6
    reverse = stimulus_motion(stimulus[::-1], BROAD, PROTOCOL, seconds=0.3)
    np.testing.assert_allclose(reverse.vector, -motion.vector, atol=1e-9)
    inverse = stimulus_motion(1 - stimulus, BROAD, PROTOCOL, seconds=0.3)
    np.testing.assert_allclose(inverse.vector, motion.vector, atol=1e-9)
    np.testing.assert_allclose(inverse.on, motion.off, atol=1e-9)


def test_stationary_and_flickering_pictures_do_not_move() -> None:
    rng = np.random.default_rng(0)
    picture, course = rng.uniform(size=BROAD.n_columns), rng.uniform(-0.5, 0.5, size=(40, 1))
    for still in (
        np.tile(picture, (40, 1)),
        0.5 + course * (picture - 0.5),
        0.5 + 0 * course * picture,
    ):
        motion = stimulus_motion(still, BROAD, PROTOCOL)
        assert np.isnan(motion.direction_deg)
    assert np.isnan(motion.polarity_index)


def test_only_the_window_counts() -> None:
    edge = edge_at_centre(120.0, 1, 19.0, PROTOCOL)
    noise = np.random.default_rng(0).uniform(size=(25, BROAD.n_columns))
    alone = stimulus_motion(edge, BROAD, PROTOCOL)
    followed = stimulus_motion(np.concatenate([edge, noise]), BROAD, PROTOCOL, last_frame=-26)
    np.testing.assert_array_equal(followed.vector, alone.vector)
    np.testing.assert_array_equal(followed.on, alone.on)
    preceded = edge.copy()
    preceded[: len(edge) - 21] = noise[0]
    np.testing.assert_array_equal(stimulus_motion(preceded, BROAD, PROTOCOL).vector, alone.vector)


def test_rejects_stimuli_that_do_not_fit() -> None:
    edge = edge_at_centre(0.0, 1, 19.0, PROTOCOL)
    for wrong in (edge[None], edge[:, 1:], edge[:0], np.where(edge > 0.5, np.nan, edge)):
        with pytest.raises(ValueError, match=r"^expected .*, got .*; "):
            stimulus_motion(wrong, BROAD, PROTOCOL)
    with pytest.raises(ValueError, match=r"got 500; "):
        stimulus_motion(edge, BROAD, PROTOCOL, last_frame=500)


def test_the_optimum_of_t4c_by_flyvis_is_on_and_upward(recorded: h5py.File) -> None:
    stimulus = recorded["generate/T4c/stimulus"][()]
    motion = stimulus_motion(stimulus, HexLattice(15), PROTOCOL)
    assert angle_between(motion.direction_deg, 90) < 60
    # The same cell prefers edges in this direction.
    assert angle_between(motion.direction_deg, RECORDED["T4c"][0]) < 10
    assert motion.polarity_index > 0.5
