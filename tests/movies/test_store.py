"""Reading stores that are damaged, or made to deceive."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from stimopt.lattice import HexLattice
from stimopt.movies import MovieSource, MovieStore, Scene, render
from stimopt.movies.eye import RenderSettings


class PlainSource(MovieSource):
    """Two scenes, 300 frames each, of two views on 19 columns, each frame of one value."""

    kind = "test"
    scenes = (Scene("scene 0", 24.0, 300), Scene("scene 1", 24.0, 300))

    def luminance(self, scene: int, settings: RenderSettings) -> Iterator[NDArray[np.float32]]:
        for i in range(300):
            yield np.full((2, 19), ((scene + 1) * (i + 1) % 101) / 101, dtype=np.float32)

    def digests(self, scene: int) -> tuple[str, ...]:
        return ()

    def record(self, settings: RenderSettings) -> dict[str, Any]:
        return {"extent": settings.extent, "views": 2, "drop_first": 0}


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    settings = RenderSettings(extent=2)
    return render(PlainSource(), tmp_path / "store.h5", settings, progress=False)


def rewrite(path: Path, change: Callable[[h5py.File], None]) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def replace_view(**kwargs: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file["scenes/00000/view_0"]
        file["scenes/00000"].create_dataset("view_0", **kwargs)

    return change


def make_link(link: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file["scenes/00000/view_0"]
        file["scenes/00000/view_0"] = link

    return change


def make_virtual(file: h5py.File) -> None:
    del file["scenes/00000/view_0"]
    layout = h5py.VirtualLayout((300, 19), "f4")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "x", (300, 19))
    file["scenes/00000"].create_virtual_dataset("view_0", layout)


def link_scene(file: h5py.File) -> None:
    del file["scenes/00000"]
    file["scenes/00000"] = h5py.ExternalLink("elsewhere.h5", "/")


GREY_FRAMES = np.full((30, 19), 0.5, dtype=np.float32)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f: f.attrs.update(schema="other"), "expected a store of schema"),
        (lambda f: f.attrs.update(schema_version=2), "expected a store of schema"),
        (lambda f: f.attrs.update(extent=3), "chunked float16 or float32"),
        (lambda f: f.attrs.update(extent=-1), "expected extent"),
        (lambda f: f.attrs.update(extent=10**6), "expected extent"),
        (lambda f: f.attrs.update(extent="two"), "expected extent"),
        (lambda f: f.attrs.__delitem__("fingerprint"), "cannot be read as one"),
        (lambda f: f["scenes/00001"].attrs.update(frame_rate=np.nan), "expected a frame rate"),
        (lambda f: f["scenes/00001"].attrs.update(frame_rate=0), "expected a frame rate"),
        (lambda f: f["scenes/00001"].attrs.update(frame_rate="fast"), "cannot be read as one"),
        (lambda f: f["scenes/00001"].attrs.update(frame_rate=[1, 2]), "cannot be read as one"),
        (lambda f: f["scenes/00001"].attrs.update(drop_first=-1), "expected drop_first"),
        (lambda f: f.__delitem__("scenes"), "expected a group scenes"),
        (lambda f: [f["scenes"].__delitem__(n) for n in list(f["scenes"])], "expected scenes"),
        (lambda f: f["scenes/00000"].move("view_0", "view_x"), "cannot be read as one"),
        (make_link(h5py.ExternalLink("elsewhere.h5", "/x")), "got ExternalLink"),
        (make_link(h5py.SoftLink("/scenes/00001/view_0")), "got SoftLink"),
        (link_scene, "got ExternalLink"),
        (make_virtual, "kept in other files"),
        (
            replace_view(shape=(300, 19), dtype="f4", external=[("/etc/passwd", 0, 22800)]),
            "kept in other files",
        ),
        (replace_view(data=GREY_FRAMES.astype("f8")), "dtype float64"),
        (replace_view(data=GREY_FRAMES.astype("i4")), "dtype int32"),
        (replace_view(data=GREY_FRAMES[:, :7]), "shape"),
        (replace_view(data=GREY_FRAMES[0]), "shape"),
        (replace_view(shape=(0, 19), dtype="f4", maxshape=(None, 19)), "shape"),
        (replace_view(shape=(10**12, 19), dtype="f4", chunks=(64, 19)), "fewer bytes"),
        (
            replace_view(shape=(10**7, 19), dtype="f4", chunks=(10**7, 19), compression="gzip"),
            "chunks",
        ),
        (replace_view(data=GREY_FRAMES, compression="lzf"), "unknown filter"),
    ],
)
def test_a_store_that_is_none_or_leads_elsewhere_is_refused(
    store_path: Path, change: Callable[[h5py.File], None], match: str
) -> None:
    rewrite(store_path, change)
    with pytest.raises(ValueError, match=rf"(?s)^expected .*{match}|^{match}"):
        MovieStore(store_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.01])
def test_luminance_out_of_range_is_refused_when_read(store_path: Path, value: float) -> None:
    def spoil(file: h5py.File) -> None:
        file["scenes/00001/view_1"][250, 3] = value

    with MovieStore(rewrite(store_path, spoil)) as store:
        store.read(3, 0, 250)
        with pytest.raises(ValueError, match=r"expected luminance in \[0, 1\] in scene scene 1"):
            store.read(3, 240, 260)
        with pytest.raises(ValueError, match="expected luminance"):
            store.verify()


def test_a_flipped_bit_is_noticed(store_path: Path) -> None:
    data = bytearray(store_path.read_bytes())
    value = np.full(19, 51 / 101, dtype=np.float32).tobytes()  # a frame of scene 0
    at = data.find(value)
    assert at > 0
    data[at + 5] ^= 1
    store_path.write_bytes(data)
    with MovieStore(store_path) as store, pytest.raises(ValueError, match="expected sound frames"):
        store.verify()


def test_files_that_are_no_stores_are_refused(store_path: Path, tmp_path: Path) -> None:
    whole = store_path.read_bytes()
    for name, content in (
        ("cut off.h5", whole[: len(whole) // 2]),
        ("text.h5", b"no store"),
        ("empty.h5", b""),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"expected a movie store in .*{name}"):
            MovieStore(tmp_path / name)
    for path in (tmp_path / "nowhere.h5", tmp_path):
        with pytest.raises(ValueError, match="expected a movie store"):
            MovieStore(path)


def test_frames_outside_a_scene_are_refused(store_path: Path) -> None:
    with MovieStore(store_path) as store:
        for start, stop in ((-1, 5), (5, 5), (290, 301)):
            with pytest.raises(ValueError, match="expected frames within the 300"):
                store.read(0, start, stop)


def test_a_store_can_be_sent_to_another_process(store_path: Path) -> None:
    with MovieStore(store_path) as store:
        before = store.read(1, 10, 20)
        with pickle.loads(pickle.dumps(store)) as sent:
            np.testing.assert_array_equal(sent.read(1, 10, 20), before)
            assert sent.scenes == store.scenes
        store.close()
        np.testing.assert_array_equal(store.read(1, 10, 20), before)
    assert HexLattice(store.extent).n_columns == before.shape[1]


def test_a_store_replaced_between_readings_is_noticed(store_path: Path, tmp_path: Path) -> None:
    store = MovieStore(store_path)
    other = render(
        PlainSource(), tmp_path / "o.h5", RenderSettings(2), dtype="float16", progress=False
    )
    other.replace(store_path)
    with pytest.raises(RuntimeError, match="it was rendered anew meanwhile"):
        store.read(0, 0, 5)
