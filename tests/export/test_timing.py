"""Frames of the model among refreshes of a display."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stimopt.export.timing import Timing
from stimopt.protocol import MAX_FRAMES


@pytest.mark.parametrize(("refresh", "times"), [(None, 1), (100, 1), (200, 2), (500, 5)])
def test_a_multiple_repeats_every_frame(refresh: float | None, times: int) -> None:
    plan = Timing(refresh, grey_after=0.1).plan(80, 0.01, t_pre=1.0)
    assert plan.shown.argmax(axis=1).tolist() == np.repeat(np.arange(80), times).tolist()
    assert (plan.before, plan.after) == (100 * times, 10 * times)
    assert plan.frames_before == 100 and plan.total == 190 * times


def test_a_hold_shows_the_frame_of_the_moment() -> None:
    """Refresh j of 60 Hz shows frame floor(100 j / 60), and 40 of 100 frames never."""
    plan = Timing(60, "hold").plan(100, 0.01, t_pre=1.0)
    expected = [100 * j // 60 for j in range(60)]
    assert plan.shown.argmax(axis=1).tolist() == expected
    assert plan.describe()["model_frames_never_shown"] == 40


def test_a_mean_is_over_the_refresh() -> None:
    """[0, 16.7) ms holds frame 0 for 10 ms and frame 1 for 6.7 ms."""
    plan = Timing(60, "mean").plan(100, 0.01, t_pre=0.0)
    np.testing.assert_allclose(plan.shown[0, :3], [0.6, 0.4, 0.0], atol=1e-9)
    np.testing.assert_allclose(plan.shown.sum(axis=1), 1)


@settings(deadline=None)
@given(
    st.floats(20, 500), st.sampled_from(["hold", "mean"]), st.integers(1, 60),
    st.floats(0, 0.3), st.sampled_from([0.005, 0.01, 0.02]),
)  # fmt: skip
def test_what_is_seen_is_what_fine_steps_of_time_would_see(
    refresh: float, resampling, n_frames: int, grey_before: float, dt: float
) -> None:
    timing = Timing(refresh, resampling, grey_before, grey_after=0.05)
    plan = timing.plan(n_frames, dt, t_pre=0.0)
    seen = plan.seen()
    np.testing.assert_allclose(seen.sum(axis=1), 1)
    # An independent count: which refresh is shown at 1,000 moments of a frame.
    onset = plan.before / plan.rate
    for frame in {0, len(seen) // 2, len(seen) - 1}:
        start = onset + (frame - plan.frames_before) * dt
        moments = start + dt * (np.arange(1000) + 0.5) / 1000
        refreshes = np.floor(moments * plan.rate + 1e-9).astype(int).clip(0, plan.total - 1)
        counted = np.bincount(refreshes, minlength=plan.total) / 1000
        np.testing.assert_allclose(seen[frame], counted, atol=3e-3)


def test_what_is_shown_exactly_is_seen_exactly() -> None:
    plan = Timing(300).plan(7, 0.01, t_pre=0.05)
    film = np.concatenate([np.zeros((15, 7)), plan.shown, np.zeros((plan.after, 7))])
    seen = plan.seen() @ film
    np.testing.assert_allclose(seen[5:12], np.eye(7), atol=1e-9)


@pytest.mark.parametrize("n_frames", [80, 81, 90])
def test_trials_are_filled_with_grey_to_whole_steps(n_frames: int) -> None:
    plan = Timing(grey_before=0.55, grey_after=0.1).plan(n_frames, 0.01, 1.0, multiple=0.1)
    assert plan.total % 10 == 0 and 10 <= plan.after < 20
    assert plan.before == 55


@pytest.mark.parametrize("refresh", [None, 60, 120])
@pytest.mark.parametrize("n_frames", [7, 2000])
def test_a_sixtieth_written_with_seven_digits_is_a_sixtieth(
    refresh: float | None, n_frames: int
) -> None:
    timing = Timing(refresh, grey_before=0.5)
    plan, exact = timing.plan(n_frames, 0.0166667, 1.0), timing.plan(n_frames, 1 / 60, 1.0)
    assert (plan.rate, plan.dt, plan.total) == (exact.rate, exact.dt, exact.total)
    assert (plan.before, plan.frames_before) == (exact.before, exact.frames_before)
    np.testing.assert_array_equal(plan.shown.argmax(axis=1), exact.shown.argmax(axis=1))


def test_rounding_does_not_add_up_to_a_frame() -> None:
    """It is refused from the size on at which the longest stimulus would be off by a frame."""
    assert Timing(60).plan(10, (1 + 0.8 / MAX_FRAMES) / 60, 0.0).total == 16
    with pytest.raises(ValueError, match=r"fit again with protocol\.dt=0\.016666666666666666$"):
        Timing(60).plan(10, (1 + 1 / MAX_FRAMES) / 60, 0.0)


@pytest.mark.parametrize(
    ("timing", "message"),
    [
        (lambda: Timing(60).plan(80, 0.01, 1.0), "hold would drop 40 % of the frames, mean"),
        (lambda: Timing(50).plan(80, 0.01, 1.0), "a multiple of 100 Hz"),
        (
            lambda: Timing(144).plan(80, 0.01, 1.0),
            "a multiple of 100 Hz, .*; resampling hold would show frames for unequal times, mean",
        ),
        (
            lambda: Timing(60).plan(80, 0.01667, 1.0),
            "a multiple of 59.9880024 Hz, the rate of the model's frames, got 60 Hz; a frame is "
            "nearly a refresh: fit again with protocol.dt=0.016666666666666666",
        ),
        (
            lambda: Timing(120).plan(80, 0.0167, 1.0),
            "nearly 2 refreshes: fit again with protocol.dt=0.016666666666666666",
        ),
        (lambda: Timing(64, "hold").plan(80, 0.01, 1.0, 0.1), "whole frames in 0.1 s"),
        (lambda: Timing(refresh=0), "refresh"),
        (lambda: Timing(resampling="nearest"), "resampling"),
        (lambda: Timing(grey_before=-1), "grey_before"),
        (lambda: Timing(grey_after=float("nan")), "grey_after"),
    ],
)
def test_what_does_not_divide_is_refused(timing, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        timing()
