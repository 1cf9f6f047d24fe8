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
from tests.movies.cases import SMALL, noise_frames, save_pictures

HEIGHT, WIDTH = 24, 48
UNTURNED = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
"""The matrix of an MP4 track that is shown as it is stored."""


def film(n_frames: int = 5, seed: int = 0) -> np.ndarray:
    return noise_frames(n_frames, seed, colours=True)


def save_video(
    path: Path,
    frames: np.ndarray,
    codec: str = "ffv1",
    pixels: str = "bgr0",
    times: Callable[[int], int] = lambda i: i,
) -> Path:
    """A video of 25 frames a second; FFV1 preserves every bit."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
        stream.codec_context.time_base = Fraction(1, 25)
        for i, values in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(values, format="rgb24")
            frame.pts, frame.time_base = times(i), Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def pack(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def pack_folder(path: Path, folder: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    return pack(path, {f"s/{p.name}": p.read_bytes() for p in folder.iterdir()}, method)


def rendered(source: MovieSource, scene: int = 0) -> np.ndarray:
    return np.stack(list(source.luminance(scene, SMALL)), axis=1)


def test_every_kind_of_source_gives_the_same_luminance(tmp_path: Path) -> None:
    frames = film()
    expected = luminance(frames[1:], SMALL)
    folder = save_pictures(tmp_path / "pictures of a tree äöü 木", frames)
    np.save(tmp_path / "array é.npy", frames)
    sources = {
        "pictures": folder,
        "packed": pack_folder(tmp_path / "ä b.zip", folder),
        "array": tmp_path / "array é.npy",
        "video": save_video(tmp_path / "vidéo 1.mkv", frames),
    }
    before = sorted(tmp_path.rglob("*"))
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
    assert sorted(tmp_path.rglob("*")) == before, "nothing is extracted"


def test_arrays_of_floats_and_of_grey_frames(tmp_path: Path) -> None:
    frames = np.random.default_rng(1).random((4, HEIGHT, WIDTH))
    np.save(tmp_path / "b.npy", frames)
    np.save(tmp_path / "a.npy", np.asfortranarray(frames.astype(np.float32)))
    source = open_source(tmp_path)
    assert [s.name for s in source.scenes] == ["a", "b"]
    for scene in (0, 1):
        np.testing.assert_allclose(rendered(source, scene), luminance(frames[1:], SMALL), atol=1e-6)


def test_sixteen_bits_a_pixel_are_preserved(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)
    expected = luminance((values / 65535)[None], SMALL)
    for suffix in ("png", "tif", "pgm"):
        folder = save_pictures(tmp_path / suffix, [values] * 2, "{}." + suffix)
        np.testing.assert_allclose(rendered(open_source(folder)), expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_every_colour_mode_becomes_grey_as_in_pillow(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(film(1)[0]).convert(mode)
    suffix = "tif" if mode == "CMYK" else "png"
    for i in range(2):
        picture.save(tmp_path / f"{i}.{suffix}")
    expected = luminance(np.asarray(picture.convert("L"))[None], SMALL)
    np.testing.assert_array_equal(rendered(open_source(tmp_path)), expected)


def test_a_picture_that_says_how_it_was_held_is_turned_upright(tmp_path: Path) -> None:
    """Cameras store what the sensor saw, and orientation 6: turn it clockwise."""
    upright = film(2).repeat(2, axis=1)  # 48 x 48 pixels
    exif = Image.Exif()
    exif[0x0112] = 6
    for i, frame in enumerate(upright):
        Image.fromarray(np.rot90(frame)).save(tmp_path / f"{i}.png", exif=exif)
    np.testing.assert_array_equal(rendered(open_source(tmp_path)), luminance(upright[1:], SMALL))


def test_a_video_that_says_how_it_was_held_is_turned_upright(tmp_path: Path) -> None:
    """Its matrix (ISO 14496-12) sends what is to the right down: a turn clockwise."""
    path = save_video(tmp_path / "phone.mp4", film(3).repeat(3, axis=1), "mpeg4", "yuv420p")
    with av.open(str(path)) as container:
        stored = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
    content = path.read_bytes()
    at = content.index(struct.pack(">9i", *UNTURNED), content.index(b"tkhd"))
    turned = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content[:at] + turned + content[at + 36 :])
    upright = np.rot90(stored, -1, axes=(1, 2))
    np.testing.assert_array_equal(rendered(open_source(path)), luminance(upright[1:], SMALL))


def test_frames_come_in_natural_order_without_hidden_files(tmp_path: Path) -> None:
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
    np.testing.assert_array_equal(rendered(source), luminance(frames[1:], SMALL))


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


def test_sintel_is_found_where_flyvis_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYVIS_ROOT_DIR", str(tmp_path / "flyvis"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="flyvis/SintelDataSet"):
        open_source("sintel")
    save_pictures(tmp_path / "flyvis/SintelDataSet/training/final/alley_1", film(3))
    for name in ("sintel", "MPI-Sintel"):
        assert [scene.name for scene in open_source(name).scenes] == ["alley_1"]
    # A folder of that name comes first.
    save_pictures(tmp_path / "sintel", film(2))
    assert [scene.name for scene in open_source("sintel").scenes] == ["sintel"]


def test_folders_of_a_zip_that_share_a_name_are_distinguished(tmp_path: Path) -> None:
    picture = (save_pictures(tmp_path / "p", film(1)) / "frame_0001.png").read_bytes()
    path = pack(tmp_path / "two.zip", {"a/left/1.png": picture, "b/left/1.png": picture})
    assert [s.name for s in open_source(path).scenes] == ["a/left", "b/left"]


# -- files that are broken or made to deceive ------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and contains next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        length, checksum = struct.pack(">I", len(data)), struct.pack(">I", zlib.crc32(kind + data))
        return length + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def save_stack(path: Path) -> None:
    first, second = (Image.fromarray(frame) for frame in film(2))
    first.save(path, save_all=True, append_images=[second])


def rewritten(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


BROKEN: dict[str, Callable[[Path], object]] = {
    "truncated": rewritten(lambda whole: whole[: len(whole) // 2]),
    "empty": rewritten(lambda _: b""),
    "text": rewritten(lambda _: b"not a picture"),
    "flipped": rewritten(lambda whole: whole[:900] + bytes([whole[900] ^ 0xFF]) + whole[901:]),
    "postscript": rewritten(lambda _: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 24\n"),
    "bomb": rewritten(lambda _: png_header(60_000, 60_000)),
    "large": rewritten(lambda _: png_header(9_000, 9_000)),
    "other size": lambda path: Image.fromarray(film(1)[0][:, :-2]).save(path),
    "stack": save_stack,
    "too small": lambda path: Image.fromarray(film(1)[0][:8]).save(path),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_picture_is_named(tmp_path: Path, kind: str) -> None:
    folder = save_pictures(tmp_path / "movie", film(3))
    BROKEN[kind](folder / "frame_0002.png")
    settings = RenderSettings(2, 3, 2, 1.0, drop_first=0)
    for path in (folder, pack_folder(tmp_path / "movie.zip", folder)):
        frames = open_source(path).luminance(0, settings)
        next(frames)
        with pytest.raises(ValueError, match=r"(?s)expected .*frame_0002\.png"):
            next(frames)


def test_rejects_a_zip_with_names_that_lead_outside(tmp_path: Path) -> None:
    for name in ("../outside.png", "/etc/frame.png", "a/../../b.png", "a\\..\\c.png"):
        path = pack(tmp_path / "evil.zip", {"scene/1.png": b"x", name: b"x"})
        with pytest.raises(ValueError, match=r"pictures inside the archive.*evil\.zip"):
            open_source(path)


def test_rejects_a_zip_that_declares_more_than_it_can_contain(tmp_path: Path) -> None:
    path = pack(tmp_path / "bomb.zip", {f"s/{i}.png": b"x" * 10 for i in range(3)})
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    while at >= 0:  # every entry of the central directory: the unpacked size is at byte 24
        data[at + 24 : at + 28] = struct.pack("<I", 200_000_000)
        at = data.find(b"PK\x01\x02", at + 4)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="would unpack to 600000000"):
        open_source(path)


def test_rejects_encrypted_members_links_and_odd_packings(tmp_path: Path) -> None:
    path = pack(tmp_path / "plain.zip", {"s/1.png": b"x"})
    data = bytearray(path.read_bytes())
    data[data.find(b"PK\x01\x02") + 8] |= 1  # the flag of encryption
    path.write_bytes(data)
    with pytest.raises(ValueError, match="encrypted"):
        open_source(path)
    with pytest.raises(ValueError, match="another packing"):
        open_source(pack(tmp_path / "lzma.zip", {"s/1.png": b"x"}, zipfile.ZIP_LZMA))
    link = zipfile.ZipInfo("s/1.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ValueError, match="a link"):
        open_source(tmp_path / "link.zip")


def test_damaged_zips_are_named(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "p", film(3))
    whole = pack_folder(tmp_path / "m.zip", folder, zipfile.ZIP_STORED).read_bytes()
    cut_off, flipped = tmp_path / "cut off.zip", tmp_path / "flipped.zip"
    cut_off.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"expected a zip file in .*cut off\.zip"):
        open_source(cut_off)
    at = whole.find(b"IDAT") + 100
    flipped.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
    with pytest.raises(ValueError, match=r"expected a sound s/.*\.png in .*flipped\.zip"):
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
def test_rejects_arrays_that_are_no_frames(tmp_path: Path, array: np.ndarray, match: str) -> None:
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
def test_a_truncated_video_is_named(tmp_path: Path, suffix: str, codec: str) -> None:
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
def test_rejects_playlists_and_other_files_as_videos(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list.ts"
    path.write_bytes(content * 50)
    with pytest.raises(ValueError, match=r"expected a video.*list\.ts"):
        open_source(path)


def test_warns_of_a_video_with_uneven_frames(tmp_path: Path) -> None:
    path = save_video(tmp_path / "uneven.mkv", film(10), times=lambda i: i if i < 5 else i + 20)
    with pytest.warns(UserWarning, match=r"uneven\.mkv is off the average frame rate"):
        rendered(open_source(path))


def test_rejects_paths_that_are_no_movies(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no movie")
    picture = save_pictures(tmp_path / "p", film(2)) / "frame_0001.png"
    (tmp_path / "none").mkdir()
    for path, match in (
        (tmp_path / "nowhere", "nothing is at .*nowhere"),
        (tmp_path / "notes.txt", "expected movies in .* convert them to one of these"),
        (picture, "expected a folder of numbered pictures.* save a stack of pictures as .npy"),
        (tmp_path / "none", "expected movies in"),
    ):
        with pytest.raises(ValueError, match=match):
            open_source(path)
    np.save(tmp_path / "a.npy", film(2))
    with pytest.raises(ValueError, match="expected one kind of movies"):
        open_source(tmp_path)
    with pytest.raises(ValueError, match="expected no frame rate for the built-in"):
        open_source("procedural", frame_rate=24)


@pytest.mark.parametrize("rate", [0, -24, float("nan"), float("inf"), True, "24"])
def test_rejects_an_impossible_frame_rate(tmp_path: Path, rate: float) -> None:
    folder = save_pictures(tmp_path / "p", film(2))
    np.save(tmp_path / "a.npy", film(2))
    for path in (folder, tmp_path / "a.npy"):
        with pytest.raises(ValueError, match="expected a finite frame rate"):
            open_source(path, frame_rate=rate)
