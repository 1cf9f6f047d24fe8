"""What a format must offer, and the plain ones: arrays, pictures, films, and stimpack's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stimopt import expect
from stimopt.export.directions import angles
from stimopt.export.displays import Sphere
from stimopt.export.light import Levels, Luminance
from stimopt.export.stimuli import Stimulus
from stimopt.export.timing import Plan
from stimopt.export.view import Rig, View
from stimopt.protocol import GREY
from stimopt.storage.archives import MAX_DEFLATE_RATIO, require_honest_zip
from stimopt.storage.files import BadFile, reading

AGAIN = "export it again"


@dataclass(frozen=True)
class Shown:
    """A stimulus on a rig.

    Args:
        stimulus: what is shown.
        view: of its columns before the rig's display.
        plan: when it is shown.
        number: of its file, from 1.
    """

    stimulus: Stimulus
    view: View
    plan: Plan
    number: int = 1

    @property
    def rig(self) -> Rig:
        """The rig."""
        return self.view.rig

    def luminance(self) -> Luminance:
        """Luminance of the columns at every refresh, grey before and after included."""
        plan, columns = self.plan, self.stimulus.luminance.shape[1]
        frames = np.full((plan.total, columns), GREY, np.float32)
        frames[plan.before : plan.before + len(plan.shown)] = plan.shown @ self.stimulus.luminance
        return frames

    def levels(self) -> Levels:
        """Levels `(refreshes, rows, columns)` as the display is mounted, row 0 on top."""
        return self.rig.display.flipped(self.view.levels(self.luminance()))

    def directions(self) -> dict[str, NDArray[Any]]:
        """Where every column looks, and its pixel in `levels`; NaN where there is none."""
        lattice, directions = self.stimulus.lattice, self.view.directions
        azimuth, elevation = angles(directions)
        row, column = self.rig.display.flipped_pixel_at(directions)
        nowhere = ~self.view.shown
        return {
            "u": lattice.u,
            "v": lattice.v,
            "azimuth_deg": azimuth,
            "elevation_deg": elevation,
            "pixel_row": np.where(nowhere, np.nan, row),
            "pixel_column": np.where(nowhere, np.nan, column),
        }


class Trial(NamedTuple):
    """A stimulus of a session, by name, with its beginning and length in seconds."""

    stimulus: str
    start: float
    duration: float


class Format(ABC):
    """Writes what is shown, and reads it again.

    Attributes:
        name: by which people choose it.
        levels: numbers of levels that it can hold, the usual one first.
        trial_step: seconds of which a trial must be a multiple; 0 takes any.
        row_0: of its files, `top` or `bottom`.
    """

    name: str
    levels: tuple[int, ...] = (256, 65536)
    trial_step = 0.0
    row_0 = "top"

    def check(self, rig: Rig, rate: float) -> None:
        """Refuse a rig that the format cannot serve.

        Args:
            rig: to be exported for.
            rate: refreshes a second.

        Raises:
            ValueError: naming what does not fit.
        """
        levels = rig.light.levels
        expect.one_of(f"levels of {self.name}", levels, self.levels, "choose among them")

    def options(self) -> dict[str, Any]:
        """Those that were chosen, for the sidecars."""
        plain = (bool, int, float, str, type(None))
        return {name: value for name, value in vars(self).items() if isinstance(value, plain)}

    @abstractmethod
    def write(self, shown: Shown, folder: Path) -> Path:
        """Write a stimulus into a folder; returns the file, or the folder of its frames."""

    @abstractmethod
    def read(self, path: Path, name: str) -> Levels:
        """Levels of the stimulus of that name, `(refreshes, rows, columns)`, row 0 on top.

        Raises:
            BadFile: if the file is missing or damaged.
        """

    def finish(self, folder: Path, shown: Sequence[Shown], trials: Sequence[Trial]) -> list[Path]:
        """Write what plays the session, if the format has such; returns the files."""
        return []


class Npz(Format):
    """A NumPy archive of plain arrays."""

    name = "npz"
    levels = (256, 2, 16, 65536)

    def write(self, shown: Shown, folder: Path) -> Path:
        """Luminance of the columns, pixels, directions and the refresh rate."""
        path = folder / f"{shown.stimulus.name}.npz"
        arrays: dict[str, Any] = {
            "luminance": shown.luminance(),
            "pixels": shown.levels(),
            "frame_rate": shown.plan.rate,
            **shown.directions(),
        }
        np.savez_compressed(path, **arrays)
        return path

    def read(self, path: Path, name: str) -> Levels:
        """The array `pixels`."""
        what = "an exported archive"
        require_honest_zip(path, what, AGAIN, ratio=MAX_DEFLATE_RATIO)
        with reading(path, what, AGAIN), path.open("rb") as file, np.load(file) as archive:
            return plain_levels(archive["pixels"], path)


class Png(Format):
    """A folder of grey pictures of 8 or 16 bits, without a gamma or colour profile."""

    name = "png"

    def write(self, shown: Shown, folder: Path) -> Path:
        """`frame_0001.png` and so on."""
        path = folder / shown.stimulus.name
        path.mkdir()
        for number, frame in enumerate(shown.levels(), 1):
            Image.fromarray(frame).save(path / f"frame_{number:04d}.png")
        return path

    def read(self, path: Path, name: str) -> Levels:
        """All frames in order."""
        frames = []
        with reading(path, "exported pictures", AGAIN):
            for file in sorted(path.glob("frame_*.png"), key=lambda p: (len(p.name), p.name)):
                with Image.open(file) as picture:
                    deep = picture.mode.startswith("I")
                    frames.append(np.asarray(picture, np.uint16 if deep else np.uint8))
            return plain_levels(np.stack(frames), path)


class Film(Format):
    """A film in Matroska that FFV1 keeps without loss, with a checksum of every slice."""

    name = "film"

    def write(self, shown: Shown, folder: Path) -> Path:
        """At the refresh rate of the display."""
        import av

        levels, path = shown.levels(), folder / f"{shown.stimulus.name}.mkv"
        pixels = "gray" if levels.dtype == np.uint8 else "gray16le"
        rate = Fraction(shown.plan.rate).limit_denominator(1_000_000)
        with av.open(str(path), "w") as container:
            options = {"level": "3", "g": "1", "slicecrc": "1"}
            stream: Any = container.add_stream("ffv1", rate=rate, options=options)
            stream.height, stream.width = levels.shape[1:]
            stream.pix_fmt = pixels
            for frame in levels:
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=pixels)
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return path

    def read(self, path: Path, name: str) -> Levels:
        """All frames in order."""
        import av

        with reading(path, "an exported film", AGAIN), av.open(str(path)) as container:
            frames = [frame.to_ndarray() for frame in container.decode(video=0)]
            return plain_levels(np.stack(frames), path)


class Stimpack(Format):
    """An array of each stimulus, and `play.py`, which plays the session in order by stimpack.

    stimpack paints the array on a sphere around the fly, at equal degrees a pixel.
    """

    name = "stimpack"
    levels = (256,)

    def check(self, rig: Rig, rate: float) -> None:
        """A sphere about straight ahead, where stimpack has its middle."""
        super().check(rig, rate)
        display = rig.display
        ahead = isinstance(display, Sphere) and display.azimuth == display.elevation == 0
        advice = "give --display_type sphere, and turn the eye by its own azimuth and elevation"
        expect.that(ahead, "a sphere with its middle straight ahead", str(display), advice)

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


def plain_levels(pixels: NDArray[Any], path: Path) -> Levels:
    """Levels of a file, if they are such."""
    ok = pixels.ndim == 3 and pixels.dtype in (np.uint8, np.uint16) and pixels.size > 0
    got = f"{pixels.dtype} {pixels.shape}"
    expect.that(ok, f"levels (frames, rows, columns) in {path}", got, AGAIN, BadFile)
    return pixels
