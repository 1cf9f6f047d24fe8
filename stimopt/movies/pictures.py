"""Pictures as frames: a folder or a zip of numbered pictures, MPI-Sintel's layout included."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stimopt.movies.source import (
    FILM_RATE,
    PictureSource,
    Scene,
    SourceFile,
    natural_order,
    require_frame_rate,
    require_pixels,
    sha256_of,
)

PICTURES = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".webp": "WEBP",
}
"""Suffixes taken for pictures, and the decoders allowed (no EPS: that would run Ghostscript)."""

SINTEL_FOLDER = PurePosixPath("training/final")

MAX_FILE_BYTES = 2**28
"""Bytes of a picture file, packed or not, beyond which it is refused unread."""

MAX_DEFLATE_RATIO = 1032
"""Deflate cannot pack more tightly, so a zip that declares more is made to deceive."""


class PictureFolder(PictureSource):
    """Folders of pictures, each a scene, in natural order of names.

    Args:
        folders: folder of each scene by its name.
        frame_rate: frames per second.
        kind: what to call it in the store.
    """

    def __init__(
        self, folders: Mapping[str, Path], frame_rate: float = FILM_RATE, kind: str = "pictures"
    ) -> None:
        self.kind = kind
        rate = require_frame_rate(frame_rate, "the folder of pictures")
        self._paths = [sorted_pictures(folder) for folder in folders.values()]
        self.scenes = tuple(
            Scene(
                name, rate, len(paths), tuple(SourceFile(p.name, p.stat().st_size) for p in paths)
            )
            for name, paths in zip(folders, self._paths, strict=True)
        )

    def pictures(self, scene: int, start: int) -> Iterator[tuple[str, NDArray[Any]]]:
        """See `PictureSource.pictures`."""
        for path in self._paths[scene][start:]:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise _too_many_bytes(str(path), path.stat().st_size)
            yield str(path), decode(path.read_bytes(), str(path))

    def digests(self, scene: int) -> tuple[str, ...]:
        """See `MovieSource.digests`."""
        found = []
        for path in self._paths[scene]:
            with path.open("rb") as stream:
                found.append(sha256_of(stream))
        return tuple(found)


class PictureZip(PictureSource):
    """Pictures in a zip file, read where they are: nothing is extracted to disk.

    Pictures below `training/final` (MPI-Sintel) are taken if there are any, all others if not;
    each folder is a scene.

    Args:
        path: the zip file.
        frame_rate: frames per second.

    Raises:
        ValueError: if it is no zip file, holds no pictures, or looks hostile (names that lead
            outside, encryption, more bytes declared than the packing can hold).
    """

    def __init__(self, path: Path, frame_rate: float = FILM_RATE) -> None:
        self._path = path
        rate = require_frame_rate(frame_rate, str(path))
        try:
            with zipfile.ZipFile(path) as archive:
                members = [m for m in archive.infolist() if _is_picture(m)]
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
            raise ValueError(
                f"expected a zip file, got {path} ({error}); fetch it again"
            ) from error
        self._require_harmless(members)
        sintel = [m for m in members if _below_sintel(m.filename)]
        self.kind = "mpi-sintel" if sintel else "pictures"
        folders: dict[str, list[zipfile.ZipInfo]] = {}
        for member in sintel or members:
            folders.setdefault(str(PurePosixPath(member.filename).parent), []).append(member)
        names = _scene_names(sorted(folders, key=natural_order), path.stem)
        self._members: list[list[zipfile.ZipInfo]] = []
        scenes = []
        for name, folder in names.items():
            listed = sorted(folders[folder], key=lambda m: natural_order(m.filename))
            self._members.append(listed)
            files = tuple(SourceFile(m.filename, m.file_size) for m in listed)
            scenes.append(Scene(name, rate, len(listed), files))
        self.scenes = tuple(scenes)

    def pictures(self, scene: int, start: int) -> Iterator[tuple[str, NDArray[Any]]]:
        """See `PictureSource.pictures`."""
        for name, data in self._read(scene, start):
            yield name, decode(data, name)

    def digests(self, scene: int) -> tuple[str, ...]:
        """See `MovieSource.digests`."""
        return tuple(sha256_of(io.BytesIO(data)) for _, data in self._read(scene, 0))

    def _read(self, scene: int, start: int) -> Iterator[tuple[str, bytes]]:
        with zipfile.ZipFile(self._path) as archive:
            for member in self._members[scene][start:]:
                name = f"{member.filename} in {self._path}"
                try:
                    with archive.open(member) as stream:
                        data = stream.read(MAX_FILE_BYTES + 1)
                except (
                    zipfile.BadZipFile,
                    zlib.error,
                    OSError,
                    EOFError,
                    RuntimeError,
                    NotImplementedError,
                ) as error:
                    raise ValueError(
                        f"expected a sound member {name}, got an error ({error}); "
                        "fetch the zip file again"
                    ) from error
                if len(data) > MAX_FILE_BYTES:
                    raise _too_many_bytes(name, len(data))
                yield name, data

    def _require_harmless(self, members: Sequence[zipfile.ZipInfo]) -> None:
        if not members:
            raise ValueError(
                f"expected pictures ({', '.join(sorted(PICTURES))}) in {self._path}, got none; "
                "give a zip of numbered pictures, such as MPI-Sintel's"
            )
        for member in members:
            name = f"{member.filename!r} in {self._path}"
            parts = PurePosixPath(member.filename.replace("\\", "/")).parts
            if ".." in parts or parts[0].endswith(("/", ":")):
                raise ValueError(
                    f"expected members inside the archive, got {name}; do not trust this file"
                )
            if stat.S_ISLNK(member.external_attr >> 16):
                raise ValueError(f"expected pictures, got a link {name}; do not trust this file")
            if member.flag_bits & 0x1:
                raise ValueError(f"expected open members, got encrypted {name}; decrypt it first")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(
                    f"expected members stored or deflated, got another packing of {name}; "
                    "pack it again"
                )
            if member.file_size > MAX_FILE_BYTES:
                raise _too_many_bytes(name, member.file_size)
        declared, held = sum(m.file_size for m in members), self._path.stat().st_size
        if declared > MAX_DEFLATE_RATIO * held:
            raise ValueError(
                f"expected at most {MAX_DEFLATE_RATIO} times the {held} bytes of {self._path}, "
                f"got {declared} bytes declared; do not trust this file"
            )


def decode(data: bytes, name: str) -> NDArray[Any]:
    """Grey picture from the bytes of a file, `(height, width)`: uint8, or float in [0, 1].

    Colours become grey by Rec. 601; transparency is ignored, as in flyvis; pictures of 16 bits
    a pixel keep them.

    Raises:
        ValueError: naming the file, if it is no whole picture of an allowed format, or too large.
    """
    formats = sorted(set(PICTURES.values()))
    try:
        with Image.open(io.BytesIO(data), formats=formats) as picture:
            require_pixels(picture.width, picture.height, name)
            _require_single(picture, name)
            mode, origin = picture.mode, picture.format
            if mode.startswith("I;16") or (mode == "I" and origin in ("PNG", "PPM")):
                return np.asarray(picture).astype(np.float64) / 65535
            if mode in ("I", "F"):
                raise ValueError(
                    f"expected 8 or 16 bits a pixel in {name}, got mode {mode}; "
                    "scale it to [0, 1] and save it as .npy"
                )
            return np.asarray(picture.convert("L"))
    except ValueError as error:
        if name in str(error):
            raise
        raise _no_picture(name, error) from error
    # Pillow's warning about many pixels comes below MAX_PIXELS if Pillow was told a lower limit.
    except (
        OSError,
        SyntaxError,
        EOFError,
        IndexError,
        TypeError,
        MemoryError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise _no_picture(name, error) from error


def sorted_pictures(folder: Path) -> list[Path]:
    """Picture files directly in a folder, hidden ones left out, in natural order."""
    found = [p for p in folder.iterdir() if _has_picture_name(p.name) and p.is_file()]
    return sorted(found, key=lambda p: natural_order(p.name))


def _require_single(picture: Image.Image, name: str) -> None:
    try:
        picture.seek(1)
    except EOFError:
        picture.seek(0)
        return
    raise ValueError(
        f"expected one picture in {name}, got several; save a stack as .npy or as a video"
    )


def _has_picture_name(name: str) -> bool:
    return not name.startswith(".") and PurePosixPath(name).suffix.lower() in PICTURES


def _is_picture(member: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(member.filename)
    return not member.is_dir() and _has_picture_name(path.name) and "__MACOSX" not in path.parts


def _below_sintel(name: str) -> bool:
    return PurePosixPath(name).parent.parent.parts[-2:] == SINTEL_FOLDER.parts


def _scene_names(folders: Sequence[str], stem: str) -> dict[str, str]:
    """A short unique name for each folder: its last part, or its whole path if that repeats."""
    last = [PurePosixPath(folder).name for folder in folders]
    whole = len(set(last)) < len(last)
    return {
        (stem if folder == "." else folder if whole else name): folder
        for folder, name in zip(folders, last, strict=True)
    }


def _too_many_bytes(name: str, size: int) -> ValueError:
    return ValueError(
        f"expected at most {MAX_FILE_BYTES} bytes in picture {name}, got {size}; "
        "scale the pictures down"
    )


def _no_picture(name: str, error: BaseException) -> ValueError:
    return ValueError(
        f"expected a whole picture in {name}, got one that cannot be read ({error}); "
        "fetch or save it again"
    )
