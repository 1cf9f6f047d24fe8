"""Every command, killed at any moment and rerun, ends as if it had never been killed.

By default a moment and a write of each command; with `-m slow` twenty moments, every kind of write,
and ten kills in a row.
"""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.whole.commandline import (
    OFTEN,
    Files,
    generate_command,
    optima_command,
    regularize_command,
    render_command,
    search_command,
)
from tests.whole.forked import POINTS, Forks

MOMENTS = 20
# A write of each command by default.
WRITES = {
    "render": "torn .h5",
    "search": "torn .ckpt",
    "regularize": "torn .h5",
    "generate": "torn .ckpt",
    "optima": "torn .h5",
}


def command_of(command: str, files: Files, output: Path) -> list[str]:
    """Commands that write several checkpoints or parts, in a second or two."""
    often = [OFTEN, "--trainer.log_every_n_steps=5"]
    two = ["--model.cell_types=T4c,T5a", "--trainer.max_steps=8", "--pictures_every_n_steps=5"]
    if command == "render":
        return render_command(files.movies, output.with_suffix(".h5"))
    if command == "search":
        return search_command(files.store, output, "--data.batch_size=8", "--model.top_k=3")
    if command == "generate":
        return generate_command(output, *often, *two)
    if command == "regularize":
        return regularize_command(files.search / "result.h5", output, *often, *two)
    steps = ["--generate.max_steps=4", "--regularize.max_steps=4", "--generate.t_stim=0.05"]
    steps += ["--data.batch_size=8"]
    return optima_command(files.store, output, *often, *steps)


@dataclass
class Whole:
    """A command, and what it leaves if it is not killed.

    Args:
        forks: run it.
        argv: the command.
        folder: where its output is.
        expected: everything it wrote.
        seconds: how long it took.
        calls: how often it came to each point at which it can be killed.
    """

    forks: Forks
    argv: list[str]
    folder: Path
    expected: dict[str, Any]
    seconds: float
    calls: dict[str, int]

    def kill(self, **how: Any) -> bool:
        """Run it and kill it; whether it was killed before its end."""
        return self.forks.run(self.argv, **how).status == -signal.SIGKILL

    def start_over(self) -> None:
        """Remove all that runs have left."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()

    def rerun(self) -> None:
        """Run it to its end; the output is bit for bit that of a run that was not killed."""
        self.forks.finish(self.argv)
        found = everything(self.folder)
        assert sorted(found) == sorted(self.expected)
        for name, value in self.expected.items():
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                assert found[name].tobytes() == value.tobytes(), name
            else:
                np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.fixture(scope="module")
def whole_of(
    forks: Forks, files: Files, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Whole]:
    """One run of each command, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("runs")
    wholes: dict[str, Whole] = {}

    def whole_of(command: str) -> Whole:
        if command not in wholes:
            # A folder of its own that can be cleared, with a space and no ASCII.
            output = folder / f"{command} läuft" / "out"
            output.parent.mkdir()
            argv = command_of(command, files, output)
            ended = forks.finish(argv)
            expected = everything(output.parent)
            wholes[command] = Whole(
                forks, argv, output.parent, expected, ended.seconds, ended.answer
            )
        return wholes[command]

    return whole_of


def everything(folder: Path) -> dict[str, Any]:
    """All that HDF5 files and pictures in a folder hold, and the names of other files but logs."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or "events.out" in name or path.name == ".lock":
            continue
        found[name] = path.read_bytes() if path.suffix == ".png" else None
        if path.suffix == ".h5":
            with h5py.File(path) as file:
                add(file, name, found)
    return found


def add(file: h5py.File, name: str, found: dict[str, Any]) -> None:
    def visit(at: str, item: h5py.Group | h5py.Dataset) -> None:
        for key, value in item.attrs.items():
            if not key.startswith(("REFERENCE_LIST", "DIMENSION_LIST")):
                found[f"{name}:{at}@{key}"] = np.asarray(value)
        if isinstance(item, h5py.Dataset):
            found[f"{name}:{at}"] = item[()]

    visit("/", file)
    file.visititems(visit)


@pytest.mark.parametrize("command", WRITES)
def test_killed_at_a_random_moment(command: str, whole_of: Callable[[str], Whole]) -> None:
    whole = whole_of(command)
    whole.start_over()
    whole.kill(after=random.uniform(0.1, 0.8) * whole.seconds)
    whole.rerun()


@pytest.mark.parametrize("command", WRITES)
def test_killed_within_a_write(command: str, whole_of: Callable[[str], Whole]) -> None:
    whole, point = whole_of(command), WRITES[command]
    whole.start_over()
    assert whole.kill(at=(point, random.randint(1, whole.calls[point])))
    whole.rerun()


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("command", WRITES)
def test_killed_at_twenty_random_moments(command: str, whole_of: Callable[[str], Whole]) -> None:
    whole = whole_of(command)
    for i in range(MOMENTS):
        # Spread over the run, some of them in its first tenth.
        moment = (i + random.random()) / MOMENTS * whole.seconds
        whole.start_over()
        # Where it was faster than the whole run and had ended, a little earlier.
        while not whole.kill(after=moment):
            moment *= 0.9
            whole.start_over()
        whole.rerun()


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("command", WRITES)
def test_killed_at_every_kind_of_write(command: str, whole_of: Callable[[str], Whole]) -> None:
    whole = whole_of(command)
    moments = [
        (point, call)
        for point in POINTS
        # The first, the last, and one between.
        for call in sorted({1, (whole.calls[point] + 1) // 2, whole.calls[point]})
        if whole.calls[point]
    ]
    assert len(moments) >= 8
    for moment in moments:
        whole.start_over()
        assert whole.kill(at=moment), moment
        whole.rerun()


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("command", WRITES)
def test_killed_again_and_again(command: str, whole_of: Callable[[str], Whole]) -> None:
    whole = whole_of(command)
    whole.start_over()
    for _ in range(10):
        whole.kill(after=random.uniform(0, 1.2) * whole.seconds)
    whole.rerun()
