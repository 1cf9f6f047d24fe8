"""Sources of frames: each kind gives the same luminance, and hostile or broken files are named."""

from __future__ import annotations

import hashlib
import struct
import zipfile
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from stimopt.movies import MovieSource, open_source
from stimopt.movies.eye import RenderSettings, luminance

SETTINGS = RenderSettings(extent=2, kernel_size=3, views=2, width_fraction=1.0, drop_first=1)
HEIGHT, WIDTH = 24, 48


def film(n_frames: int = 5, seed: int = 0) -> np.ndarray:
    """Colour frames, uint8 `(frames, height, width, 3)`."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n_frames, HEIGHT, WIDTH, 3), dtype=np.uint8)


def save_pictures(folder: Path, frames: np.ndarray, pattern: str = "frame_{:04d}.png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(frames, start=1):
        Image.fromarray(frame).save(folder / pattern.format(i))
    return folder


def save_video(path: Path, frames: np.ndarray, codec: str = "ffv1", pixels: str = "bgr0") -> Path:
    """A video of 25 frames a second; FFV1 keeps every bit."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def pack(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def rendered(source: MovieSource, scene: int = 0) -> np.ndarray:
    return np.stack(list(source.luminance(scene, SETTINGS)), axis=1)


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_every_kind_of_source_gives_the_same_luminance(tmp_path: Path) -> None:
    frames = film()
    expected = luminance(frames[1:], SETTINGS)
    folder = save_pictures(tmp_path / "pictures of a tree äöü 木", frames)
    members = {f"some/where/{p.name}": p.read_bytes() for p in folder.iterdir()}
    np.save(tmp_path / "array é.npy", frames)
    sources = {
        "pictures": folder,
        "packed": pack(tmp_path / "ä b.zip", members),
        "array": tmp_path / "array é.npy",
        "video": save_video(tmp_path / "vidéo 1.mkv", frames),
    }
    for kind, path in sources.items():
        source = open_source(path)
        assert [s.n_frames for s in source.scenes] == [5], kind
        np.testing.assert_array_equal(rendered(source), expected, err_msg=kind)
        assert source.scenes[0].frame_rate == (25.0 if kind == "video" else 24.0)
        assert open_source(path, frame_rate=60).scenes[0].frame_rate == 60.0
        digests = [
            hashlib.sha256(p.read_bytes()).hexdigest()
            for p in (sorted(folder.iterdir()) if kind in ("pictures", "packed") else [path])
        ]
        assert list(source.digests(0)) == digests


def test_array_of_floats_and_of_grey_frames(tmp_path: Path) -> None:
    frames = np.random.default_rng(1).random((4, HEIGHT, WIDTH))
    np.save(tmp_path / "b.npy", frames)
    np.save(tmp_path / "a.npy", np.asfortranarray(frames.astype(np.float32)))
    source = open_source(tmp_path)
    assert [s.name for s in source.scenes] == ["a", "b"]
    for scene in (0, 1):
        np.testing.assert_allclose(
            rendered(source, scene), luminance(frames[1:], SETTINGS), atol=1e-6
        )


def test_sixteen_bits_a_pixel_are_kept(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)
    for suffix in ("png", "tif", "pgm"):
        folder = tmp_path / suffix
        folder.mkdir()
        for i in range(2):
            Image.fromarray(values).save(folder / f"{i}.{suffix}")
        expected = luminance((values / 65535)[None], SETTINGS)
        np.testing.assert_allclose(rendered(open_source(folder)), expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_every_colour_mode_becomes_grey_as_pillow_has_it(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(film(1)[0]).convert(mode)
    suffix = "tif" if mode == "CMYK" else "png"
    for i in range(2):
        picture.save(tmp_path / f"{i}.{suffix}")
    expected = luminance(np.asarray(picture.convert("L"))[None], SETTINGS)
    np.testing.assert_array_equal(rendered(open_source(tmp_path)), expected)


def test_frames_come_in_natural_order_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    frames = film(12)
    for scene in ("take 10", "take 2"):
        save_pictures(tmp_path / scene, frames, "{}.PNG")
    (tmp_path / "take 2" / "._1.PNG").write_bytes(b"a resource fork")
    (tmp_path / "take 2" / "Thumbs.db").write_bytes(b"not a picture")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "empty").mkdir()
    source = open_source(tmp_path)
    assert [s.name for s in source.scenes] == ["take 2", "take 10"]
    assert [f.name for f in source.scenes[0].files] == [f"{i}.PNG" for i in range(1, 13)]
    np.testing.assert_array_equal(rendered(source), luminance(frames[1:], SETTINGS))


@pytest.mark.parametrize("prefix", ["", "MPI-Sintel-complete/"])
def test_only_the_final_pass_of_mpi_sintel_is_taken(tmp_path: Path, prefix: str) -> None:
    root = tmp_path / prefix
    for part in ("training/final/alley_1", "training/final/cave_2", "training/clean/alley_1"):
        save_pictures(root / part, film(3, seed=len(part)))
    save_pictures(root / "test/final/alley_9", film(3))
    members = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in tmp_path.rglob("*.png")}
    members["__MACOSX/training/final/alley_1/frame_0001.png"] = b"a resource fork"
    packed = open_source(pack(tmp_path / "sintel.zip", members))
    folder = open_source(root)
    for source in (packed, folder):
        assert source.kind == "mpi-sintel"
        assert [s.name for s in source.scenes] == ["alley_1", "cave_2"]
    for scene in (0, 1):
        np.testing.assert_array_equal(rendered(packed, scene), rendered(folder, scene))


