"""From luminance to levels and back."""

from __future__ import annotations

import numpy as np
import pytest

from stimopt.export.light import Light

EVERY = np.linspace(0, 1, 10_001, dtype=np.float32)


@pytest.mark.parametrize(
    ("light", "grey", "error"),
    [
        (Light(16), 7, 1 / 28),  # 0 to 14, where grey is level 7
        (Light(16, white=15), 8, 1 / 30),
        (Light(256), 127, 0.5 / 254),
        (Light(256, white=255), 128, 0.5 / 255),
        (Light(65536), 32767, 0.5 / 65534),
    ],
)
def test_rounding_is_within_half_a_level(light: Light, grey: int, error: float) -> None:
    assert int(light.encode(np.float32([0.5]))[0]) == grey
    shown = light.decode(light.encode(EVERY))
    assert np.abs(shown - EVERY).max() == pytest.approx(error, rel=1e-3)
    assert light.encode(EVERY).dtype == (np.uint8 if light.levels <= 256 else np.uint16)


def test_grey_is_exact_by_default() -> None:
    for levels in (16, 256, 65536):
        light = Light(levels)
        assert light.decode(light.encode(np.float32([0.5])))[0] == 0.5
        assert light.describe()["grey_is_shown_as"] == 0.5
    assert Light(16).describe()["brightness_lost"] == pytest.approx(1 / 15)
    assert Light(16, white=15).describe()["grey_is_shown_as"] == pytest.approx(8 / 15)


def test_every_level_survives() -> None:
    for light in (Light(16), Light(16, white=15), Light(256, gamma=2.2), Light(65536)):
        levels = np.arange(light.top + 1)
        np.testing.assert_array_equal(light.encode(light.decode(levels)), levels)


def test_a_gamma_is_undone() -> None:
    """A screen of gamma 2.2 emits (level / white)^2.2, so grey needs a higher level."""
    light = Light(256, gamma=2.2)
    level = int(light.encode(np.float32([0.5]))[0])
    assert level == round(254 * 0.5 ** (1 / 2.2)) == 185
    assert light.decode(np.array([level]))[0] == pytest.approx((185 / 254) ** 2.2, rel=1e-6)


def test_two_levels_need_a_threshold() -> None:
    with pytest.raises(ValueError, match="with 2 levels grey is lost"):
        Light(2)
    light = Light(2, threshold=0.5)
    assert light.encode(np.float32([0, 0.5, 0.51, 1])).tolist() == [0, 0, 1, 1]
    # Sums of weights that add up to 1 but for rounding are still grey.
    assert light.encode(np.float32([0.5000001, 0.49999997])).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 4}, "levels of the display"),
        ({"levels": 16, "white": 16}, "white"),
        ({"gamma": 0}, "gamma"),
        ({"levels": 16, "threshold": 0.5}, "leave threshold out, or take 2 levels"),
        ({"levels": 2, "threshold": 1.5}, "threshold"),
    ],
)
def test_bad_options_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Light(**options)
