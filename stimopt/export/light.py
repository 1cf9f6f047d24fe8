"""From luminance to the whole levels of a display, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.protocol import GREY

Luminance = NDArray[np.float32]
"""In [0, 1], `(frames, columns)`."""
Levels = NDArray[Any]
"""Whole numbers, `(frames, rows, columns)`, uint8 or uint16; row 0 is the top."""
_EDGE = 1e-6
"""Rounding of a mean over columns or frames, by which grey is not to pass a threshold at grey."""


@dataclass(frozen=True)
class Light:
    """How luminance in [0, 1] is written as levels: level = round(white * luminance^(1 / gamma)).

    Luminance is that of the model, and proportional to light. The networks were trained on
    picture values; to show those as a screen would, on a display without a gamma, give the
    inverse of the screen's, 1 / 2.2.

    Args:
        levels: 2, 16, 256 or 65536.
        white: level of luminance 1. None is the highest even one (14 of 16, 254 of 256): grey
            then is a level (7, 127) at a small loss of brightness (7 %, 0.4 %).
        gamma: of the display, light proportional to level^gamma, which is undone.
        threshold: with 2 levels, which have no grey, the luminance above which a pixel is on.

    Raises:
        ValueError: for a number out of range, or 2 levels without a threshold.
    """

    levels: int = 256
    white: int | None = None
    gamma: float = 1.0
    threshold: float | None = None

    def __post_init__(self) -> None:
        expect.one_of("levels of the display", self.levels, (2, 16, 256, 65536))
        advice, highest = "None has grey as a level", self.levels - 1
        expect.whole("white", self.white, advice, at_least=1, at_most=highest, optional=True)
        expect.number("gamma", self.gamma, "1 is a linear display", above=0, at_most=10)
        two, given = self.levels == 2, self.threshold is not None
        lost = "with 2 levels grey is lost: give a threshold such as 0.5 to accept that"
        expect.that(
            given == two,
            "a threshold for 2 levels alone",
            f"{self.levels} levels and threshold {self.threshold}",
            lost if two else "leave threshold out, or take 2 levels",
        )
        advice = "0.5 is grey"
        expect.number("threshold", self.threshold, advice, at_least=0, at_most=1, optional=True)

    @property
    def top(self) -> int:
        """Level of luminance 1."""
        if self.white is not None:
            return self.white
        return 1 if self.levels == 2 else self.levels - 2

    def encode(self, luminance: NDArray[Any]) -> Levels:
        """Levels of luminance in [0, 1], uint8 or uint16."""
        if self.threshold is not None:
            return (luminance > self.threshold + _EDGE).astype(np.uint8)
        scaled = self.top * np.clip(luminance, 0, 1) ** np.float32(1 / self.gamma)
        whole: Levels = np.rint(scaled).astype(np.uint8 if self.levels <= 256 else np.uint16)
        return whole

    def decode(self, levels: Levels) -> Luminance:
        """Luminance of levels; above 1 where a level is above white."""
        every = (np.arange(self.levels) / self.top) ** self.gamma
        shown: Luminance = every.astype(np.float32)[levels]
        return shown

    def describe(self) -> dict[str, Any]:
        """What the files say of it."""
        grey = float(self.decode(self.encode(np.array([GREY], np.float32)))[0])
        return {
            "levels": self.levels,
            "white_level": self.top,
            "gamma": self.gamma,
            "threshold": self.threshold,
            "luminance_of_level": "(level / white_level) ** gamma, proportional to light",
            "grey_is_shown_as": grey,
            "brightness_lost": 1 - (self.top / (self.levels - 1)) ** self.gamma,
        }
