"""Films: every frame of the stimulus, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from matplotlib.animation import FFMpegWriter
from PIL import Image

from stimopt.lattice import HexLattice
from stimopt.plotting import animate, animation, figure_image
from stimopt.plotting.selection import drawn_rows
from tests.plotting.cases import example


def film(path: Path, n_frames: int = 6, **options: Any) -> Path:
    """A film of a lattice that brightens evenly."""
    lattice = HexLattice(3)
    _, response = example(n_frames, 2, lattice)
    stimulus = np.repeat(np.linspace(0, 1, n_frames)[:, None], lattice.n_columns, axis=1)
    return animate(stimulus, response, lattice, 0.01, path, **options)


def test_a_gif_has_every_frame(tmp_path: Path) -> None:
    path = film(tmp_path / "new" / "film.gif", fps=20, title="T4c")
    with Image.open(path) as gif:
        assert gif.n_frames == 6
        brightness = []
        for i in range(6):
            gif.seek(i)
            assert gif.info["duration"] == 50
            pixels = np.asarray(gif.convert("RGB"))
            assert (pixels[:4] == 255).all()  # paper stays white in the common palette
            height, width = pixels.shape[:2]
            brightness.append(pixels[height // 5 : height // 2, : width // 3].mean())
    assert (np.diff(brightness) > 10).all()
    assert [p.name for p in path.parent.iterdir()] == ["film.gif"]


def test_a_picture_is_that_of_the_whole_figure_drawn_anew() -> None:
    lattice = HexLattice(3)
    stimulus, response = example(4, 2, lattice)
    rows = drawn_rows(stimulus, response, 1.0, "response")
    updated, anew = (
        animation._Scene(rows, response[:, lattice.center], lattice, 0.01, 2, "T4c", 10.0)
        for _ in range(2)
    )
    for pixels, _ in zip(updated.pictures(100), anew.play(), strict=True):
        np.testing.assert_array_equal(pixels, figure_image(anew.fig, dpi=100))


@pytest.mark.skipif(not FFMpegWriter.isAvailable(), reason="the program ffmpeg is not installed")
def test_an_mp4_has_every_frame(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", fps=25)
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6
        assert container.streams.video[0].average_rate == 25


def test_an_mp4_without_ffmpeg_is_rejected_in_favour_of_a_gif(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"ffmpeg.*film\.gif"):
        film(tmp_path / "film.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "fps", "message"),
    [
        ("film.avi", 10, r"\.gif or \.mp4"),
        ("film.gif", 100, "fps for .gif > 0 and <= 50"),
        ("film.gif", 0, "> 0"),
    ],
)
def test_rejects_other_formats_and_rates(
    tmp_path: Path, name: str, fps: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        film(tmp_path / name, fps=fps)


def test_a_failed_film_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "film.gif"
    path.write_bytes(b"old")

    def full(self: Image.Image, fp: Path, **options: Any) -> None:
        Path(fp).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="no space"):
        film(path, n_frames=2)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
