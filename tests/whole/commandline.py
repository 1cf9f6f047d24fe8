"""Runs commands in this process, and makes small files for them to read."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from stimopt.cli import main

EXTENT = 2
QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
SMALL = [f"--network.extent={EXTENT}", *QUIET]
OFTEN = "--checkpoint_every_n_steps=2"
FORMULA = re.compile(r"(?i)expected .+, got .+; .+", re.DOTALL)
"""What was expected, what came, and the next step."""


class Files:
    """Sound files that commands read, made by stimopt itself.

    Args:
        folder: gets arrays `movies/`, `store.h5` rendered from them, and the output of a search
            over the store in `search/` and of a generation in `fit/`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.movies, self.store = folder / "movies", folder / "store.h5"
        self.search, self.fit = folder / "search", folder / "fit"
        self.movies.mkdir(parents=True)
        random = np.random.default_rng(0)
        for i in range(3):
            frames = random.integers(0, 256, (24, 15, 40), dtype=np.uint8)
            np.save(self.movies / f"scene_{i}.npy", frames)
        assert main(render_command(self.movies, self.store)) == 0
        assert main(search_command(self.store, self.search)) == 0
        assert main(generate_command(self.fit)) == 0

    def copied(self, name: str, to: Path) -> Path:
        """A copy of one of the files or folders, to be damaged."""
        source, copy = self.folder / name, to / Path(name).name
        copier = shutil.copytree if source.is_dir() else shutil.copy
        copier(source, copy)
        return copy


def render_command(movies: Path | str, store: Path, *more: str) -> list[str]:
    """Arguments that render at extent 2."""
    small = [f"--extent={EXTENT}", "--kernel_size=3", "--views=2", "--width_fraction=1"]
    return ["render", str(movies), str(store), *small, "--progress=false", *more]


def search_command(store: Path, output: Path, *more: str) -> list[str]:
    """Arguments that search a store for three cell types."""
    options = [f"--data.stores={store}", f"--output={output}", "--model.cell_types=[Mi1, T4c, T5a]"]
    return ["search", *SMALL, "--checkpoint_every_n_batches=2", *options, *more]


def generate_command(output: Path, *more: str) -> list[str]:
    """Arguments that grow 100 ms of stimulus for T4c in 4 steps, by flyvis's loss."""
    short = [
        "--method=weighted",
        "--model.cell_types=T4c",
        "--model.t_stim=0.1",
        "--trainer.max_steps=4",
    ]
    return ["generate", *SMALL, OFTEN, *short, f"--output={output}", *more]


def regularize_command(result: Path, output: Path, *more: str) -> list[str]:
    """Arguments that regularize the winner of T4c in 4 steps."""
    start = ["--model.cell_types=T4c", f"--model.init=naturalistic:{result}"]
    return [
        "regularize",
        *SMALL,
        OFTEN,
        *start,
        "--trainer.max_steps=4",
        f"--output={output}",
        *more,
    ]


def optima_command(store: Path, output: Path, *more: str) -> list[str]:
    """Arguments that find the three optima of T4c, with 2 steps of each fit."""
    steps = ["--generate.t_stim=0.1", "--generate.max_steps=2", "--regularize.max_steps=2"]
    return ["optima", "T4c", *SMALL, f"--data.stores={store}", *steps, f"--output={output}", *more]


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path; locks are left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock")
    }


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must end with code 2 and one line of error; returns that line."""
    capsys.readouterr()
    code = main(arguments)
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.strip()]
    assert code == 2, f"exit code {code}: {captured.err}{captured.out}"
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"stimopt {arguments[0]}: error: ")
    return lines[0].partition(": error: ")[2]


def refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str], pattern: str, folder: Path
) -> None:
    """Run a command that must be refused in one line, and leave the folder's files as they were.

    A run that was refused while it was set up may leave a log and its config, but no result.
    """
    before = contents(folder)
    line = refusal(arguments, capsys)
    assert re.search(pattern, line), line
    # The parser of options has words of its own.
    assert FORMULA.match(line) or re.match("Parser key|unrecognized|You selected", line), line
    after = contents(folder)
    assert {name: after.get(name) for name in before} == before
    left = [name for name in after.keys() - before.keys() if not name.startswith("out/")]
    assert not left and not [
        n for n in after.keys() - before.keys() if re.search("result|part-", n)
    ]
