"""Running commands in this process, and small files for them to read."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from stimopt.cli import main

EXTENT = 2
QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
LATTICE = [f"--network.extent={EXTENT}"]


@dataclass(frozen=True)
class Files:
    """Sound files that commands read, each made by stimopt itself.

    Args:
        folder: of all of them.
    """

    folder: Path

    @property
    def store(self) -> Path:
        """Three scenes of noise, extent 2."""
        return self.folder / "store.h5"

    @property
    def movies(self) -> Path:
        """What the store was rendered from: arrays."""
        return self.folder / "movies"

    @property
    def search(self) -> Path:
        """Output of `search` over the store."""
        return self.folder / "search"

    @property
    def fit(self) -> Path:
        """Output of `generate`."""
        return self.folder / "fit"

    def copied(self, name: str, to: Path) -> Path:
        """A copy of one of the files or folders, to be damaged."""
        source, copy = self.folder / name, to / Path(name).name
        if source.is_dir():
            shutil.copytree(source, copy)
        else:
            shutil.copy(source, copy)
        return copy


def make_files(folder: Path) -> Files:
    """Run render, search and generate once."""
    files = Files(folder)
    files.movies.mkdir(parents=True)
    random = np.random.default_rng(0)
    for i in range(3):
        frames = random.integers(0, 256, (24, 15, 40), dtype=np.uint8)
        np.save(files.movies / f"scene_{i}.npy", frames)
    assert main(render_command(files.movies, files.store)) == 0
    assert main(search_command(files.store, files.search)) == 0
    assert main(generate_command(files.fit)) == 0
    return files


def render_command(movies: Path | str, store: Path, *more: str) -> list[str]:
    """Arguments that render at extent 2."""
    small = [f"--extent={EXTENT}", "--kernel_size=3", "--views=2", "--width_fraction=1"]
    return ["render", str(movies), str(store), *small, "--progress=false", *more]


def search_command(store: Path, output: Path, *more: str) -> list[str]:
    """Arguments that search a store for three cell types."""
    options = [f"--data.stores={store}", f"--output={output}", "--model.cell_types=[Mi1, T4c, T5a]"]
    return ["search", *LATTICE, *QUIET, "--checkpoint_every=2", *options, *more]


def generate_command(output: Path, *more: str) -> list[str]:
    """Arguments that grow 100 ms of stimulus for T4c in 4 steps."""
    steps = ["--trainer.max_steps=4", "--checkpoint_every=2", "--pictures_every=50"]
    short = ["--model.cell_types=T4c", "--model.t_stim=0.1"]
    return ["generate", *LATTICE, *QUIET, *steps, *short, f"--output={output}", *more]


def regularize_command(result: Path, output: Path, *more: str) -> list[str]:
    """Arguments that regularize the winner of T4c in 4 steps."""
    steps = ["--trainer.max_steps=4", "--checkpoint_every=2", "--pictures_every=50"]
    start = ["--model.cell_types=T4c", f"--model.init=naturalistic:{result}"]
    return ["regularize", *LATTICE, *QUIET, *steps, *start, f"--output={output}", *more]


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path; locks are left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must end with code 2 and one line of error; gives that line."""
    capsys.readouterr()
    code = main(arguments)
    captured = capsys.readouterr()
    said = [line for line in captured.err.splitlines() if line.strip()]
    assert code == 2, f"exit code {code}, said: {captured.err}{captured.out}"
    assert len(said) == 1, said
    assert said[0].startswith(f"stimopt {arguments[0]}: error: ")
    return said[0].partition(": error: ")[2]