def test_folders_of_a_zip_that_share_a_name_are_told_apart(tmp_path: Path) -> None:
    picture = (save_pictures(tmp_path / "p", film(1)) / "frame_0001.png").read_bytes()
    path = pack(tmp_path / "two.zip", {"a/left/1.png": picture, "b/left/1.png": picture})
    assert [s.name for s in open_source(path).scenes] == ["a/left", "b/left"]


def test_nothing_is_extracted_from_a_zip(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "p", film(3))
    members = {f"s/{p.name}": p.read_bytes() for p in folder.iterdir()}
    path = pack(tmp_path / "m.zip", members)
    before = sorted(tmp_path.rglob("*"))
    rendered(open_source(path))
    assert sorted(tmp_path.rglob("*")) == before


def broken(what: str) -> Callable[[Path], Path]:
    """How to make a folder whose second of three pictures is broken."""

    def make(tmp_path: Path) -> Path:
        folder = save_pictures(tmp_path / "movie", film(3))
        second = folder / "frame_0002.png"
        whole = second.read_bytes()
        if what == "truncated":
            second.write_bytes(whole[: len(whole) // 2])
        elif what == "empty":
            second.write_bytes(b"")
        elif what == "text":
            second.write_text("not a picture")
        elif what == "flipped":
            second.write_bytes(whole[:900] + bytes([whole[900] ^ 0xFF]) + whole[901:])
        elif what == "bomb":
            second.write_bytes(png_header(60_000, 60_000))
        elif what == "postscript":
            second.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 24\n")
        elif what == "large":
            second.write_bytes(png_header(9_000, 9_000))
        elif what == "other size":
            Image.fromarray(film(1)[0][:, :-2]).save(second)
        elif what == "stack":
            stack = [Image.fromarray(frame) for frame in film(2)]
            stack[0].save(second, save_all=True, append_images=stack[1:])
        return folder

    return make


@pytest.mark.parametrize(
    "what",
    ["truncated", "empty", "text", "flipped", "bomb", "postscript", "large", "other size", "stack"],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_broken_picture_is_named(tmp_path: Path, what: str, packed: bool) -> None:
    path = broken(what)(tmp_path)
    if packed:
        members = {f"movie/{p.name}": p.read_bytes() for p in path.iterdir()}
        path = pack(tmp_path / "movie.zip", members)
    source = open_source(path)
    settings = RenderSettings(2, 3, 2, 1.0, drop_first=0)
    frames = source.luminance(0, settings)
    next(frames)
    with pytest.raises(ValueError, match=r"(?s)expected .*frame_0002\.png"):
        next(frames)


def test_a_picture_too_small_is_named(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path, film(2)[:, :8])
    with pytest.raises(ValueError, match=r"expected frames of at least .*frame_0002\.png"):
        rendered(open_source(folder))


@pytest.mark.parametrize(
    "name", ["../outside.png", "/etc/frame.png", "a/../../b.png", "a\\..\\c.png"]
)
def test_a_zip_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    path = pack(tmp_path / "evil.zip", {"scene/1.png": b"x", name: b"x"})
    with pytest.raises(ValueError, match=r"expected members inside the archive.*evil\.zip"):
        open_source(path)


def test_a_zip_that_declares_more_than_it_can_hold_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "bomb.zip", {f"s/{i}.png": b"x" * 10 for i in range(3)})
    for size, match in ((200_000_000, "bytes declared"), (2**31, "bytes in picture")):
        data = bytearray(path.read_bytes())
        at = data.find(b"PK\x01\x02")
        while at >= 0:  # every entry of the central directory: the unpacked size is at byte 24
            data[at + 24 : at + 28] = struct.pack("<I", size)
            at = data.find(b"PK\x01\x02", at + 4)
        lying = tmp_path / f"lying {size}.zip"
        lying.write_bytes(data)
        with pytest.raises(ValueError, match=f"expected .*{match}"):
            open_source(lying)


def test_encrypted_members_links_and_odd_packings_are_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "plain.zip", {"s/1.png": b"x"})
    data = bytearray(path.read_bytes())
    data[data.find(b"PK\x01\x02") + 8] |= 1  # the flag of encryption
    locked = tmp_path / "locked.zip"
    locked.write_bytes(data)
    with pytest.raises(ValueError, match="encrypted"):
        open_source(locked)
    with pytest.raises(ValueError, match="another packing"):
        open_source(pack(tmp_path / "lzma.zip", {"s/1.png": b"x"}, zipfile.ZIP_LZMA))
    link = zipfile.ZipInfo("s/1.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ValueError, match="link"):
        open_source(tmp_path / "link.zip")


def test_damaged_zips_are_named(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "p", film(3))
    members = {f"s/{p.name}": p.read_bytes() for p in folder.iterdir()}
    path = pack(tmp_path / "m.zip", members, zipfile.ZIP_STORED)
    whole = path.read_bytes()
    cut_off, flipped = tmp_path / "cut off.zip", tmp_path / "flipped.zip"
    cut_off.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"expected a zip file, got .*cut off\.zip"):
        open_source(cut_off)
    at = whole.find(b"IDAT") + 100
    flipped.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
    with pytest.raises(ValueError, match=r"expected a sound member .*flipped\.zip"):
        open_source(flipped).digests(0)
    with pytest.raises(ValueError, match="expected pictures"):
        open_source(pack(tmp_path / "none.zip", {"readme.txt": b"x"}))


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.array([None, {}], dtype=object), "expected a NumPy array"),
        (np.zeros((2, 3)), "expected uint8 or floating"),
        (np.zeros((2, HEIGHT, WIDTH, 4), dtype=np.uint8), "expected uint8 or floating"),
        (np.zeros((2, HEIGHT, WIDTH), dtype=np.int64), "expected uint8 or floating"),
        (np.full((2, HEIGHT, WIDTH), np.nan), r"in \[0, 1\].*frame 1 of .*bad\.npy"),
        (np.full((2, HEIGHT, WIDTH), 255.0), r"in \[0, 1\].*frame 1 of .*bad\.npy"),
    ],
)
def test_arrays_that_are_no_frames_are_refused(
    tmp_path: Path, array: np.ndarray, match: str
) -> None:
    np.save(tmp_path / "bad.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=match):
        rendered(open_source(tmp_path / "bad.npy"))


def test_damaged_arrays_are_named(tmp_path: Path) -> None:
    path = tmp_path / "short.npy"
    np.save(path, film(3))
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:4], b"", b"PK\x03\x04" + whole):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"expected a NumPy array in .*short\.npy"):
            open_source(path)


