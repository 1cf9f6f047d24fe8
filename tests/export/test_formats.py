"""Every format comes back level by level, and its files are what other tools expect."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import yaml

from stimopt.export.displays import Arena, Display, FlatScreen, Sphere
from stimopt.export.formats import Film, Format, Npz, Png, Shown, Stimpack
from stimopt.export.g4 import G4
from stimopt.export.g6 import G6
from stimopt.export.light import Light
from stimopt.export.panels import figure
from stimopt.export.session import Order, on_rig, write_session
from stimopt.export.timing import Timing
from stimopt.export.view import Rig
from stimopt.protocol import Protocol
from stimopt.storage.files import BadFile
from tests.export.cases import noise

SPHERE = Sphere(width_deg=60, width_px=30, height_px=27, flip="left-right")
SCREEN = FlatScreen(width_px=33, height_px=20)
ARENA_4, ARENA_6 = Arena("G4.1 2x12", flip="rotate180"), Arena("G6 2x8of10")
CASES: list[tuple[Format, Display, Light]] = [
    (Npz(), SPHERE, Light(65536)),
    (Npz(), ARENA_4, Light(2, threshold=0.5)),
    (Png(), SCREEN, Light(256)),
    (Png(), SCREEN, Light(65536)),
    (Film(), SCREEN, Light(256, gamma=2.2)),
    (Film(), SPHERE, Light(65536)),
    (G4(), ARENA_4, Light(16)),
    (G4(header=1), Arena("G4 3x12"), Light(2, threshold=0.5)),
    (G6(), ARENA_6, Light(16, white=15)),
    (G6(ring_mask=True), ARENA_6, Light(2, threshold=0.4)),
    (Stimpack(), SPHERE, Light(256)),
]
IDS = [f"{made.name}-{display.shape}-{light.levels}" for made, display, light in CASES]


def shown_on(made: Format, display: Display, light: Light, **options) -> list[Shown]:
    timing = Timing(grey_before=0.05, grey_after=0.02, **options)
    rig = Rig(display, light=light, timing=timing, outside="grey")
    return on_rig([noise(12)], rig, made, Protocol(), Order())


def written(tmp_path: Path, *case, **options) -> tuple[Shown, Path]:
    (shown,) = shown_on(*case, **options)
    (path,) = write_session([shown], case[0], tmp_path / "out", Order())
    return shown, path


@pytest.mark.parametrize(("made", "display", "light"), CASES, ids=IDS)
def test_levels_come_back(tmp_path: Path, made: Format, display: Display, light: Light) -> None:
    shown, path = written(tmp_path, made, display, light)
    levels = made.read(path, shown.stimulus.name)
    np.testing.assert_array_equal(levels, shown.levels())
    n_frames = 20 if made.trial_step else 19
    assert levels.shape == (n_frames, *display.shape) and len(np.unique(levels[5:17])) > 1
    # Grey before and after, and as dark or bright as luminance 0.5 is shown.
    grey = int(light.encode(np.float32([0.5]))[0])
    assert (levels[:5] == grey).all() and (levels[17:] == grey).all()


@pytest.mark.parametrize(("made", "display", "light"), CASES, ids=IDS)
def test_a_damaged_file_is_refused(tmp_path: Path, made, display, light) -> None:
    shown, path = written(tmp_path, made, display, light)
    file = next(path.glob("*.png")) if path.is_dir() else path
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadFile):
        levels = made.read(path, shown.stimulus.name)
        # A film that is cut off may have whole frames left, which `seen_back` counts.
        if levels.shape != shown.levels().shape:
            raise BadFile("cut off")
    file.unlink()
    if not path.is_dir():
        with pytest.raises(BadFile):
            made.read(path, shown.stimulus.name)


def test_no_format_executes_what_a_file_says(tmp_path: Path) -> None:
    for made, name in ((Npz(), "a.npz"), (Stimpack(), "a.npy")):
        with open(tmp_path / name, "wb") as file:
            array = np.array([print], dtype=object)
            (np.savez if name.endswith("z") else np.save)(file, array, allow_pickle=True)
        with pytest.raises(BadFile):
            made.read(tmp_path / name, "a")


def test_an_archive_holds_plain_arrays(tmp_path: Path) -> None:
    shown, path = written(tmp_path, *CASES[0])
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    assert arrays["luminance"].dtype == np.float32
    np.testing.assert_array_equal(arrays["luminance"][5:17], shown.stimulus.luminance)
    assert float(arrays["frame_rate"]) == 100
    centre = shown.stimulus.lattice.center
    assert (arrays["azimuth_deg"][centre], arrays["elevation_deg"][centre]) == (0, 0)
    assert (arrays["pixel_row"][centre], arrays["pixel_column"][centre]) == (13, 14.5)


def png_chunks(content: bytes) -> dict[bytes, bytes]:
    """Chunks of a PNG file by their four letters, with their checksums checked."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(content):
        (size,) = struct.unpack(">I", content[at : at + 4])
        body = content[at + 4 : at + 8 + size]
        assert zlib.crc32(body) == struct.unpack(">I", content[at + 8 + size : at + 12 + size])[0]
        chunks[body[:4]] = chunks.get(body[:4], b"") + body[4:]
        at += 12 + size
    return chunks


