"""Recordings in one file each: videos, and NumPy arrays mapped into memory."""

from __future__ import annotations

import datetime
import math
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.movies.source import (
    FILM_RATE,
    PictureSource,
    Scene,
    SourceFile,
    require_frame_rate,
    require_pixels,
)
from stimopt.storage.files import BadFile, reading
from stimopt.storage.identity import sha256_of_file

VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ogv", ".wmv", ".ts")
ARRAYS = (".npy",)

REFETCH = "fetch it again, or convert it"

# Neither playlists nor network addresses: a video is one file on this machine.
_CONTAINERS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts,ogg,asf",
}


class RecordedSource(PictureSource):
    """Files with a scene each.

    Args:
        paths: the files, in order.
        frame_rate: frames per second; None takes each file's own, and 24 where it has none.
    """

    def __init__(self, paths: Sequence[Path], frame_rate: float | None = None) -> None:
        self._paths = list(paths)
        scenes = []
        for path in self._paths:
            own_rate, n_frames = self._describe(path)
            rate = require_frame_rate(own_rate if frame_rate is None else frame_rate, str(path))
            file = SourceFile(path.name, path.stat().st_size)
            scenes.append(Scene(path.stem, rate, n_frames, (file,)))
        self.scenes = tuple(scenes)

    def digests(self, scene: int) -> tuple[str, ...]:
        """See `MovieSource.digests`."""
        return (sha256_of_file(self._paths[scene]),)

    @abstractmethod
    def _describe(self, path: Path) -> tuple[float, int | None]:
        """Frame rate of a file, and its number of frames if it tells."""


class ArrayFiles(RecordedSource):
    """NumPy arrays `(frames, height, width)` or `(frames, height, width, 3)`, memory-mapped.

    uint8, or floating point in [0, 1].
    """

    kind = "arrays"

    def pictures(self, scene: int, start: int) -> Iterator[tuple[str, NDArray[Any]]]:
        """See `PictureSource.pictures`."""
        path = self._paths[scene]
        for i in range(start, len(_mapped(path))):
            # Mapped again for every frame: the pages of one open mapping count as resident
            # memory until it closes, which over a long recording amounts to the whole file.
            yield f"frame {i} of {path}", np.array(_mapped(path)[i])

    def _describe(self, path: Path) -> tuple[float, int | None]:
        return FILM_RATE, len(_mapped(path))


def _mapped(path: Path) -> NDArray[Any]:
    # Arrays of objects, which would have to be unpickled, cannot be mapped and are refused.
    with reading(path, "a NumPy array", "save it with numpy.save"):
        array = np.lib.format.open_memmap(path, mode="r")
    picture = array.ndim == 3 or (array.ndim == 4 and array.shape[-1] == 3)
    number = array.dtype == np.uint8 or np.issubdtype(array.dtype, np.floating)
    expect.that(
        picture and number,
        f"uint8 or floating point (frames, height, width[, 3]) in {path}",
        f"{array.dtype} {array.shape}",
        "convert it first",
    )
    require_pixels(array.shape[2], array.shape[1], str(path))
    return array


class VideoFiles(RecordedSource):
    """Videos, decoded with PyAV; their first video stream, at its average frame rate."""

    kind = "video"

    def pictures(self, scene: int, start: int) -> Iterator[tuple[str, NDArray[Any]]]:
        """See `PictureSource.pictures`.

        Raises:
            ValueError: if a frame cannot be decoded, or the video ends earlier than it declares.
        """
        path = self._paths[scene]
        with _opened(path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            # By default decoders conceal what they cannot read.
            stream.codec_context.options = {"err_detect": "explode"}
            rate = _rate(stream, path)
            first = end = 0.0
            n, even = 0, True
            for n, frame in enumerate(_decoded(container, stream, path), start=1):
                if frame.time is not None:
                    first = frame.time if n == 1 else first
                    # Frames know their own duration from PyAV 14 on.
                    duration = float((getattr(frame, "duration", 0) or 0) * frame.time_base)
                    end = frame.time + max(duration, 1 / rate)
                    if even and abs((frame.time - first) * rate - (n - 1)) > 1.5:
                        even = False
                        _warn_of_uneven_frames(path, n - 1, rate)
                require_pixels(frame.width, frame.height, str(path))
                if n > start:
                    # Counter-clockwise, as a camera was held; PyAV tells it from version 14 on.
                    quarters = round(getattr(frame, "rotation", 0) / 90)
                    picture = np.rot90(frame.to_ndarray(format="rgb24"), quarters)
                    yield f"frame {n - 1} of {path}", picture
            declared = _declared_seconds(stream) or 0.0
            expect.that(
                # Two frames and a half: containers round their durations.
                n > 0 and end - first >= declared - 2.5 / rate,
                f"{declared:.3f} s of video in {path}",
                f"{end - first:.3f} s in {n} frames",
                "the file is cut off: fetch it again",
            )

    def _describe(self, path: Path) -> tuple[float, int | None]:
        with _opened(path) as container:
            stream = container.streams.video[0]
            require_pixels(stream.width, stream.height, str(path))
            rate, declared = _rate(stream, path), _declared_seconds(stream)
            return rate, stream.frames or (round(declared * rate) if declared else None)


def _opened(path: Path) -> Any:
    # Imported here: PyAV takes a while to load and only videos need it.
    import av

    with reading(path, "a video", REFETCH):
        container = av.open(str(path), options=_CONTAINERS)
    if not container.streams.video:
        container.close()
        raise BadFile(f"expected a video stream in {path}, got none; choose another file")
    return container


def _decoded(container: Any, stream: Any, path: Path) -> Iterator[Any]:
    with reading(path, "sound frames", REFETCH):
        for n, frame in enumerate(container.decode(stream)):
            expected = f"sound frames in {path}"
            expect.that(not frame.is_corrupt, expected, f"a corrupt frame {n}", REFETCH, BadFile)
            yield frame


def _rate(stream: Any, path: Path) -> float:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    advice = "convert the video to a constant frame rate"
    expect.that(rate is not None, f"a frame rate in {path}", "none", advice)
    return float(rate)


def _warn_of_uneven_frames(path: Path, frame: int, rate: float) -> None:
    warnings.warn(
        f"frame {frame} of {path} is off the average frame rate {rate:g} by more than a frame; "
        "frames are taken as evenly spaced: convert the video to a constant frame rate",
        stacklevel=3,
    )


def _declared_seconds(stream: Any) -> float | None:
    """Duration of a stream by its header, or None; Matroska keeps it in a tag."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    tag = stream.metadata.get("DURATION")
    try:
        hours, minutes, seconds = (float(part) for part in tag.split(":"))
    except (AttributeError, ValueError):
        return None
    total = datetime.timedelta(hours=hours, minutes=minutes, seconds=seconds).total_seconds()
    return total if math.isfinite(total) else None
