"""Which kind of source a path is."""

from __future__ import annotations

from pathlib import Path

from stimopt.movies.pictures import (
    PICTURES,
    SINTEL_FOLDER,
    PictureFolder,
    PictureZip,
    sorted_pictures,
)
from stimopt.movies.procedural import ProceduralMovies
from stimopt.movies.recordings import ARRAYS, VIDEOS, ArrayFiles, VideoFiles
from stimopt.movies.source import FILM_RATE, MovieSource, natural_order

PROCEDURAL = "procedural"
"""Name under which the built-in movies are opened."""


def open_source(source: str | Path, frame_rate: float | None = None) -> MovieSource:
    """Open a source of movies by its path.

    - `procedural`: the built-in movies, which need no files;
    - a folder in MPI-Sintel's layout (`training/final/<scene>/frame_0001.png`), or a zip of it;
    - a folder or zip of numbered pictures: a scene, or a scene per subfolder;
    - a video, or a folder of videos: a scene each;
    - a NumPy array `(frames, height, width[, 3])` as .npy, or a folder of them: a scene each.

    Scenes and frames come in natural order of their names (frame_2 before frame_10); hidden
    files are left out.

    Args:
        source: the path, or `procedural`.
        frame_rate: frames per second; None takes what a video says, and 24 for the rest.

    Raises:
        ValueError: if there is nothing there, nothing that is understood, or a mixture.
    """
    if source == PROCEDURAL:
        if frame_rate is not None:
            raise ValueError(
                f"expected no frame rate for the built-in movies, got {frame_rate!r}; set it in "
                "ProceduralSettings and pass ProceduralMovies as the source"
            )
        return ProceduralMovies()
    path = Path(source)
    if path.is_dir():
        return _open_folder(path, frame_rate)
    if not path.is_file():
        raise ValueError(
            f"expected a folder or a file of movies, got {path}, which is not there; "
            f"check the path, or give '{PROCEDURAL}' for the built-in movies"
        )
    suffix = path.suffix.lower()
    if suffix == ".zip":
        return PictureZip(path, FILM_RATE if frame_rate is None else frame_rate)
    if suffix in VIDEOS:
        return VideoFiles([path], frame_rate)
    if suffix in ARRAYS:
        return ArrayFiles([path], frame_rate)
    if suffix in PICTURES:
        raise ValueError(
            f"expected a folder of numbered pictures, got the single picture {path}; "
            f"give {path.parent}"
        )
    raise ValueError(_unknown(path))


def _open_folder(folder: Path, frame_rate: float | None) -> MovieSource:
    rate = FILM_RATE if frame_rate is None else frame_rate
    if (folder / SINTEL_FOLDER).is_dir():
        scenes = _folders_with_pictures(folder / SINTEL_FOLDER)
        if scenes:
            return PictureFolder(scenes, rate, kind="mpi-sintel")
    files = sorted(
        (p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")),
        key=lambda p: natural_order(p.name),
    )
    videos = [p for p in files if p.suffix.lower() in VIDEOS]
    arrays = [p for p in files if p.suffix.lower() in ARRAYS]
    pictures = sorted_pictures(folder)
    inside = _folders_with_pictures(folder)
    found = {
        "videos": videos,
        "arrays": arrays,
        "pictures": pictures,
        "folders of pictures": inside,
    }
    kinds = [name for name, some in found.items() if some]
    if len(kinds) > 1:
        raise ValueError(
            f"expected one kind of movies in {folder}, got {' and '.join(kinds)}; "
            "move them into separate folders"
        )
    if videos:
        return VideoFiles(videos, frame_rate)
    if arrays:
        return ArrayFiles(arrays, frame_rate)
    if pictures:
        return PictureFolder({folder.resolve().name or "scene": folder}, rate)
    if inside:
        return PictureFolder(inside, rate)
    raise ValueError(_unknown(folder))


def _folders_with_pictures(folder: Path) -> dict[str, Path]:
    found = [
        p
        for p in folder.iterdir()
        if p.is_dir() and not p.name.startswith(".") and sorted_pictures(p)
    ]
    return {p.name: p for p in sorted(found, key=lambda p: natural_order(p.name))}


def _unknown(path: Path) -> str:
    suffixes = ", ".join([*sorted(PICTURES), *VIDEOS, *ARRAYS, ".zip"])
    return (
        f"expected movies in {path} (MPI-Sintel's folders or zip, numbered pictures, videos or "
        f"arrays: {suffixes}), got none; check the path"
    )
