"""A second run on the same output says so and touches nothing, whichever command it is."""

from __future__ import annotations

import re
import threading
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from stimopt.cli import main
from stimopt.results import result as results
from stimopt.storage.files import only_run_in, only_writer_of
from tests.whole.commandline import (
    Files,
    contents,
    generate_command,
    refusal,
    regularize_command,
    render_command,
    search_command,
)

Capture = pytest.CaptureFixture[str]
# Two steps are too few to find a greyer stimulus.
pytestmark = pytest.mark.filterwarnings("ignore:expected a greyer stimulus")


def walk_command(store: Path, output: Path) -> list[str]:
    return [
        *("optima", "T4c", "--network.extent=2", f"--data.stores={store}", "--generate.t_stim=0.1"),
        *("--generate.steps=2", "--regularize.steps=2", "--trainer.enable_progress_bar=false"),
        f"--output={output}",
    ]


def command_of(command: str, files: Files, out: Path) -> list[str]:
    return {
        "generate": generate_command(out, "--trainer.max_steps=9"),
        "regularize": regularize_command(files.search / "result.h5", out),
        "search": search_command(files.store, out, "--model.top_k=2"),
        "optima": walk_command(files.store, out),
        "render": render_command(files.movies, out / "store.h5", "--overwrite=true"),
    }[command]


@pytest.mark.parametrize("command", ["generate", "regularize", "search", "optima", "render"])
def test_a_second_run_is_refused(
    command: str, files: Files, tmp_path: Path, capsys: Capture
) -> None:
    # The lock is of the opened file, so that a run in this process is kept out as another's is.
    out = files.copied("fit", tmp_path)
    files.copied("store.h5", out)
    held: AbstractContextManager[object] = only_run_in(out)
    if command == "render":
        held = only_writer_of(out / "store.h5")
    before = contents(tmp_path)
    with held:
        line = refusal(command_of(command, files, out), capsys)
    assert re.match(r"expected .*(alone|another run).* got .*; .*", line), line
    assert {n: h for n, h in contents(tmp_path).items() if not n.endswith(".lock")} == before


def test_a_walk_keeps_out_of_a_stage_at_work(files: Files, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "optima"
    with only_run_in(out / "generate"):
        line = refusal(walk_command(files.store, out), capsys)
        assert "another run is at work" in line and str(out / "generate") in line
        assert not (out / "walk.h5").exists() and not (out / "generate" / "result.h5").exists()
    # What the walk had done before is kept.
    assert results.read(out / "search" / "result.h5").kind == "naturalistic"


def test_of_many_that_start_at_once_one_runs(tmp_path: Path) -> None:
    out, inside, refused = tmp_path / "out", [], []
    begin, end = threading.Barrier(8), threading.Event()

    def start() -> None:
        begin.wait()
        try:
            with only_run_in(out):
                inside.append(1)
                end.wait()
        except ValueError:
            refused.append(1)
            if len(refused) == 7:
                end.set()

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert (len(inside), len(refused)) == (1, 7)


def test_searches_of_one_store_share_it(files: Files, tmp_path: Path) -> None:
    before = files.store.read_bytes()
    for name in ("a", "b"):
        assert main(search_command(files.store, tmp_path / name)) == 0
    assert files.store.read_bytes() == before
