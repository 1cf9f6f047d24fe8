"""Reading stores that are damaged, or made to deceive."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from stimopt.lattice import HexLattice
from stimopt.movies import MovieStore, render
from stimopt.movies.eye import RenderSettings
from tests.movies.cases import ConstantSource, read_all


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    settings = RenderSettings(extent=2)
    return render(ConstantSource(2, 300), tmp_path / "store.h5", settings, progress=False)


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


def link_scene(file: h5py.File) -> None:
    del file["scenes/00000"]
    file["scenes/00000"] = h5py.ExternalLink("elsewhere.h5", "/")


GREY_FRAMES = np.full((30, 19), 0.5, dtype=np.float32)
CHANGES: list[tuple[Callable[[h5py.File], object], str]] = [
    (lambda f: f.attrs.update(schema="other"), "expected a store of schema"),
    (lambda f: f.attrs.update(schema_version=2), "expected a store of schema"),
    (lambda f: f.attrs.update(extent=3), r"\(frames, 37\) for .*got float32 \(300, 19\)"),
    (lambda f: f.attrs.update(extent=-1), "expected extent from 0 to 200"),
    (lambda f: f.attrs.update(extent=10**6), "expected extent from 0 to 200"),
    (lambda f: f.attrs.update(extent="two"), "damaged or foreign"),
    (lambda f: f.attrs.__delitem__("fingerprint"), "damaged or foreign"),
    (lambda f: f["scenes/00001"].attrs.update(frame_rate=np.nan), "expected a frame rate"),
    (lambda f: f["scenes/00001"].attrs.update(frame_rate=0), "expected a frame rate"),
    (lambda f: f["scenes/00001"].attrs.update(frame_rate="fast"), "damaged or foreign"),
    (lambda f: f["scenes/00001"].attrs.update(frame_rate=[1, 2]), "damaged or foreign"),
    (lambda f: f["scenes/00001"].attrs.update(drop_first=-1), "expected drop_first"),
    (lambda f: f.__delitem__("scenes"), "damaged or foreign"),
    (lambda f: [f["scenes"].__delitem__(n) for n in list(f["scenes"])], "expected scenes"),
    (lambda f: f["scenes/00000"].move("view_0", "view_x"), "damaged or foreign"),
    (make_link(h5py.SoftLink("/scenes/00001/view_0")), "got a SoftLink"),
    (link_scene, "got a ExternalLink"),
    (replace_view(data=GREY_FRAMES.astype("f8")), "got float64"),
    (replace_view(data=GREY_FRAMES.astype("i4")), "got int32"),
    (replace_view(data=GREY_FRAMES[:, :7]), r"got float32 \(30, 7\)"),
    (replace_view(data=GREY_FRAMES[0]), r"got float32 \(19,\)"),
    (replace_view(shape=(0, 19), dtype="f4", maxshape=(None, 19)), r"got float32 \(0, 19\)"),
    (replace_view(shape=(10**12, 19), dtype="f4", chunks=(64, 19)), "do not trust this file"),
    (replace_view(shape=(10**6, 19), dtype="f4", chunks=(10**6, 19)), "expected chunks"),
]


@pytest.mark.parametrize(("change", "match"), CHANGES)
def test_rejects_a_file_that_is_no_store_or_leads_elsewhere(
    store_path: Path, change: Callable[[h5py.File], None], match: str
) -> None:
    rewrite(store_path, change)
    with pytest.raises(ValueError, match=rf"(?s)^(?=expected ).*{match}") as raised:
        MovieStore(store_path)
    assert str(store_path) in str(raised.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.01])
def test_rejects_luminance_out_of_range_when_it_is_read(store_path: Path, value: float) -> None:
    def spoil(file: h5py.File) -> None:
        file["scenes/00001/view_1"][250, 3] = value

    with MovieStore(rewrite(store_path, spoil)) as store:
        store.read(3, 0, 250)
        with pytest.raises(ValueError, match=r"expected luminance of scene scene 1 .*in \[0, 1\]"):
            store.read(3, 240, 260)


def test_a_flipped_bit_is_noticed(store_path: Path) -> None:
    data = bytearray(store_path.read_bytes())
    value = np.full(19, 51 / 101, dtype=np.float32).tobytes()  # a frame of scene 0
    at = data.find(value)
    assert at > 0
    data[at + 5] ^= 1
    store_path.write_bytes(data)
    with MovieStore(store_path) as store, pytest.raises(ValueError, match="expected sound frames"):
        read_all(store)


def test_rejects_files_that_are_no_stores(store_path: Path, tmp_path: Path) -> None:
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


def test_rejects_frames_outside_a_scene(store_path: Path) -> None:
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
        ConstantSource(2, 300),
        tmp_path / "o.h5",
        RenderSettings(2),
        dtype="float16",
        progress=False,
    )
    other.replace(store_path)
    with pytest.raises(ValueError, match="it was rendered again meanwhile"):
        store.read(0, 0, 5)