@pytest.mark.parametrize(("levels", "depth"), [(256, 8), (65536, 16)])
def test_pictures_are_grey_and_without_a_gamma(tmp_path: Path, levels: int, depth: int) -> None:
    _, path = written(tmp_path, Png(), SCREEN, Light(levels))
    assert [p.name for p in sorted(path.iterdir())][::18] == ["frame_0001.png", "frame_0019.png"]
    chunks = png_chunks((path / "frame_0007.png").read_bytes())
    width, height, bits, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (width, height, bits, colour) == (33, 20, depth, 0)
    assert not {b"gAMA", b"sRGB", b"iCCP", b"cHRM"} & set(chunks)


@pytest.mark.parametrize(("levels", "pixels"), [(256, "gray"), (65536, "gray16le")])
def test_films_are_lossless_at_the_refresh(tmp_path: Path, levels: int, pixels: str) -> None:
    _, path = written(tmp_path, Film(), SCREEN, Light(levels), refresh=200)
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        assert stream.codec_context.name == "ffv1" and stream.pix_fmt == pixels
        assert stream.average_rate == Fraction(200)


def test_a_g4_session_is_played_by_a_protocol_of_version_1(tmp_path: Path) -> None:
    _, path = written(tmp_path, G4(), ARENA_4, Light(16))
    assert path == tmp_path / "out" / "patterns" / "pat0001_noise.pat"
    protocol = yaml.safe_load((tmp_path / "out" / "protocol.yaml").read_text())
    assert protocol["version"] == 1 and protocol["experiment_info"]["name"]
    assert protocol["arena_info"] == {"num_rows": 2, "num_cols": 12, "generation": "G4.1"}
    (condition,) = protocol["block"]["conditions"]
    assert condition["commands"] == [
        {
            "type": "controller", "command_name": "startG41Trial", "pattern": "pat0001_noise.pat",
            "pattern_ID": 1, "duration": 0.2, "mode": 2, "frame_index": 1, "frame_rate": 100,
            "gain": 0,
        }
    ]  # fmt: skip
    assert protocol["experiment_structure"]["repetitions"] == 1


def test_g4_finds_patterns_by_their_number(tmp_path: Path) -> None:
    _, path = written(tmp_path, G4(), Arena("G4 3x12"), Light(16))
    assert path == tmp_path / "out" / "Patterns" / "pat0001.pat"


def test_a_g6_session_is_played_by_a_protocol_of_version_3(tmp_path: Path) -> None:
    _, path = written(tmp_path, G6(duty=90), Arena("G6 2x10"), Light(16))
    assert path.name == "001_noise.pat"
    protocol = yaml.safe_load((tmp_path / "out" / "protocol.yaml").read_text())
    assert protocol == {
        "version": 3,
        "experiment_info": {"name": "stimopt"},
        "rig": "./configs/rigs/cshl_g6_2x10.yaml",
        "experiment": ["noise"],
        "conditions": [
            {
                "name": "noise",
                "commands": [
                    {
                        "type": "controller", "command_name": "trialParams", "pattern": "noise",
                        "pattern_ID": 1, "duration": 0.2, "mode": 2, "frame_index": 0,
                        "frame_rate": 100, "gain": 0, "duty": 90,
                    },
                    {"type": "wait", "duration": 0.2},
                ],
            }
        ],
    }  # fmt: skip


