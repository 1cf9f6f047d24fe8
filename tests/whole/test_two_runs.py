"""A second run on the same output is refused and touches nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import stimopt
from stimopt.storage.files import only_run_in, only_writer_of
from tests.whole.commandline import (
    Files,
    generate_command,
    optima_command,
    refusal,
    refused,
    render_command,
    search_command,
)

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("command", ["generate", "search", "optima", "render"])
def test_a_second_run_is_refused(
    command: str, files: Files, tmp_path: Path, capsys: Capture
) -> None:
    # A lock belongs to the opened file, so that it excludes a run in this process too.
    out = files.copied("fit", tmp_path)
    store = files.copied("store.h5", tmp_path)
    arguments = {
        "generate": generate_command(out, "--trainer.max_steps=9"),
        "search": search_command(files.store, out, "--model.top_k=2"),
        "optima": optima_command(files.store, out),
        "render": render_command(files.movies, store, "--overwrite=true"),
    }
    with only_writer_of(store) if command == "render" else only_run_in(out):
        refused(arguments[command], capsys, "another run|alone", tmp_path)


@pytest.mark.filterwarnings("ignore:expected a greyer stimulus")  # in two steps there is none
def test_the_optima_respect_a_stage_at_work(files: Files, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    with only_run_in(out / "generate"):
        line = refusal(optima_command(files.store, out), capsys)
        assert "another run is at work" in line and str(out / "generate") in line
        assert not (out / "generate" / "result.h5").exists()
    # Earlier stages are kept.
    assert stimopt.read(out / "search" / "result.h5").kind == "naturalistic"
