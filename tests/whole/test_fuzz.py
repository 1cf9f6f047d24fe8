"""Small files and configs with a few bytes or values changed: read, or refused in one line.

Never an exception of another kind, never a hang or a crash, never a changed input. STIMOPT_FUZZ is
the number of examples of each test; a third as many where an example is a whole command.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from stimopt.cli import main
from stimopt.connectome import Connectome
from stimopt.networks.flyvis import read_trained
from stimopt.networks.motion_circuit import motion_circuit_spec
from tests.whole.circuits import network_options, write_circuit
from tests.whole.commandline import Files, generate_command, search_command
from tests.whole.server import Server

pytestmark = [
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    # What a fuzzed config asks for may be worth a warning.
    pytest.mark.filterwarnings("ignore"),
]

# Generous with time, as one example is a file read or a whole command.
fuzz = settings(
    max_examples=int(os.environ.get("STIMOPT_FUZZ", "30")),
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
commands = settings(fuzz, max_examples=max(1, fuzz.max_examples // 3))

positions = st.floats(0, 1, exclude_max=True)
byte_edits = st.lists(
    st.tuples(positions, st.sampled_from(["set", "flip", "cut", "insert"]), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)


def edited(content: bytes, edits: list[tuple[float, str, int]]) -> bytes:
    """Bytes after a few edits."""
    held = bytearray(content)
    for position, how, value in edits:
        if not held:
            break
        at = int(position * len(held))
        if how == "set":
            held[at] = value
        elif how == "flip":
            held[at] ^= 1 << value % 8
        elif how == "cut":
            del held[at : at + 1 + value]
        else:
            held[at:at] = bytes([value]) * (1 + value % 9)
    return bytes(held)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 400),
    st.sampled_from([2**31, 2**63, -(2**63), 10**30]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=5),
)
values = st.one_of(
    scalars,
    st.lists(scalars, max_size=3),
    st.dictionaries(st.text(max_size=3), scalars, max_size=2),
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything within nested dicts and lists."""
    found = [at]
    if isinstance(value, dict):
        for key in value:
            found += places(value[key], (*at, key))
    elif isinstance(value, list):
        for i in range(len(value)):
            found += places(value[i], (*at, i))
    return found


def changed(value: Any, position: float, new: Any, remove: bool) -> Any:
    """A copy with what stands at one place replaced or removed."""
    every = places(value)[1:]
    path = every[int(position * len(every))]
    held = copy.deepcopy(value)
    inner = held
    for key in path[:-1]:
        inner = inner[key]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return held


# -- bytes ----------------------------------------------------------------------------------------