def test_the_figure_differs_from_all_its_turns() -> None:
    (drawn,) = figure(Arena("G6 2x10", front=60), 16)
    turns = [drawn[::-1], drawn[:, ::-1], drawn[::-1, ::-1]]
    assert all((drawn != turned).any() for turned in turns)
    upper, lower = drawn[:20], drawn[20:]
    assert upper.sum() > lower.sum() and set(np.unique(drawn)) == {0, 15}
    columns = np.flatnonzero(drawn.any(axis=0))
    assert columns.min() == 50 and columns.max() == 69  # straight ahead is between 59 and 60


def test_a_test_pattern_comes_with_patterns(tmp_path: Path) -> None:
    written(tmp_path, G6(), Arena("G6 2x10", flip="up-down"), Light(16))
    levels = G6().read(tmp_path / "out" / "test_pattern.pat", "")
    np.testing.assert_array_equal(levels[:, ::-1], figure(Arena("G6 2x10"), 16))


@pytest.mark.parametrize(
    ("made", "display", "light", "options", "message"),
    [
        (G4(), SPHERE, Light(16), {}, "an arena of G4 or G4.1"),
        (G6(), Arena("G4 3x12"), Light(16), {}, "an arena of G6"),
        (G4(), ARENA_4, Light(256), {}, "levels of g4"),
        (Film(), SCREEN, Light(16), {}, "levels of film"),
        (Stimpack(), SPHERE, Light(65536), {}, "levels of stimpack"),
        (Stimpack(), SCREEN, Light(256), {}, "a sphere"),
        (Stimpack(), Sphere(azimuth=10), Light(256), {}, "a sphere"),
        (G6(), Arena("G6 2x10"), Light(16), {"refresh": 200}, "panels' refresh of 300 Hz"),
        (G6(panel_hz=250), Arena("G6 2x10"), Light(16), {}, "panels' refresh of 250 Hz"),
        (G4(), ARENA_4, Light(16), {"refresh": 62.5, "resampling": "hold"}, "whole frames in"),
    ],
)
def test_a_rig_that_does_not_fit_is_refused(made, display, light, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        shown_on(made, display, light, **options)


@pytest.mark.parametrize(
    "make", [lambda: G4(header=3), lambda: G4(stretch=-1), lambda: G6(duty=300), lambda: G6(0)]
)
def test_bad_options_are_refused(make) -> None:
    with pytest.raises(ValueError, match=r"expected .*, got .*; "):
        make()


def test_panels_that_refresh_faster_take_a_faster_pattern() -> None:
    (shown,) = shown_on(G6(panel_hz=400), Arena("G6 2x10"), Light(16), refresh=200)
    assert shown.plan.rate == 200 and shown.plan.total % 20 == 0


@pytest.mark.parametrize("flip", ["none", "left-right", "up-down", "rotate180"])
def test_the_pixel_of_a_column_is_that_of_the_file(tmp_path: Path, flip) -> None:
    """However the display is mounted: the pixel named shows the luminance of its column."""
    _, path = written(tmp_path, Npz(), Sphere(width_deg=70, width_px=70, height_px=66, flip=flip),
                      Light(65536))  # fmt: skip
    with np.load(path) as archive:
        rows, columns = archive["pixel_row"], archive["pixel_column"]
        shown = np.isfinite(rows)
        row, column = np.rint(rows[shown]).astype(int), np.rint(columns[shown]).astype(int)
        expected = Light(65536).encode(archive["luminance"][:, shown])
        np.testing.assert_array_equal(archive["pixels"][:, row, column], expected)
    assert shown.sum() == 61


def test_the_figure_stands_straight_ahead_across_the_seam() -> None:
    middle = figure(Arena("G6 2x10", front=100), 16)
    for front in (0, 200):
        seam = figure(Arena("G6 2x10", front=front), 16)
        np.testing.assert_array_equal(seam, np.roll(middle, 100, axis=2))
