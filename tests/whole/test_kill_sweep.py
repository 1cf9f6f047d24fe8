"""Every command, killed at any moment and given again, ends as if it had never been killed.

By default a few moments for each command; with `-m slow` twenty at random times and every point at
which a file is written.
"""

from __future__ import annotations

import random
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.whole.commandline import (
    Files,
    generate_command,
    regularize_command,
    render_command,
    search_command,
)
from tests.whole.forking import POINTS
from tests.whole.server import Server

COMMANDS = ("render", "search", "regularize", "generate", "optima")
MOMENTS = 20
"""Random moments for each command with `-m slow`."""


@dataclass
class Whole:
    """A run that was left alone.

    Args:
        argv: the command.
        folder: where its output is.
        held: everything it found.
        seconds: how long it took.
        calls: how often it came to each point at which it can be killed.
    """

    argv: list[str]
    folder: Path
    held: dict[str, Any]
    seconds: float
    calls: dict[str, int]


@pytest.fixture(scope="module")
def wholes(
    server: Server, files: Files, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Whole]:
    """One run of each command, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("runs")

    class Made(dict[str, Whole]):
        def __missing__(self, command: str) -> Whole:
            # A folder of its own, with a space and no ASCII, that can be cleared.
            output = folder / f"{command} läuft" / "out"
            argv = command_of(command, files, output)
            shutil.rmtree(output.parent, ignore_errors=True)
            output.parent.mkdir(parents=True)
            answer = server.finish(argv)
            held = everything(output.parent)
            self[command] = Whole(argv, output.parent, held, answer["seconds"], answer["calls"])
            return self[command]

    return Made()


def command_of(command: str, files: Files, output: Path) -> list[str]:
    """Commands that write several checkpoints or parts, in a second or two."""
    often = ["--checkpoint_every=2", "--trainer.log_every_n_steps=5"]
    if command == "render":
        return render_command(files.movies, output.with_suffix(".h5"))
    if command == "search":
        return search_command(files.store, output, "--data.batch_size=8", "--model.top_k=3")
    if command == "generate":
        more = ["--model.cell_types=T4c,T5a", "--trainer.max_steps=12", "--pictures_every=5"]
        return generate_command(output, *often, *more)
    if command == "regularize":
        more = ["--model.cell_types=T4c,T5a", "--trainer.max_steps=12", "--pictures_every=6"]
        return regularize_command(files.search / "result.h5", output, *often, *more)
    return [
        *("optima", "T4c", "--network.extent=2", f"--data.stores={files.store}", *often),
        *("--generate.t_stim=0.1", "--generate.steps=6", "--regularize.steps=6"),
        *("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"),
        *("--data.batch_size=8", f"--output={output}"),
    ]


def everything(folder: Path) -> dict[str, Any]:
    """All that HDF5 files below a folder hold, and the names of all files but logs of events."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        if "events.out" in name or path.name == ".lock":
            continue
        found[name] = None
        if path.suffix == ".h5":
            with h5py.File(path) as file:
                add(file, name, found)
        elif path.suffix == ".png":
            found[name] = path.read_bytes()
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


def require_same(whole: Whole) -> None:
    """The output is bit for bit that of the run that was left alone."""
    held = everything(whole.folder)
    assert sorted(held) == sorted(whole.held)
    for name, value in whole.held.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            assert held[name].tobytes() == value.tobytes(), name
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(held[name], value, err_msg=name)
        else:
            assert held[name] == value, name


def begin_anew(whole: Whole) -> None:
    shutil.rmtree(whole.folder)
    whole.folder.mkdir()


@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_a_random_moment(command: str, server: Server, wholes: dict[str, Whole]) -> None:
    whole = wholes[command]
    begin_anew(whole)
    killed = server.run(whole.argv, after=random.uniform(0.1, 0.8) * whole.seconds)
    assert killed["status"] in (-signal.SIGKILL, 0)
    server.finish(whole.argv)
    require_same(whole)


WRITES = [
    ("render", "torn .h5"),
    ("search", "torn .ckpt"),
    ("regularize", "torn .h5"),
    ("generate", "torn .ckpt"),
    ("optima", "torn .h5"),
]


@pytest.mark.parametrize(("command", "point"), WRITES)
def test_killed_within_a_write(
    command: str, point: str, server: Server, wholes: dict[str, Whole]
) -> None:
    whole = wholes[command]
    begin_anew(whole)
    call = random.randint(1, whole.calls[point])
    assert server.run(whole.argv, at=[point, call])["status"] == -signal.SIGKILL
    server.finish(whole.argv)
    require_same(whole)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_twenty_random_moments(
    command: str, server: Server, wholes: dict[str, Whole]
) -> None:
    whole = wholes[command]
    moments = []
    for i in range(MOMENTS):
        # Spread over the run, some of them in its first tenth.
        moment = (i + random.random()) / MOMENTS * whole.seconds
        begin_anew(whole)
        # Where it was faster than the whole run and had ended, a little earlier.
        while server.run(whole.argv, after=moment)["status"] != -signal.SIGKILL:
            moment *= 0.9
            begin_anew(whole)
        server.finish(whole.argv)
        require_same(whole)
        moments.append(moment)
    print(f"{command}: killed at {', '.join(f'{m:.2f}' for m in moments)} s")


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_every_kind_of_write(
    command: str, server: Server, wholes: dict[str, Whole]
) -> None:
    whole = wholes[command]
    moments = [
        (point, call)
        for point in POINTS
        # The first, the last, and one between.
        for call in sorted({1, (whole.calls[point] + 1) // 2, whole.calls[point]})
        if whole.calls[point]
    ]
    for point, call in moments:
        begin_anew(whole)
        assert server.run(whole.argv, at=[point, call])["status"] == -signal.SIGKILL, (point, call)
        server.finish(whole.argv)
        require_same(whole)
    print(f"{command}: killed at {len(moments)} writes of {whole.calls}")
    assert len(moments) >= 8


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_again_and_again(command: str, server: Server, wholes: dict[str, Whole]) -> None:
    whole = wholes[command]
    begin_anew(whole)
    for _ in range(10):
        server.run(whole.argv, after=random.uniform(0, 1.2) * whole.seconds)
    server.finish(whole.argv)
    require_same(whole)