@pytest.mark.parametrize(("suffix", "codec"), [("avi", "mpeg4"), ("mp4", "mpeg4"), ("mkv", "ffv1")])
def test_a_video_cut_off_is_named(tmp_path: Path, suffix: str, codec: str) -> None:
    pixels = "bgr0" if codec == "ffv1" else "yuv420p"
    path = save_video(tmp_path / f"cut off.{suffix}", film(40), codec, pixels)
    assert rendered(open_source(path)).shape[1] == 39
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=rf"expected .*cut off\.{suffix}"):
        rendered(open_source(path))


@pytest.mark.parametrize(
    "content",
    [
        b"no video",
        b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    ],
)
def test_playlists_and_other_files_are_no_videos(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list.ts"
    path.write_bytes(content * 50)
    with pytest.raises(ValueError, match=r"expected a video.*list\.ts"):
        open_source(path)


def test_a_video_of_uneven_frames_is_pointed_out(tmp_path: Path) -> None:
    path = tmp_path / "uneven.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(25))
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "bgr0"
        stream.codec_context.time_base = Fraction(1, 25)
        for i, pixels in enumerate(film(10)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = i if i < 5 else i + 20, Fraction(1, 25)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    with pytest.warns(UserWarning, match=r"uneven\.mkv is off the average frame rate"):
        rendered(open_source(path))


def test_paths_that_are_no_movies_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no movie")
    picture = save_pictures(tmp_path / "p", film(2)) / "frame_0001.png"
    for path, match in (
        (tmp_path / "nowhere", "which is not there"),
        (tmp_path / "notes.txt", "expected movies in"),
        (picture, "expected a folder of numbered pictures"),
    ):
        with pytest.raises(ValueError, match=match):
            open_source(path)
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="expected movies in"):
        open_source(tmp_path / "none")
    np.save(tmp_path / "a.npy", film(2))
    with pytest.raises(ValueError, match="expected one kind of movies"):
        open_source(tmp_path)
    with pytest.raises(ValueError, match="expected no frame rate for the built-in"):
        open_source("procedural", frame_rate=24)


@pytest.mark.parametrize("rate", [0, -24, float("nan"), float("inf"), True, "24"])
def test_an_impossible_frame_rate_is_refused(tmp_path: Path, rate: float) -> None:
    folder = save_pictures(tmp_path / "p", film(2))
    np.save(tmp_path / "a.npy", film(2))
    for path in (folder, tmp_path / "a.npy"):
        with pytest.raises(ValueError, match="expected a frame rate"):
            open_source(path, frame_rate=rate)
