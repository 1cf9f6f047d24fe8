"""Which kind of source a path or a name is."""

from __future__ import annotations

from pathlib import Path

from stimopt import expect
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
from stimopt.networks.flyvis_files import find_sintel

PROCEDURAL = "procedural"
"""Name under which the built-in movies are opened."""

SINTEL = ("sintel", "mpi-sintel", "sinteldataset")
"""Names under which flyvis's copy of the film is opened, in any case of letters."""


def open_source(source: str | Path, frame_rate: float | None = None) -> MovieSource:
    """Open a source of movies by its path or name.

    - `procedural`: the built-in movies, which need no files;
    - `sintel`: the film where flyvis keeps it, see `stimopt.networks.flyvis_files`;
    - a folder in MPI-Sintel's layout (`training/final/<scene>/frame_0001.png`), or a zip of it;
    - a folder or zip of numbered pictures: a scene, or a scene per subfolder;
    - a video, or a folder of videos: a scene each;
    - a NumPy array `(frames, height, width[, 3])` as .npy, or a folder of them: a scene each.

    A path goes before the film's name; `./procedural` is a path. Scenes and frames come in
    natural order of their names (frame_2 before frame_10); hidden files are left out.

    Args:
        source: the path or name.
        frame_rate: frames per second; None takes a video's own, and 24 for the rest.

    Raises:
        ValueError: if nothing is there, nothing that can be read, or a mixture.
    """
    if source == PROCEDURAL:
        advice = "set it in ProceduralSettings and pass ProceduralMovies as the source"
        expected = "no frame rate for the built-in movies"
        expect.that(frame_rate is None, expected, frame_rate, advice)
        return ProceduralMovies()
    path = Path(source)
    if not path.exists() and str(source).lower() in SINTEL:
        path = find_sintel()
    if path.is_dir():
        return _open_folder(path, frame_rate)
    expect.that(
        path.is_file(),
        "a folder or a file of movies",
        f"{source}, but nothing is at {path.absolute()}",
        f"check the path, or give '{PROCEDURAL}' for the built-in movies or '{SINTEL[0]}' for "
        "flyvis's copy of the film",
    )
    suffix = path.suffix.lower()
    if suffix == ".zip":
        return PictureZip(path, FILM_RATE if frame_rate is None else frame_rate)
    if suffix in VIDEOS:
        return VideoFiles([path], frame_rate)
    if suffix in ARRAYS:
        return ArrayFiles([path], frame_rate)
    single = f"the single picture {path}"
    advice = f"give {path.parent}; save a stack of pictures as .npy or as a video"
    expect.that(suffix not in PICTURES, "a folder of numbered pictures", single, advice)
    raise _nothing_readable(path)


def _open_folder(folder: Path, frame_rate: float | None) -> MovieSource:
    rate = FILM_RATE if frame_rate is None else frame_rate
    if scenes := _folders_with_pictures(folder / SINTEL_FOLDER):
        return PictureFolder(scenes, rate, kind="mpi-sintel")
    files = sorted(
        (p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")),
        key=lambda p: natural_order(p.name),
    )
    videos = [p for p in files if p.suffix.lower() in VIDEOS]
    arrays = [p for p in files if p.suffix.lower() in ARRAYS]
    pictures, inside = sorted_pictures(folder), _folders_with_pictures(folder)
    kinds = {
        "videos": videos,
        "arrays": arrays,
        "pictures": pictures,
        "folders of pictures": inside,
    }
    found = [kind for kind, paths in kinds.items() if paths]
    if not found:
        raise _nothing_readable(folder)
    advice = "move them into separate folders"
    expect.that(len(found) == 1, f"one kind of movies in {folder}", " and ".join(found), advice)
    if videos:
        return VideoFiles(videos, frame_rate)
    if arrays:
        return ArrayFiles(arrays, frame_rate)
    return PictureFolder(inside or {folder.resolve().name or "scene": folder}, rate)


def _folders_with_pictures(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    folders = [
        p
        for p in folder.iterdir()
        if p.is_dir() and not p.name.startswith(".") and sorted_pictures(p)
    ]
    return {p.name: p for p in sorted(folders, key=lambda p: natural_order(p.name))}


def _nothing_readable(path: Path) -> ValueError:
    suffixes = ", ".join([*sorted(PICTURES), *VIDEOS, *ARRAYS, ".zip"])
    return ValueError(
        f"expected movies in {path} (MPI-Sintel's folders or zip, numbered pictures, videos or "
        f"arrays: {suffixes}), got none; check the path, or convert them to one of these"
    )
