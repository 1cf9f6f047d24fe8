"""The frames before a peak."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stimopt.plotting import strip_frames


def test_frames_of_the_published_plot() -> None:
    expected = [61, 63, 65, 67, 69, 71, 73, 75, 77, 79]
    np.testing.assert_array_equal(strip_frames(79, 0.01, 0.2, 10), expected)
    np.testing.assert_array_equal(strip_frames(5, 0.01, 0.2, 10), [1, 3, 5])
    np.testing.assert_array_equal(strip_frames(0, 0.01, 0.2, 10), [0])


def test_a_flash_between_the_frames_is_drawn() -> None:
    stimulus = np.full((80, 7), 0.5)
    stimulus[78] = 0.0
    np.testing.assert_array_equal(strip_frames(79, 0.01, 0.2, 10, stimulus), np.arange(70, 80))
    stimulus[71] = 0.3  # a fair part of the contrast is in the frames of the published plot
    stimulus[78] = 0.2
    assert strip_frames(79, 0.01, 0.2, 10, stimulus)[-2] == 77


@given(st.integers(0, 300), st.integers(1, 15), st.floats(0.001, 0.05), st.floats(0.05, 0.5))
def test_frames_end_at_the_peak_for_any_step(
    peak: int, n_strips: int, dt: float, seconds: float
) -> None:
    frames = strip_frames(peak, dt, seconds, n_strips)
    assert frames[-1] == peak
    assert 1 <= len(frames) <= n_strips
    assert frames[0] >= 0
    assert len(set(np.diff(frames))) <= 1 and (np.diff(frames) > 0).all()
    # No further back than `seconds`, up to its rounding to whole frames.
    assert (peak - frames[0]) * dt <= seconds + dt / 2
