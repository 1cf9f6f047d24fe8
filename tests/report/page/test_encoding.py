"""What a script of the page unpacks, by another implementation of the unpacking."""

from __future__ import annotations

import base64
import dataclasses
import zlib
from typing import Any

import numpy as np
import pytest

from stimopt.report.page.encoding import packed_panel, packed_picture
from stimopt.report.page.items import Panel, page_items
from tests.report.cases import LATTICE, result_of


@pytest.fixture
def panel() -> Panel:
    (item,) = page_items([result_of("artificial", ["T4c"], [1.0])])
    (panel,) = item.panels()
    rng = np.random.default_rng(1)
    response = rng.normal(size=panel.response.shape).astype(np.float32)
    return dataclasses.replace(panel, response=response)


def unpacked(packed: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Luminance and voltage, summed frame by frame in plain integers."""
    content = zlib.decompress(base64.b64decode(packed["packed"]))
    n, frames = LATTICE.n_columns, packed["frames"]
    base = np.frombuffer(content[: 4 * n], "<f4")
    parts = np.frombuffer(content[4 * n :], np.uint8).reshape(3, frames, n).astype(int)
    stimulus = np.cumsum(parts[0], axis=0) % 256 / 255
    codes = np.cumsum(parts[1] * 256 + parts[2], axis=0) % 65536
    codes = np.where(codes >= 32768, codes - 65536, codes)
    return stimulus, np.where(codes == -2048, np.nan, base + packed["step"] * codes)


def test_arrays_come_back_within_half_a_step(panel: Panel) -> None:
    packed = packed_panel(panel)
    stimulus, response = unpacked(packed)
    np.testing.assert_allclose(stimulus, panel.stimulus, atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(response, panel.response, atol=0.51 * packed["step"])
    largest = np.abs(panel.response - panel.response[0]).max()
    assert packed["step"] == pytest.approx(largest / 2047)


def test_gaps_and_numbers_that_are_not_finite_are_missing(panel: Panel) -> None:
    panel.response[:, 3] = np.nan
    panel.response[7:, 4] = np.inf
    _, response = unpacked(packed_panel(panel))
    assert np.isnan(response[:, 3]).all()
    assert np.isnan(response[7:, 4]).all() and not np.isnan(response[:7, 4]).any()


def test_colours_reach_as_far_as_the_last_200_ms(panel: Panel) -> None:
    panel.response[:] = 0
    panel.response[2, 5], panel.response[20, 6] = 9.0, -3.0
    packed = packed_panel(dataclasses.replace(panel, peak_frame=24))
    assert packed["limit"] == 3.0
    assert packed_panel(dataclasses.replace(panel, peak_frame=10))["limit"] == 9.0


def test_a_picture_rests_on_the_frame_of_most_contrast(panel: Panel) -> None:
    panel.stimulus[:] = 0.5
    panel.stimulus[18] = 1.0
    packed = packed_picture(panel)
    # Every second frame, from 6 to the peak at 24.
    assert (packed["frames"], packed["spacing"], packed["rest"]) == (10, 20.0, 6)
    values = np.frombuffer(zlib.decompress(base64.b64decode(packed["packed"])), np.uint8)
    assert (values.reshape(10, -1)[6] == 255).all() and (values.reshape(10, -1)[5] == 128).all()
