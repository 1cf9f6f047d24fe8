"""Rendering against explicit loops, Pillow's grey, closed forms and recorded flyvis stimuli."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from stimopt.lattice import HexLattice
from stimopt.movies.eye import (
    RenderSettings,
    grey,
    luminance,
    minimum_size,
    view_columns,
    view_width,
)

SMALL = RenderSettings(extent=2, kernel_size=5, views=3, width_fraction=0.7, drop_first=0)


def slow_luminance(frame: np.ndarray, settings: RenderSettings) -> np.ndarray:
    """Box means of one grey uint8 frame in whole numbers, pixel by pixel, from the definition."""
    height, width = frame.shape
    n, k = settings.extent, settings.kernel_size
    out = []
    for start, stop in view_columns(width, settings):
        for u in range(-n, n + 1):
            for v in range(-n, n + 1):
                if abs(u + v) > n:
                    continue
                row = height // 2 + int(k * (u + v / 2))
                column = start + (stop - start) // 2 + k * v
                total = 0
                for r in range(row - k // 2, row - k // 2 + k):
                    for c in range(column - k // 2, column - k // 2 + k):
                        assert r >= 0 and c >= 0
                        total += int(frame[r, c])
                out.append(total / (255 * k * k))
    return np.array(out).reshape(settings.views, -1)


@pytest.mark.parametrize(
    ("settings", "height", "width"),
    [
        (SMALL, 35, 90),
        (SMALL, 36, 91),
        (RenderSettings(2, 4, 1, 1.0), 30, 40),
        (RenderSettings(1, 7, 5, 0.5), 60, 131),
        (RenderSettings(0, 3, 2, 1.0), 5, 11),
    ],
)
def test_box_mean_equals_explicit_loops(settings: RenderSettings, height: int, width: int) -> None:
    rng = np.random.default_rng(3)
    frames = rng.integers(0, 256, (2, height, width), dtype=np.uint8)
    rendered = luminance(frames, settings)
    assert rendered.dtype == np.float32
    assert rendered.shape == (settings.views, 2, settings.lattice.n_columns)
    for i, frame in enumerate(frames):
        # Summing k * k values below 1 in single precision is good to a few 1e-7.
        np.testing.assert_allclose(rendered[:, i], slow_luminance(frame, settings), atol=1e-6)
    np.testing.assert_allclose(luminance(frames / 255.0, settings), rendered, atol=1e-6)


def test_the_smallest_frame_is_just_large_enough() -> None:
    for settings in (SMALL, RenderSettings(), RenderSettings(3, 4, 1, 0.9), RenderSettings(0, 1)):
        height, width = minimum_size(settings)
        white = np.full((1, height, width), 255, dtype=np.uint8)
        # Were a box to reach over the border, its mean would not be 1.
        np.testing.assert_array_equal(luminance(white, settings), 1.0)
        for h, w in ((height - 1, width), (height, width - 1)):
            with pytest.raises(ValueError, match=f"expected frames of at least {width} x {height}"):
                luminance(white[:, :h, :w], settings)


def test_rejects_a_small_frame_and_names_a_kernel_that_fits() -> None:
    frame = np.zeros((1, 360, 480), dtype=np.uint8)
    with pytest.raises(ValueError, match="render with kernel_size 10 or less"):
        luminance(frame)
    assert luminance(frame, RenderSettings(kernel_size=10)).shape == (3, 1, 721)
    with pytest.raises(ValueError, match="smaller extent"):
        luminance(frame[:, :20, :20])


def test_the_views_of_a_film_frame() -> None:
    # Columns 154 to 869 in three views 417 wide at offsets 0, 149 and 298, as flyvis cuts them.
    assert view_width(RenderSettings()) == 417
    assert view_columns(1024, RenderSettings()) == [(154, 571), (303, 720), (452, 869)]
    assert view_columns(1024, RenderSettings(views=1)) == [(154, 870)]


def test_up_in_the_picture_is_up_on_the_lattice() -> None:
    settings = RenderSettings(views=1)
    x, y = HexLattice(settings.extent).picture_coordinates()
    frame = np.zeros((436, 1024), dtype=np.uint8)
    frame[:218, 512:] = 255  # the quarter above and to the right of the middle
    bright = luminance(frame[None], settings)[0, 0] > 0.5
    assert bright.any()
    assert (x[bright] >= 0).all() and (y[bright] > -1).all()
    assert bright[(x > 1.5) & (y > 2)].all()


def test_grey_is_as_in_pillow() -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (200, 300, 3), dtype=np.uint8)
    np.testing.assert_array_equal(grey(colours), np.asarray(Image.fromarray(colours).convert("L")))
    exact = colours.astype(float) / 255 @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(grey(colours / 255.0), exact, atol=1e-12)
    np.testing.assert_allclose(grey(colours) / 255, exact, atol=1.01 * 0.5 / 255)


@pytest.mark.parametrize(
    "frames",
    [
        np.full((1, 436, 1024), np.nan),
        np.full((1, 436, 1024), 1.5),
        np.full((1, 436, 1024), -0.1, dtype=np.float32),
        np.zeros((436, 1024)),
        np.zeros((1, 436, 1024, 4)),
    ],
)
def test_rejects_frames_out_of_range_or_shape(frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected"):
        luminance(frames)


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, bool])
def test_rejects_frames_of_another_dtype(dtype: type) -> None:
    with pytest.raises(TypeError, match="expected frames of dtype uint8"):
        luminance(np.zeros((1, 436, 1024), dtype=dtype))


@pytest.mark.parametrize(
    "wrong",
    [
        {"extent": -1},
        {"extent": 1.5},
        {"kernel_size": 0},
        {"views": 0},
        {"views": True},
        {"width_fraction": 0},
        {"width_fraction": 1.1},
        {"width_fraction": float("nan")},
        {"drop_first": -1},
    ],
)
def test_rejects_impossible_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"expected (a finite )?{next(iter(wrong))}"):
        RenderSettings(**wrong)  # type: ignore[arg-type]


def test_settings_survive_a_round_trip() -> None:
    settings = RenderSettings(3, 5, 2, 0.5, 4)
    assert RenderSettings(**settings.to_dict()) == settings


def test_film_frames_render_as_flyvis_rendered_them(shared: Path) -> None:
    scene = sorted((shared / "data/sintel-clip/training/final/chase_1").iterdir())
    frames = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in scene[1:5]])
    with h5py.File(shared / "reference/flyvis-1.2.0.h5") as recorded:
        expected = recorded["search/sample_000/stimulus"][:]
    # Sample 0 is the first view unturned; frame j is first shown in step ceil(80 j / 19 - 1/2).
    steps = [0, 4, 8, 13]
    np.testing.assert_allclose(luminance(frames)[0], expected[steps], rtol=0, atol=1e-6)
