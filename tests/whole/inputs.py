"""Sound files of every kind that commands read, and the command that reads each."""

from __future__ import annotations

import zipfile
from pathlib import Path

import av
import numpy as np
import yaml

from tests.movies.cases import noise_frames, save_pictures
from tests.networks.circuits import write_circuit
from tests.whole.commandline import (
    Files,
    generate_command,
    regularize_command,
    render_command,
    search_command,
)

MOVIES = ("png", "npy", "zip", "mp4")
CHECKPOINTS = ("fit checkpoint", "search checkpoint")
KINDS = ("connectome", "network", "store", "result", *CHECKPOINTS, *MOVIES)
CONFIG = {
    "method": "weighted",
    "model": {"cell_types": ["T4c"], "t_stim": 0.1, "seeds": [0], "objective": "exp"},
    "protocol": {"dt": 0.01, "t_pre": 0.2, "baseline": "grey"},
    "network": {"extent": 2, "backend": "auto"},
    "steps": 1,
    "trainer": {"accelerator": "cpu", "enable_progress_bar": False},
}


def file_and_reader(kind: str, files: Files, folder: Path) -> tuple[Path, list[str]]:
    """A sound copy of a file in a folder, and the command that reads it."""
    folder.mkdir(exist_ok=True)
    out = folder / "out"
    if kind in ("connectome", "network"):
        arguments = generate_command(out, *write_circuit(folder / "net"))
        name = "connectome.json" if kind == "connectome" else "trained/best_chkpt"
        return folder / "net" / name, arguments
    if kind == "store":
        store = files.copied("store.h5", folder)
        return store, search_command(store, out)
    if kind == "result":
        result = files.copied("search/result.h5", folder)
        return result, regularize_command(result, out)
    if kind == "config":
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
        return config, ["generate", f"--config={config}", f"--output={out}"]
    if kind in CHECKPOINTS:
        files.copied(kind.split()[0], folder).rename(out)
        fit = kind == "fit checkpoint"
        arguments = generate_command(out) if fit else search_command(files.store, out)
        return out / "checkpoints" / "last.ckpt", arguments
    movies, part = write_movie(folder / "in", kind)
    return part, render_command(movies, folder / "store.h5")


def write_movie(folder: Path, kind: str) -> tuple[Path, Path]:
    """Six frames of noise; returns what to render, and one file of it."""
    folder.mkdir(parents=True, exist_ok=True)
    frames, path = noise_frames(6), folder / f"movie.{kind}"
    if kind == "png":
        return save_pictures(folder, frames), folder / "frame_0003.png"
    if kind == "npy":
        np.save(path, frames)
    elif kind == "mp4":
        _write_video(path, frames)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for picture in sorted(save_pictures(folder / "pictures", frames).iterdir()):
                archive.write(picture, f"scene/{picture.name}")
    return path, path


def _write_video(path: Path, frames: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            rgb = np.repeat(frame[..., None], 3, axis=2)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())
