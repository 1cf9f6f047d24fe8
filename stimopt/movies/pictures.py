"""Pictures as frames: a folder or a zip of numbered pictures, MPI-Sintel's layout included."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from stimopt import expect
from stimopt.movies.source import (
    FILM_RATE,
    PictureSource,
    Scene,
    SourceFile,
    natural_order,
    require_frame_rate,
    require_pixels,
)
from stimopt.storage.archives import MAX_DEFLATE_RATIO, require_honest_zip
from stimopt.storage.files import BadFile, reading
from stimopt.storage.identity import sha256_of, sha256_of_file

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

REFETCH = "fetch the zip file again"
DISTRUST = "do not trust this file"


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
            _require_file_size(path.stat().st_size, str(path))
            yield str(path), decode(path.read_bytes(), str(path))

    def digests(self, scene: int) -> tuple[str, ...]:
        """See `MovieSource.digests`."""
        return tuple(sha256_of_file(path) for path in self._paths[scene])


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
        require_honest_zip(path, "a zip file", REFETCH, ratio=MAX_DEFLATE_RATIO, checksums=False)
        with reading(path, "a zip file", REFETCH), zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if _is_picture(m)]
        _require_harmless(members, path)
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
                with (
                    reading(self._path, f"a sound {member.filename}", REFETCH),
                    archive.open(member) as stream,
                ):
                    # One byte more than allowed tells that there is more than was declared.
                    data = stream.read(MAX_FILE_BYTES + 1)
                name = f"{member.filename} in {self._path}"
                _require_file_size(len(data), name)
                yield name, data


def decode(data: bytes, name: str) -> NDArray[Any]:
    """Grey picture from the bytes of a file, `(height, width)`: uint8, or float in [0, 1].

    Colours become grey by Rec. 601; transparency is ignored, as in flyvis; pictures of 16 bits
    a pixel keep them. A picture that says how the camera was held is turned upright.

    Raises:
        ValueError: naming the file, if it is no whole picture of an allowed format, or too large.
    """
    formats = sorted(set(PICTURES.values()))
    with (
        reading(name, "a whole picture", "fetch or save it again"),
        Image.open(io.BytesIO(data), formats=formats) as picture,
    ):
        require_pixels(picture.width, picture.height, name)
        _require_single(picture, name)
        mode = picture.mode
        deep = mode.startswith("I;16") or (mode == "I" and picture.format in ("PNG", "PPM"))
        advice = "scale it to [0, 1] and save it as .npy"
        expected = f"8 or 16 bits a pixel in {name}"
        expect.that(deep or mode not in ("I", "F"), expected, f"mode {mode}", advice, BadFile)
        upright = np.asarray(ImageOps.exif_transpose(picture if deep else picture.convert("L")))
        return upright.astype(np.float64) / 65535 if deep else upright


def sorted_pictures(folder: Path) -> list[Path]:
    """Picture files directly in a folder, hidden ones left out, in natural order."""
    paths = [p for p in folder.iterdir() if _has_picture_name(p.name) and p.is_file()]
    return sorted(paths, key=lambda p: natural_order(p.name))


def _require_single(picture: Image.Image, name: str) -> None:
    try:
        picture.seek(1)
    except EOFError:
        picture.seek(0)
        return
    raise BadFile(
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


def _require_harmless(members: Sequence[zipfile.ZipInfo], path: Path) -> None:
    expect.that(
        members,
        f"pictures ({', '.join(sorted(PICTURES))}) in {path}",
        "none",
        "give a zip of numbered pictures, such as MPI-Sintel's",
        BadFile,
    )
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/")).parts
        outside = ".." in parts or parts[0].endswith(("/", ":"))
        packed = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        for bad, problem, advice in (
            (outside, "a name that leads outside", DISTRUST),
            (stat.S_ISLNK(member.external_attr >> 16), "a link", DISTRUST),
            (member.flag_bits & 0x1, "an encrypted member", "decrypt it first"),
            (not packed, "another packing", "pack it again, stored or deflated"),
        ):
            got = f"{problem}, {member.filename!r}"
            expect.that(not bad, f"pictures inside the archive {path}", got, advice, BadFile)
        _require_file_size(member.file_size, f"{member.filename} in {path}")


def _require_file_size(size: int, name: str) -> None:
    expected = f"at most {MAX_FILE_BYTES} bytes in picture {name}"
    expect.that(size <= MAX_FILE_BYTES, expected, size, "scale the pictures down", BadFile)
