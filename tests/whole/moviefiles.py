"""Small movies of every kind."""

from __future__ import annotations

import zipfile
from pathlib import Path

import av
import numpy as np
from PIL import Image

KINDS = ("png", "npy", "zip", "mp4")


def write_movie(folder: Path, kind: str) -> tuple[Path, Path]:
    """Six frames of noise; gives what to render, and one file of it."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    frames = random.integers(0, 256, (6, 32, 64), dtype=np.uint8)
    if kind == "npy":
        np.save(folder / "movie.npy", frames)
        return folder / "movie.npy", folder / "movie.npy"
    if kind == "mp4":
        _write_video(folder / "movie.mp4", frames)
        return folder / "movie.mp4", folder / "movie.mp4"
    pictures = []
    for i, frame in enumerate(frames):
        pictures.append(folder / f"frame_{i}.png")
        Image.fromarray(frame).save(pictures[-1])
    if kind == "png":
        return folder, pictures[3]
    with zipfile.ZipFile(folder / "movie.zip", "w") as archive:
        for picture in pictures:
            archive.write(picture, f"scene/{picture.name}")
            picture.unlink()
    return folder / "movie.zip", folder / "movie.zip"


def _write_video(path: Path, frames: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            rgb = np.repeat(frame[..., None], 3, axis=2)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())