@seed(1)
@fuzz
@given(edits=byte_edits)
def test_bytes_of_a_result(edits: list[Any], files: Files, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "result.h5"
    spoilt = edited((files.search / "result.h5").read_bytes(), edits)
    path.write_bytes(spoilt)
    server.read("winner", path)
    server.read("result", path)
    assert path.read_bytes() == spoilt


@seed(2)
@fuzz
@given(edits=byte_edits)
def test_bytes_of_a_store(edits: list[Any], files: Files, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    spoilt = edited(files.store.read_bytes(), edits)
    path.write_bytes(spoilt)
    server.read("store", path)
    assert path.read_bytes() == spoilt


@seed(3)
@fuzz
@given(edits=byte_edits)
def test_bytes_of_a_trained_network(edits: list[Any], server: Server, tmp_path: Path) -> None:
    write_circuit(tmp_path)
    path = tmp_path / "trained" / "best_chkpt"
    whole = path.read_bytes()
    connectome = Connectome.from_spec(motion_circuit_spec())
    sound = read_trained(path.parent, connectome)
    spoilt = edited(whole, edits)
    path.write_bytes(spoilt)
    said = server.read("network", path)
    if not said:
        # What is read in spite of the damage is what was written.
        np.testing.assert_array_equal(read_trained(path.parent, connectome).bias, sound.bias)
    assert path.read_bytes() == spoilt


@seed(4)
@commands
@given(edits=byte_edits)
def test_bytes_of_a_checkpoint(edits: list[Any], files: Files, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "last.ckpt"
    spoilt = edited((files.fit / "checkpoints" / "last.ckpt").read_bytes(), edits)
    path.write_bytes(spoilt)
    ends_well(generate_command(tmp_path / "out", f"--ckpt_path={path}"), capsys)
    assert path.read_bytes() == spoilt


@seed(5)
@commands
@given(edits=byte_edits)
def test_bytes_of_a_config(edits: list[Any], tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "config.yaml"
    config = {
        "model": {"cell_types": ["T4c"], "t_stim": 0.1, "seeds": [0], "objective": "exp"},
        "protocol": {"dt": 0.01, "t_pre": 0.2, "baseline": "grey"},
        "network": {"extent": 2, "backend": "auto"},
    }
    spoilt = edited(yaml.safe_dump(config).encode(), edits)
    path.write_bytes(spoilt)
    fixed = ["--trainer.max_steps=1", "--trainer.accelerator=cpu", "--trainer.logger=false"]
    quiet = ["--trainer.enable_progress_bar=false", "--pictures_every=50"]
    output = f"--output={tmp_path / 'out' / str(abs(hash(spoilt)))}"
    ends_well(["generate", f"--config={path}", *fixed, *quiet, output], capsys)
    assert path.read_bytes() == spoilt


def ends_well(argv: list[str], capsys: Any) -> None:
    """The command does its work, or says in one line why not."""
    capsys.readouterr()
    code = main(argv)
    said = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert code in (0, 2), said
    assert code == 0 or (len(said) == 1 and said[0].startswith(f"stimopt {argv[0]}: error: ")), said


# -- values ---------------------------------------------------------------------------------------


@seed(6)
@fuzz
@given(position=positions, new=values, remove=st.booleans())
def test_values_of_a_connectome(
    position: float, new: Any, remove: bool, server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "connectome.json"
    spec = changed(motion_circuit_spec(), position, new, remove)
    path.write_text(json.dumps(spec), encoding="utf-8")
    server.read("connectome", path)


@seed(7)
@commands
@given(position=positions, new=values, remove=st.booleans())
def test_values_of_a_connectome_by_the_command(
    position: float, new: Any, remove: bool, tmp_path: Path, capsys: Any
) -> None:
    write_circuit(tmp_path / "net")
    spec = changed(motion_circuit_spec(), position, new, remove)
    (tmp_path / "net" / "connectome.json").write_text(json.dumps(spec), encoding="utf-8")
    out = tmp_path / "out" / str(abs(hash(json.dumps(spec))))
    ends_well(generate_command(out, *network_options(tmp_path / "net")), capsys)


def plain(value: Any) -> Any:
    """Dicts that can be changed in place, as a checkpoint holds them."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


tensors = st.one_of(
    values,
    st.sampled_from([torch.zeros(0), torch.zeros(3, 2), torch.full((1, 10, 19), torch.nan)]),
)


@pytest.mark.parametrize("command", ["fit", "search"])
@seed(8)
@commands
@given(position=positions, new=tensors, remove=st.booleans())
def test_values_of_a_checkpoint(
    command: str,
    position: float,
    new: Any,
    remove: bool,
    files: Files,
    tmp_path: Path,
    capsys: Any,
) -> None:
    path = tmp_path / "last.ckpt"
    whole = files.folder / command / "checkpoints" / "last.ckpt"
    held = plain(torch.load(whole, weights_only=True))
    torch.save(changed(held, position, new, remove), path)
    spoilt = path.read_bytes()
    make = generate_command if command == "fit" else lambda *a: search_command(files.store, *a)
    ends_well(make(tmp_path / "out", f"--ckpt_path={path}"), capsys)
    assert path.read_bytes() == spoilt


def h5_places(file: h5py.File) -> list[tuple[str, str | None]]:
    """Every data set, group and attribute."""
    found: list[tuple[str, str | None]] = [("/", name) for name in sorted(file.attrs)]

    def visit(name: str, item: Any) -> None:
        found.append((name, None))
        # Those of the dimension scales are the library's own.
        found.extend((name, key) for key in sorted(item.attrs) if not key.isupper())

    file.visititems(visit)
    return found


h5_values = st.one_of(
    st.integers(-3, 10**6),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=5),
    st.sampled_from([np.zeros((0, 3)), np.full((3, 10, 19), np.nan), np.array([b"x", b"yz"])]),
)


def change_h5(path: Path, position: float, new: Any, remove: bool) -> None:
    with h5py.File(path, "r+") as file:
        every = h5_places(file)
        name, attribute = every[int(position * len(every))]
        if attribute is not None:
            del file[name].attrs[attribute]
            if not remove:
                file[name].attrs[attribute] = new
        else:
            del file[name]
            if not remove:
                file[name] = new


@seed(9)
@fuzz
@given(position=positions, new=h5_values, remove=st.booleans())
def test_values_of_a_result(
    position: float, new: Any, remove: bool, files: Files, server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "result.h5"
    path.write_bytes((files.search / "result.h5").read_bytes())
    change_h5(path, position, new, remove)
    spoilt = path.read_bytes()
    server.read("winner", path)
    server.read("result", path)
    assert path.read_bytes() == spoilt


@seed(10)
@fuzz
@given(position=positions, new=h5_values, remove=st.booleans())
def test_values_of_a_store(
    position: float, new: Any, remove: bool, files: Files, server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "store.h5"
    path.write_bytes(files.store.read_bytes())
    change_h5(path, position, new, remove)
    spoilt = path.read_bytes()
    server.read("store", path)
    assert path.read_bytes() == spoilt
