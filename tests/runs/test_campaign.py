"""Chunks: planned, run once, whole or absent, resumed, and shared by processes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from stimopt.runs.campaign import Chunk, claim, plan_chunks, run_chunks, standing_alone
from stimopt.storage.identity import DifferentRun

NAMES = ["flow/0000/000", "flow/0000/001", "flow/0000/002"]


def items(chunks: list[Chunk]) -> list[tuple[str, int, int]]:
    return [item for c in chunks for item in itertools.product(c.cell_types, c.networks, c.seeds)]


@settings(max_examples=50, deadline=None)
@given(
    n_types=st.integers(1, 7),
    networks=st.sampled_from([[0], [2, 0], [0, 1, 2]]),
    n_seeds=st.integers(1, 4),
    size=st.integers(1, 9),
)
def test_chunks_have_every_item_once(
    n_types: int, networks: list[int], n_seeds: int, size: int
) -> None:
    types, seeds = [f"T{i}" for i in range(n_types)], list(range(n_seeds))
    chunks = plan_chunks(types, networks, seeds, NAMES, size)
    every = list(itertools.product(types, networks, seeds))
    assert sorted(items(chunks)) == sorted(every) and len(items(chunks)) == len(every)
    for chunk in chunks:
        assert len(chunk.networks) == 1 and len(items([chunk])) <= size
    assert len({chunk.name.lower() for chunk in chunks}) == len(chunks)
    assert all("/" not in chunk.name and " " not in chunk.name for chunk in chunks)


def test_networks_that_are_pooled_stay_together() -> None:
    chunks = plan_chunks(["A", "B"], [0, 2], [0], NAMES, 1, pooled=True)
    assert [(c.cell_types, c.networks) for c in chunks] == [(("A",), (0, 2)), (("B",), (0, 2))]


def test_a_chunk_has_an_item() -> None:
    with pytest.raises(ValueError, match="items_per_chunk as a whole number >= 1"):
        plan_chunks(["A"], [0], [0], NAMES, 0)


CHUNKS = plan_chunks(["A", "B", "C"], [0], [0], NAMES, 1)


class Runs:
    """Writes a file for each chunk; ends where it is told to, as a killed process does."""

    def __init__(self, ends_at: str | None = None) -> None:
        self.ends_at, self.ran = ends_at, list[str]()

    def __call__(self, chunk: Chunk, folder: Path) -> None:
        self.ran.append(chunk.name)
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        begun = len(list(folder.glob("part-*")))
        (folder / f"part-{begun}").touch()
        if chunk.name == self.ends_at:
            raise KeyboardInterrupt


def test_chunks_are_whole_or_absent_and_run_once(tmp_path: Path) -> None:
    first = Runs(ends_at=CHUNKS[1].name)
    with pytest.raises(KeyboardInterrupt):
        run_chunks(tmp_path, CHUNKS, first)
    assert [path.name for path in (tmp_path / "chunks").iterdir()] == [CHUNKS[0].name]
    again = Runs()
    assert run_chunks(tmp_path, CHUNKS, again)
    assert again.ran == [CHUNKS[1].name, CHUNKS[2].name]
    # It resumed where the first had stopped, and a whole chunk needs no checkpoint.
    parts = [sorted(p.name for p in (tmp_path / "chunks" / c.name).iterdir()) for c in CHUNKS]
    assert parts == [["part-0"], ["part-0", "part-1"], ["part-0"]]
    assert run_chunks(tmp_path, CHUNKS, Runs(ends_at=CHUNKS[0].name))


def test_a_chunk_that_fails_does_not_keep_others_from_running(tmp_path: Path) -> None:
    ran = []

    def run(chunk: Chunk, folder: Path) -> None:
        ran.append(chunk.name)
        if chunk.name == CHUNKS[0].name:
            raise ValueError("expected light, got none; open a window")
        folder.mkdir(parents=True)

    with pytest.raises(ValueError, match=f"1 that failed, the first {CHUNKS[0].name} .*light"):
        run_chunks(tmp_path, CHUNKS, run)
    assert ran == [chunk.name for chunk in CHUNKS]
    # What is left is tried again.
    assert run_chunks(tmp_path, CHUNKS, Runs())


def test_a_chunk_that_another_process_works_on_is_left_to_it(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    run = Runs()
    with FileLock(tmp_path / "locks" / f"{CHUNKS[0].name}.lock"):
        assert not run_chunks(tmp_path, CHUNKS, run)
    assert run.ran == [CHUNKS[1].name, CHUNKS[2].name]
    assert run_chunks(tmp_path, CHUNKS, run) and run.ran[-1] == CHUNKS[0].name


def test_the_time_left_follows_from_the_chunks_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = itertools.count(0, 60)  # A minute for each chunk.
    monkeypatch.setattr("stimopt.runs.campaign.time.monotonic", lambda: next(clock))
    run_chunks(tmp_path, CHUNKS, Runs())
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"chunk 1 of 3, {CHUNKS[0].name}; 0 done"
    # One was done in two minutes of the clock, then two in three.
    assert lines[1].endswith("1 done, about 0:04:00 left")
    assert lines[2].endswith("2 done, about 0:01:30 left")


SETTINGS: dict[str, Any] = {"network_hash": "abc", "cell_types": ["A"], "protocol.dt": 0.01}


def test_a_folder_belongs_to_one_campaign(tmp_path: Path) -> None:
    for _ in range(2):
        claim(tmp_path, SETTINGS, CHUNKS)
    for name, value in (("network_hash", "other"), ("cell_types", ["A", "B"]), ("seeds", [0])):
        with pytest.raises(DifferentRun, match=rf"expected {name} = .*another output folder"):
            claim(tmp_path, {**SETTINGS, name: value}, CHUNKS)


def test_a_function_among_the_settings_is_the_same_in_every_process(tmp_path: Path) -> None:
    def adam(value: int) -> Callable[[], int]:
        def made() -> int:
            return value

        return made

    one, other = adam(1), adam(2)  # One name at two addresses, as in two processes.
    claim(tmp_path, {**SETTINGS, "model.optimizer": one}, CHUNKS)
    claim(tmp_path, {**SETTINGS, "model.optimizer": other}, CHUNKS)
    with pytest.raises(DifferentRun, match=r"expected model\.optimizer = "):
        claim(tmp_path, {**SETTINGS, "model.optimizer": adam}, CHUNKS)


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "result.h5").touch()
    with pytest.raises(ValueError, match=r"a campaign in .*, got result\.h5 of another run"):
        claim(tmp_path, SETTINGS, CHUNKS)
    assert not (tmp_path / "campaign.json").exists()


def test_the_environment_of_torchrun_and_slurm_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "3"), ("LOCAL_RANK", "1"), ("SLURM_NTASKS", "4"), ("MINE", "x")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    before = dict(os.environ)
    with standing_alone():
        assert not {"RANK", "LOCAL_RANK", "SLURM_NTASKS"} & os.environ.keys()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "5" and os.environ["MINE"] == "x"
    assert dict(os.environ) == before
