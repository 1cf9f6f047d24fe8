"""Recordings in one file each: videos, and NumPy arrays mapped into memory."""

from __future__ import annotations

import datetime
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stimopt.movies.source import (
    FILM_RATE,
    PictureSource,
    Scene,
    SourceFile,
    require_frame_rate,
    require_pixels,
    sha256_of,
)

VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ogv", ".wmv", ".ts")
ARRAYS = (".npy",)

# Neither playlists nor network addresses: a video is one file on this machine.
_CONTAINERS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts,ogg,asf",
}


class RecordedSource(PictureSource):
    """Files that hold a scene each.

    Args:
        paths: the files, in order.
        frame_rate: frames per second; None takes what each file says.
    """

    def __init__(self, paths: Sequence[Path], frame_rate: float | None = None) -> None:
        self._paths = list(paths)
        if frame_rate is not None:
            require_frame_rate(frame_rate, "the recordings")
        self.scenes = tuple(self._describe(path, frame_rate) for path in self._paths)

    def digests(self, scene: int) -> tuple[str, ...]:
        """See `MovieSource.digests`."""
        with self._paths[scene].open("rb") as stream:
            return (sha256_of(stream),)

    def _describe(self, path: Path, frame_rate: float | None) -> Scene:
        raise NotImplementedError


class ArrayFiles(RecordedSource):
    """NumPy arrays `(frames, height, width)` or `(frames, height, width, 3)`, memory-mapped.

    uint8, or floating point in [0, 1].
    """

    kind = "arrays"

    def pictures(self, scene: int, start: int) -> Iterator[tuple[str, NDArray[Any]]]:
        """See `PictureSource.pictures`."""
        path = self._paths[scene]
        n_frames = len(self._map(path))
        for i in range(start, n_frames):
            # Mapped anew for every frame: the pages of one open mapping count as resident
            # memory until it closes, which over a long recording amounts to the whole file.
            yield f"frame {i} of {path}", np.array(self._map(path)[i])

    def _describe(self, path: Path, frame_rate: float | None) -> Scene:
        shape = self._map(path).shape
        file = SourceFile(path.name, path.stat().st_size)
        return Scene(path.stem, FILM_RATE if frame_rate is None else frame_rate, shape[0], (file,))

    @staticmethod
    def _map(path: Path) -> NDArray[Any]:
        try:  # Objects, which would have to be unpickled, cannot be mapped and are refused.
            array = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError, EOFError, SyntaxError, OverflowError, TypeError) as error:
            raise ValueError(
                f"expected a NumPy array in {path}, got a file that is none ({error}); "
                "save it with numpy.save"
            ) from error
        picture = array.ndim == 3 or (array.ndim == 4 and array.shape[-1] == 3)
        known = array.dtype == np.uint8 or np.issubdtype(array.dtype, np.floating)
        if not (picture and known):
            raise ValueError(
                f"expected uint8 or floating point (frames, height, width[, 3]) in {path}, "
                f"got {array.dtype} {array.shape}; convert it first"
            )
        require_pixels(array.shape[2], array.shape[1], str(path))
        return array


class VideoFiles(RecordedSource):
    """Videos, decoded with PyAV; their first video stream, at its average frame rate."""

    kind = "video"

    def __init__(self, paths: Sequence[Path], frame_rate: float | None = None) -> None:
        self._rates: list[float] = []
        super().__init__(paths, frame_rate)

    def pictures(self, scene: int, start: int) -> Iterator[tuple[str, NDArray[Any]]]:
        """See `PictureSource.pictures`.

        Raises:
            ValueError: if a frame cannot be decoded, or the video ends before it says it does.
        """
        path, rate = self._paths[scene], self._rates[scene]
        warned = False
        with _opened(path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            # Decoders conceal what they cannot read unless told not to.
            stream.codec_context.options = {"err_detect": "explode"}
            first = end = 0.0
            n = 0
            for n, frame in enumerate(_decoded(container, stream, path), start=1):
                if frame.time is not None:
                    first = frame.time if n == 1 else first
                    # Frames know their own duration from PyAV 14 on.
                    held = float((getattr(frame, "duration", 0) or 0) * frame.time_base)
                    end = frame.time + max(held, 1 / rate)
                    if not warned and abs((frame.time - first) * rate - (n - 1)) > 1.5:
                        warned = True
                        warnings.warn(
                            f"frame {n - 1} of {path} is off the average frame rate {rate:g} by "
                            "more than a frame; frames are taken as evenly spaced: convert the "
                            "video to a constant frame rate",
                            stacklevel=2,
                        )
                require_pixels(frame.width, frame.height, str(path))
                if n > start:
                    yield f"frame {n - 1} of {path}", frame.to_ndarray(format="rgb24")
            declared = _declared_seconds(stream)
            # Two frames and a half: containers round their durations.
            if n == 0 or (declared is not None and end - first < declared - 2.5 / rate):
                raise ValueError(
                    f"expected {declared or 0:.3f} s of video in {path}, got {end - first:.3f} s "
                    f"in {n} frames; the file is cut off: fetch it again"
                )

    def _describe(self, path: Path, frame_rate: float | None) -> Scene:
        with _opened(path) as container:
            stream = container.streams.video[0]
            own = stream.average_rate or stream.guessed_rate or stream.base_rate
            require_pixels(stream.width, stream.height, str(path))
            if own is None:
                raise ValueError(
                    f"expected a frame rate in {path}, got none; convert the video to a constant "
                    "frame rate"
                )
            self._rates.append(float(own))
            declared = _declared_seconds(stream)
            n_frames = stream.frames or (round(declared * float(own)) if declared else None)
        rate = float(own) if frame_rate is None else frame_rate
        file = SourceFile(path.name, path.stat().st_size)
        return Scene(path.stem, require_frame_rate(rate, str(path)), n_frames, (file,))


def _opened(path: Path) -> Any:
    # Imported here: PyAV takes a while to load and only videos need it.
    import av

    try:
        container = av.open(str(path), options=_CONTAINERS)
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(
            f"expected a video in {path}, got a file that cannot be opened ({error}); "
            "fetch it again, or convert it"
        ) from error
    if not container.streams.video:
        container.close()
        raise ValueError(f"expected a video stream in {path}, got none; choose another file")
    return container


def _decoded(container: Any, stream: Any, path: Path) -> Iterator[Any]:
    import av

    n = 0
    try:
        for n, frame in enumerate(container.decode(stream), start=1):
            if frame.is_corrupt:
                raise ValueError(
                    f"expected sound frames in {path}, got a corrupt frame {n - 1}; fetch it again"
                )
            yield frame
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(
            f"expected sound frames in {path}, got an error after {n} of them ({error}); "
            "fetch it again"
        ) from error


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
