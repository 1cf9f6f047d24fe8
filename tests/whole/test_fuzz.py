"""Small files and configs with a few bytes or values changed: read, or refused in one line.

Never an exception of another kind, never a hang or a crash, never a changed input. STIMOPT_FUZZ is
the number of examples of each test; half as many where an example is a whole command.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from stimopt.cli import main
from stimopt.connectome import Connectome
from stimopt.networks.flyvis import read_trained
from stimopt.networks.motion_circuit import motion_circuit_spec
from tests.whole.commandline import Files
from tests.whole.forked import Forks
from tests.whole.inputs import CHECKPOINTS, file_and_reader

# What a fuzzed config asks for may be worth a warning.
pytestmark = pytest.mark.filterwarnings("ignore")

# Generous with time, as one example is a file read or a whole command.
readings = settings(
    max_examples=int(os.environ.get("STIMOPT_FUZZ", "15")),
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
commands = settings(readings, max_examples=max(1, readings.max_examples // 2))

READERS = {
    "result": ("winner", "result"),
    "store": ("store",),
    "network": ("network",),
    "connectome": ("connectome",),
}


def read_or_refused(kind: str, path: Path, forks: Forks) -> bool:
    """Read a changed file in a fork; whether it was read."""
    changed = path.read_bytes()
    errors = [forks.read(reader, path) for reader in READERS[kind]]
    assert path.read_bytes() == changed
    return not any(errors)


def done_or_refused(arguments: list[str], path: Path, capsys: Any) -> None:
    """The command that reads a changed file does its work, or tells in one line why not."""
    changed = path.read_bytes()
    capsys.readouterr()
    code = main(arguments)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    refusal = len(lines) == 1 and lines[0].startswith(f"stimopt {arguments[0]}: error: ")
    assert code == 0 or (code == 2 and refusal), (code, lines)
    assert code == 0 or path.read_bytes() == changed


# -- bytes ----------------------------------------------------------------------------------------

positions = st.floats(0, 1, exclude_max=True)
byte_edits = st.lists(
    st.tuples(positions, st.sampled_from(["set", "flip", "cut", "insert"]), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)


def edit_bytes(path: Path, edits: list[tuple[float, str, int]]) -> None:
    """Change, remove or insert a few bytes of a file."""
    content = bytearray(path.read_bytes())
    for position, how, value in edits:
        at = int(position * len(content))
        if how == "insert":
            content[at:at] = bytes([value]) * (1 + value % 9)
        elif how == "cut":
            del content[at : at + 1 + value]
        elif content:
            content[at] = value if how == "set" else content[at] ^ 1 << value % 8
    path.write_bytes(content)


@pytest.mark.parametrize("kind", READERS)
@seed(1)
@readings
@given(edits=byte_edits)
def test_bytes_of_a_file(
    kind: str, edits: list[Any], files: Files, forks: Forks, tmp_path: Path
) -> None:
    path, _ = file_and_reader(kind, files, Path(mkdtemp(dir=tmp_path)))
    sound = path.read_bytes()
    edit_bytes(path, edits)
    if read_or_refused(kind, path, forks) and kind == "network":
        # What is read in spite of the damage is what was written.
        connectome = Connectome.from_spec(motion_circuit_spec())
        damaged = read_trained(path.parent, connectome)
        path.write_bytes(sound)
        np.testing.assert_array_equal(damaged.bias, read_trained(path.parent, connectome).bias)


@pytest.mark.parametrize("kind", [*CHECKPOINTS, "config"])
@seed(2)
@commands
@given(edits=byte_edits)
def test_bytes_of_a_checkpoint_or_config(
    kind: str, edits: list[Any], files: Files, tmp_path: Path, capsys: Any
) -> None:
    path, arguments = file_and_reader(kind, files, Path(mkdtemp(dir=tmp_path)))
    edit_bytes(path, edits)
    done_or_refused(arguments, path, capsys)


# -- values ---------------------------------------------------------------------------------------

words = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=5)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 400),
    st.sampled_from([2**31, 2**63, -(2**63), 10**30]),
    st.floats(allow_nan=True, allow_infinity=True),
    words,
)
arrays = [np.zeros(0), np.zeros((0, 3)), np.zeros((3, 2)), np.full((3, 10, 19), np.nan)]
values = st.one_of(
    scalars,
    st.lists(scalars, max_size=3),
    st.dictionaries(words, scalars, max_size=2),
    st.sampled_from([*arrays, np.array([b"x", b"yz"])]),
)


def change_value(path: Path, position: float, new: Any, remove: bool) -> None:
    """Replace or remove one value of a JSON, HDF5 or checkpoint file."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            every = list(h5_places(file))
            group, key = every[int(position * len(every))]
            del group[key]
            if not remove:
                # HDF5 has neither dictionaries nor whole numbers of any size.
                plain = isinstance(new, (float, str, np.ndarray))
                small = isinstance(new, int) and abs(new) <= 2**31
                group[key] = new if plain or small else str(new)
    elif path.suffix == ".json":
        spec = json.loads(path.read_text(encoding="utf-8"))
        text = json.dumps(changed(spec, position, new, remove), default=str)
        path.write_text(text, encoding="utf-8")
    else:
        numbers = isinstance(new, np.ndarray) and new.dtype.kind == "f"
        saved = plain_containers(torch.load(path, weights_only=True))
        new = torch.as_tensor(new) if numbers else new
        torch.save(changed(saved, position, new, remove), path)


def h5_places(file: h5py.File) -> Iterator[tuple[Any, str]]:
    """Every data set, group and attribute, as what holds it and its name."""
    names: list[str] = []
    file.visit(names.append)
    yield from ((file, name) for name in names)
    for name in ["/", *names]:
        # Attributes in capitals are those of dimension scales, the library's own.
        own = (key for key in sorted(file[name].attrs) if not key.isupper())
        yield from ((file[name].attrs, key) for key in own)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything within nested dicts and lists."""
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    return [at, *(place for key, each in inner for place in places(each, (*at, key)))]


def changed(value: Any, position: float, new: Any, remove: bool) -> Any:
    """A copy with the value at one place replaced or removed."""
    every = places(value)[1:]
    *path, last = every[int(position * len(every))]
    result = inner = copy.deepcopy(value)
    for key in path:
        inner = inner[key]
    if remove:
        del inner[last]
    else:
        inner[last] = new
    return result


def plain_containers(value: Any) -> Any:
    """Dicts and lists that can be changed in place, from those of a checkpoint."""
    if isinstance(value, dict):
        return {key: plain_containers(inner) for key, inner in value.items()}
    return [plain_containers(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("kind", READERS)
@seed(3)
@readings
@given(position=positions, new=values, remove=st.booleans())
def test_values_of_a_file(
    kind: str,
    position: float,
    new: Any,
    remove: bool,
    files: Files,
    forks: Forks,
    tmp_path: Path,
) -> None:
    path, _ = file_and_reader(kind, files, Path(mkdtemp(dir=tmp_path)))
    change_value(path, position, new, remove)
    read_or_refused(kind, path, forks)


@pytest.mark.parametrize("kind", [*CHECKPOINTS, "connectome"])
@seed(4)
@commands
@given(position=positions, new=values, remove=st.booleans())
def test_values_of_a_checkpoint_or_connectome(
    kind: str,
    position: float,
    new: Any,
    remove: bool,
    files: Files,
    tmp_path: Path,
    capsys: Any,
) -> None:
    path, arguments = file_and_reader(kind, files, Path(mkdtemp(dir=tmp_path)))
    change_value(path, position, new, remove)
    done_or_refused(arguments, path, capsys)
