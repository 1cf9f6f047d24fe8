"""The built-in movies: measured directions, speeds, frequencies and spectra."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stimopt.lattice import HexLattice
from stimopt.movies import GeneratedStore, ProceduralMovies, ProceduralSettings
from stimopt.movies.eye import RenderSettings
from stimopt.movies.procedural import texture

LATTICE = HexLattice(15)
X, Y = (c / math.sqrt(3) for c in LATTICE.picture_coordinates())  # in columns


def movie(name: str, settings: ProceduralSettings | None = None) -> np.ndarray:
    """A scene of extent 15 by name, `(frames, columns)`."""
    source = ProceduralMovies(settings)
    at = [scene.name for scene in source.scenes].index(name)
    frames = np.concatenate(list(source.luminance(at, RenderSettings())))
    assert frames.shape == (source.scenes[at].n_frames, 721)
    return frames


def test_there_are_edges_gratings_textures_and_discs_in_range() -> None:
    source = ProceduralMovies()
    names = [scene.name for scene in source.scenes]
    assert len(set(names)) == len(names)
    # 12 directions: 4 speeds x 2 shades, 2 x 3 gratings, 2 textures x 2 speeds; 3 x 2 discs.
    assert len(names) == 12 * (8 + 6 + 4) + 6
    assert source.designed
    for i, scene in enumerate(source.scenes):
        frames = source.frames(3, i, 0, scene.n_frames or 0)
        assert frames.shape == (scene.n_frames, 37)
        assert frames.min() >= 0 and frames.max() <= 1


@pytest.mark.parametrize("degrees", range(0, 360, 30))
@pytest.mark.parametrize(("shade", "speed"), [("bright", 19.0), ("dark", 4.75)])
def test_an_edge_has_the_direction_and_speed_of_its_name(
    degrees: int, shade: str, speed: float
) -> None:
    frames = movie(f"{shade} edge, {degrees} deg, {speed:g} columns/s")
    np.testing.assert_array_equal(frames[0], 0.5)
    # Time at which each column is half way to white or black, by linear interpolation.
    progress = 2 * np.abs(frames - 0.5)
    after = (progress > 0.5).argmax(axis=0)
    columns = np.arange(721)
    high, low = progress[after, columns], progress[after - 1, columns]
    crossing = (after - 1 + (0.5 - low) / (high - low)) / 100
    # A plane wave crosses at t0 + (x, y) . slowness, and its velocity is slowness / |slowness|^2.
    design = np.stack([np.ones(721), X, Y], axis=1)
    (t0, *slowness), residual, *_ = np.linalg.lstsq(design, crossing, rcond=None)
    velocity = np.array(slowness) / np.dot(slowness, slowness)
    assert np.hypot(*velocity) == pytest.approx(speed, rel=1e-3)
    expected = [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]
    np.testing.assert_allclose(velocity / speed, expected, atol=1e-3)
    assert t0 == pytest.approx(16 / speed, abs=1e-3)
    assert residual.max() < 1e-4
    # It leaves white or black behind in all columns but the very last.
    assert (frames[-1] == (1.0 if shade == "bright" else 0.0)).mean() > 0.99


def test_directions_of_edges_are_the_rotations_of_the_lattice() -> None:
    first = movie("bright edge, 30 deg, 19 columns/s")
    turned = movie("bright edge, 90 deg, 19 columns/s")
    np.testing.assert_allclose(first[:, LATTICE.rotation(1)], turned, atol=1e-6)
    mirrored = movie("bright edge, 150 deg, 19 columns/s")
    np.testing.assert_allclose(first[:, LATTICE.mirroring(1)], mirrored, atol=1e-6)


def test_a_grating_drifts_with_its_wavelength_and_frequency() -> None:
    degrees, wavelength, frequency = 60, 5.0, 3.0
    frames = movie(f"grating, {degrees} deg, {wavelength:g} columns, {frequency:g} Hz")
    along = np.cos(np.radians(degrees)) * X + np.sin(np.radians(degrees)) * Y
    across = -np.sin(np.radians(degrees)) * X + np.cos(np.radians(degrees)) * Y
    time = np.arange(len(frames)) / 100
    # The whole energy is in exp(i (k x - w t)), a wave that moves along its wave vector, ...
    wave = np.exp(2j * np.pi * (along / wavelength - frequency * time[:, None]))
    assert abs(np.vdot(wave, frames - 0.5)) / wave.size == pytest.approx(0.25, rel=0.02)
    # ... none in the wave that moves the other way, and the stripes are straight.
    back = np.exp(2j * np.pi * (along / wavelength + frequency * time[:, None]))
    assert abs(np.vdot(back, frames - 0.5)) / wave.size < 0.01
    here = LATTICE.index(0, 0)
    beside = np.flatnonzero((np.abs(along) < 1e-9) & (np.abs(across) > 1))
    assert len(beside) > 3
    np.testing.assert_allclose(frames[:, beside], frames[:, [here] * len(beside)], atol=1e-6)


def test_a_texture_drifts_as_it_is() -> None:
    # One column upward in ten frames: then every column shows what the one below showed.
    settings = ProceduralSettings(frame_rate=190.0, texture_speeds=(19.0,))
    frames = movie("texture 1, 90 deg, 19 columns/s", settings)
    below = LATTICE.index(LATTICE.u + 1, LATTICE.v)
    there = below >= 0
    np.testing.assert_allclose(frames[10:, there], frames[:-10, below[there]], atol=1e-5)
    assert np.abs(frames[10:] - frames[:-10]).max() > 0.1


def test_a_texture_has_the_spectrum_of_natural_scenes() -> None:
    pixel = np.arange(256) / 4
    x, y = np.meshgrid(pixel, pixel)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256, 0.25), np.fft.fftfreq(256, 0.25)))
    amplitude = np.zeros_like(frequency)
    for number in range(4):
        picture = texture(
            x.ravel(), y.ravel(), np.zeros((1, 1)),
            degrees=0, speed=1, seed=0, number=number, contrast=0.2,
        ).reshape(256, 256)  # fmt: skip
        assert picture.mean() == pytest.approx(0.5)
        assert picture.std() == pytest.approx(0.2)
        amplitude += np.abs(np.fft.fft2(picture - 0.5))
    band = (frequency > 0.03) & (frequency < 0.45)
    slope, _ = np.polyfit(np.log(frequency[band]), np.log(amplitude[band]), 1)
    assert slope == pytest.approx(-1, abs=0.05)
    assert amplitude[frequency > 0.51].max() < 1e-9 * amplitude[band].max()


@pytest.mark.parametrize("shade", ["bright", "dark"])
def test_a_disc_looms_as_an_object_does(shade: str) -> None:
    frames = movie(f"{shade} looming disc, l/v 80 ms")
    sign = 1 if shade == "bright" else -1
    area = (2 * sign * (frames - 0.5)).sum(axis=1)
    assert (np.diff(area) >= 0).all()
    # A column takes up sqrt(3) / 2 of a square of the distance between columns.
    for frame in (50, 80, 90, 95):
        half_angle = math.degrees(math.atan(0.08 / (1 - frame / 100)))
        radius = half_angle / 5.8
        expected = math.pi * radius**2 / (math.sqrt(3) / 2)
        assert area[frame] == pytest.approx(expected, rel=0.1)


def test_movies_depend_on_the_seed_in_their_textures_alone() -> None:
    one, same, other = (ProceduralMovies(ProceduralSettings(seed=s)) for s in (1, 1, 2))
    assert one.fingerprint(15) == same.fingerprint(15)
    assert one.fingerprint(15) != other.fingerprint(15)
    assert one.fingerprint(15) != one.fingerprint(14)
    for i, scene in enumerate(one.scenes):
        frames = one.frames(4, i, 3, 6)
        np.testing.assert_array_equal(frames, same.frames(4, i, 3, 6))
        alike = np.array_equal(frames, other.frames(4, i, 3, 6))
        assert alike != scene.name.startswith("texture")


def test_any_part_of_a_scene_can_be_had_alone() -> None:
    store = GeneratedStore(extent=5)
    for i in (0, 100, 200, len(store.scenes) - 1):
        n_frames = store.scenes[i].n_frames
        whole = store.read(i, 0, n_frames)
        np.testing.assert_array_equal(store.read(i, 17, 40), whole[17:40])
        np.testing.assert_array_equal(store.read(i, n_frames - 1, n_frames), whole[-1:])


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"seed": 0.5},
        {"frame_rate": 0},
        {"directions": 0},
        {"edge_speeds": (0.0,)},
        {"edge_speeds": (math.inf,)},
        {"grating_wavelengths": (2.0,)},
        {"texture_contrast": 0},
        {"seconds": math.nan},
        {"looming_ratios": (-0.1,)},
    ],
)
def test_impossible_movies_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        ProceduralSettings(**wrong)  # type: ignore[arg-type]
