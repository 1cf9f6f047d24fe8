"""Arrays for stimpack, and the script that plays them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from stimopt import expect
from stimopt.export.displays import Sphere
from stimopt.export.formats import AGAIN, Format, Shown, Trial, plain_levels
from stimopt.export.light import Levels
from stimopt.export.view import Rig
from stimopt.storage.files import reading


class Stimpack(Format):
    """An array of each stimulus, and `play.py`, which plays the session in order.

    stimpack paints the array on a sphere around the fly, at equal degrees a pixel.
    """

    name = "stimpack"
    levels = (256,)

    def check(self, rig: Rig, rate: float) -> None:
        """A sphere about straight ahead, where stimpack has its middle."""
        super().check(rig, rate)
        sphere = isinstance(rig.display, Sphere) and not rig.display.azimuth
        sphere = sphere and not rig.display.elevation  # type: ignore[attr-defined]
        advice = "give a sphere, and place the eye before it by its own azimuth and elevation"
        expect.that(sphere, "a sphere with its middle straight ahead", str(rig.display), advice)

    def write(self, shown: Shown, folder: Path) -> Path:
        """uint8 `(refreshes, rows, columns)`, row 0 on top, column 0 at the left."""
        path = folder / f"{shown.stimulus.name}.npy"
        np.save(path, shown.levels())
        return path

    def read(self, path: Path, name: str) -> Levels:
        """The array."""
        with reading(path, "an exported array", AGAIN):
            return plain_levels(np.load(path), path)

    def finish(self, folder: Path, shown: Sequence[Shown], trials: Sequence[Trial]) -> list[Path]:
        """The script; it reads `session.json`, which stands beside it."""
        script = resources.files("stimopt.export").joinpath("play_stimpack.txt")
        path = folder / "play.py"
        path.write_text(script.read_text(encoding="utf-8"), encoding="utf-8")
        return [path]
