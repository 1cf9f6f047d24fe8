"""Figures in files: whole or not at all, the same bytes each time, no setting changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from PIL import Image

from stimopt.plotting import save_figure
from tests.plotting.cases import strips


class Unpaintable(Artist):
    def draw(self, renderer: object) -> None:
        raise RuntimeError("cannot be drawn")


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_a_failed_figure_leaves_the_old_one(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"figure.{suffix}"
    path.write_bytes(b"old")
    fig = Figure()
    fig.add_artist(Unpaintable())
    with pytest.raises(RuntimeError, match="cannot be drawn"):
        save_figure(fig, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_the_same_figure_gives_the_same_bytes(tmp_path: Path, suffix: str, start: bytes) -> None:
    salt = matplotlib.rcParams["svg.hashsalt"]
    first, second = (
        save_figure(strips(1, 3, 2), tmp_path / name / f"a.{suffix}").read_bytes() for name in "xy"
    )
    assert first == second
    assert first.startswith(start)
    assert matplotlib.__version__.encode() not in first
    assert matplotlib.rcParams["svg.hashsalt"] == salt


def test_the_saved_size_is_inches_times_dpi(tmp_path: Path) -> None:
    fig = Figure(figsize=(4, 2))
    with Image.open(save_figure(fig, tmp_path / "a.png", dpi=50)) as image:
        assert image.size == (200, 100)
    with pytest.raises(ValueError, match=r"\.png, \.pdf, \.svg, got 'a\.jpg'"):
        save_figure(fig, tmp_path / "a.jpg")


def test_no_global_state_is_touched(tmp_path: Path) -> None:
    script = f"""
import sys
import matplotlib
def settings():  # reading the backend would choose one
    return {{k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != "backend"}}
before = settings()
import numpy as np
from stimopt import plotting
from stimopt.lattice import HexLattice
lattice = HexLattice(1)
stimulus, response = np.random.rand(2, 4, 7)
plot = plotting.plot_stim_response(stimulus, response, lattice, 0.01)
for suffix in ("png", "pdf", "svg"):
    plotting.save_figure(plot.fig, {str(tmp_path)!r} + "/a." + suffix)
plotting.animate(stimulus, response, lattice, 0.01, {str(tmp_path)!r} + "/a.gif")
plotting.FitPictures(lattice, 0.01).strip(stimulus, response)
assert "matplotlib.pyplot" not in sys.modules, "pyplot was imported"
assert matplotlib.get_backend(auto_select=False) is None, "a backend was chosen"
after = settings()
assert after == before, {{k for k in after if after[k] != before[k]}}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
