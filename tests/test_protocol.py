from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from stimopt.protocol import GREY, Protocol, peak


def test_seconds_round_to_frames() -> None:
    # int(0.29 / 0.01) is 28 in floating point; a frame must not be lost.
    assert Protocol().frames(0.29) == 29
    assert Protocol(dt=0.005).frames(1.0) == 200
    assert Protocol(dt=0.02).seconds(5) == pytest.approx(0.1)


def test_read_out_window() -> None:
    assert Protocol().readout(80) == slice(0, 80)
    assert Protocol(readout_start=-0.2).readout(80) == slice(60, 80)
    assert Protocol(readout_start=0.1, readout_stop=0.3).readout(80) == slice(10, 30)
    for start, stop in ((0.9, None), (0.3, 0.1), (-1.0, None)):
        with pytest.raises(ValueError, match="read-out window within the 80 frames"):
            Protocol(readout_start=start, readout_stop=stop).readout(80)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dt", 0.0),
        ("dt", -0.01),
        ("dt", float("nan")),
        ("dt", 1e-6),
        ("t_pre", -1.0),
        ("t_fade_in", float("inf")),
        ("dt", True),
        ("baseline", "rest"),
        ("readout_start", "late"),
    ],
)
def test_values_out_of_range(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"expected .*{field}.*got.*;"):
        Protocol(**{field: value})


def test_the_advice_names_what_none_stands_for() -> None:
    for field, end in (("readout_start", "None is stimulus onset"), ("readout_stop", "the end")):
        with pytest.raises(ValueError, match=f"{field} .*{end}"):
            Protocol(**{field: float("nan")})


@pytest.mark.parametrize("seconds", [1e9, -1e9, float("nan"), float("inf")])
def test_durations_that_would_fill_the_memory_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"expected a duration of at most 100000 frames.*got.*;"):
        Protocol().frames(seconds)
    with pytest.raises(ValueError, match=r"expected"):
        Protocol(t_pre=seconds)
    assert Protocol().frames(1000.0) == 100_000


def test_numbers_of_numpy_become_plain() -> None:
    protocol = Protocol(dt=np.float32(0.125), t_pre=np.int64(1), readout_start=np.float64(-0.5))
    assert json.loads(json.dumps(protocol.to_dict())) == protocol.to_dict()
    assert all(type(value) in (int, float) for value in (protocol.dt, protocol.readout_start))


def test_presets_and_round_trip() -> None:
    preset = Protocol.preset("flyvis_search")
    assert (preset.t_pre, preset.t_fade_in) == (0.0, 2.0)
    assert Protocol(**preset.to_dict()) == preset
    with pytest.raises(ValueError, match="flyvis_search"):
        Protocol.preset("flyvis")


def test_a_bound_from_the_end_stays_there_when_it_rounds_to_no_frame() -> None:
    with pytest.raises(ValueError, match="expected a read-out window within the 40 frames"):
        Protocol(dt=0.02, readout_start=-0.01).readout(40)
    assert Protocol(dt=0.02, readout_stop=-0.01).readout(40) == slice(0, 40)
    assert Protocol(dt=0.02, readout_start=-0.02).readout(40) == slice(39, 40)


def test_the_peak_is_within_the_window_of_each_item() -> None:
    protocol = Protocol(readout_start=-0.02)
    mask = protocol.readout_mask(torch.tensor([3, 5]), 5)
    assert mask.tolist() == [[False, True, True, False, False], [False, False, False, True, True]]
    responses = torch.tensor([[9.0, 1, 2, 9, 9], [9.0, 9, 9, -1, -3]])
    value, frame = peak(responses, mask)
    assert (value.tolist(), frame.tolist()) == ([2.0, -1.0], [2, 3])
    lowest, frame = peak(responses[..., None], mask, sign=-1)
    assert (lowest.tolist(), frame.tolist()) == ([[1.0], [-3.0]], [[1], [4]])


def test_the_peak_frame_passes_over_nan() -> None:
    protocol = Protocol(readout_start=0.01)
    assert protocol.peak_frame(np.array([5.0, 1.0, np.nan, 3.0])) == 3
    assert protocol.peak_frame(np.array([5.0, 1.0, np.nan, 3.0]), sign=-1) == 1
    with pytest.raises(ValueError, match="expected a response within the read-out window"):
        protocol.peak_frame(np.array([5.0, np.nan]))


def test_grey_is_a_constant() -> None:
    assert GREY == 0.5
    with pytest.raises(TypeError):
        Protocol(grey=0.3)  # type: ignore[call-arg]
