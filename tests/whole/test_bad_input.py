"""Bad input through the command line: one line of error, code 2, nothing touched or left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from stimopt.cli import main
from tests.networks.circuits import write_circuit
from tests.whole import damage
from tests.whole.commandline import (
    Files,
    contents,
    generate_command,
    refusal,
    refused,
    regularize_command,
    render_command,
    search_command,
)
from tests.whole.inputs import CHECKPOINTS, KINDS, MOVIES, file_and_reader

Capture = pytest.CaptureFixture[str]
Change = Callable[[Any], Any]

pytestmark = [
    # Lightning notes that the folder of a run was moved, as these tests do.
    pytest.mark.filterwarnings("ignore:expected a greyer stimulus"),  # four steps are too few
]

# -- options --------------------------------------------------------------------------------------

# Command, option, its bad values, and what the error must name.
OPTIONS = [
    ("generate", "model.t_stim", "0 -0.5 0.004 nan inf", "t_stim"),
    ("generate", "model.t_stim", "1e9", "frames"),
    ("generate", "model.cell_types", "[] ,", "cell type"),
    ("generate", "model.cell_types", "t4C", "nearest: T4c|did you mean 'T4c'"),
    ("generate", "model.cell_types", "T4c,T4c", "once"),
    ("generate", "model.seeds", "-1 99999999999999999999 1.5", "seeds"),
    ("generate", "model.networks", "[3] some", "networks"),
    ("generate", "model.objective", "best", "objective"),
    ("generate", "model.temperature", "0.1", "temperature"),
    ("generate", "model.sign", "0", "sign"),
    ("generate", "model.penalties.grey", "-1 nan", "penalties|grey"),
    ("generate", "model.penalties", "{no_such_penalty:1}", "no_such_penalty"),
    ("generate", "model.activity_weight", "0 inf", "activity_weight"),
    ("generate", "model.contrast", "[T4c]", "T4c"),
    ("generate", "model.contrast", "[zz]", "'zz'"),
    ("generate", "model.parametrization", "tanh", "parametrization"),
    ("generate", "model.init", "white", "init"),
    ("generate", "model.init", "naturalistic:nowhere.h5", "nowhere.h5"),
    ("generate", "model.optimizer", "Nope", "optimizer"),
    ("generate", "model.patience", "0", "patience"),
    ("generate", "model.u", "9", "column of extent 2"),
    ("generate", "model.no_such_option", "1", "no_such_option"),
    ("generate", "model.protocol.dt", "0.02", "protocol.dt"),  # would contradict protocol.dt
    ("generate", "protocol.t_pre", "-1", "t_pre"),
    ("generate", "protocol.t_pre", "1e12", "frames"),
    ("generate", "protocol.t_fade_in", "-0.1", "t_fade_in"),
    ("generate", "protocol.dt", "0 -0.01 1e-9 1e-320 soon", "dt"),
    ("generate", "protocol.baseline", "mean", "baseline"),
    ("generate", "protocol.readout_start", "5 nan", "read-out window|readout_start"),
    ("generate", "protocol.readout_stop", "-5", "read-out window"),
    ("generate", "network.extent", "-1 100000 1.5", "extent"),
    ("generate", "network.segment", "0", "segment"),
    ("generate", "network.backend", "quantum", "backend"),
    ("generate", "network.connectome", "elsewhere.json", "network path|network.path"),
    ("generate", "network.path", "nowhere", "nowhere"),
    ("generate", "trainer.devices", "2", "one device"),
    ("generate", "trainer.devices", "1000", "devices on the CPU"),
    ("generate", "steps", "-1 many", "steps"),
    ("generate", "trainer.accelerator", "abacus", "abacus"),
    ("generate", "checkpoint_every_n_steps", "0", "steps"),
    ("generate", "pictures_every_n_steps", "0", "steps"),
    ("generate", "ckpt_path", "none.ckpt", "checkpoint at none.ckpt"),
    ("generate", "output", "/proc/stimopt", "/proc/stimopt"),
    ("generate", "output", "", "output"),
    ("generate", "config", "nowhere.yaml", "config"),
    ("generate", "no_such_option", "1", "no_such_option"),
    ("search", "data.batch_size", "0", "batch_size"),
    ("search", "data.num_workers", "-1", "num_workers"),
    ("search", "data.window_frames", "0", "window"),
    ("search", "data.window_seconds", "-1", "window"),
    ("search", "data.rotations", "[6]", "rotation"),
    ("search", "data.mirrorings", "[7]", "mirroring"),
    ("search", "data.stores", "[]", "at least one store"),
    ("search", "data.start_sample", "100000 -1", "sample"),
    ("search", "data.stop_sample", "0", "sample"),
    ("search", "model.top_k", "0", "top_k|k >= 1"),
    ("search", "protocol_preset", "flyvis", "preset"),
    ("search", "protocol.readout_start", "3", "read-out window"),
    ("search", "network.extent", "3", "extent 3"),
    ("search", "checkpoint_every_n_batches", "0", "batches"),
    ("search", "trainer.devices", "1000", "devices on the CPU"),
    ("render", "extent", "-1 201", "extent"),
    ("render", "kernel_size", "0", "kernel_size"),
    ("render", "views", "0", "views"),
    ("render", "width_fraction", "0 1.1", "width_fraction"),
    ("render", "drop_first", "-1", "drop_first"),
    ("render", "drop_first", "100", "more than 100 frames"),
    ("render", "frame_rate", "0 -24", "frame rate"),
    ("render", "dtype", "int8", "dtype"),
]


@pytest.mark.parametrize(
    ("command", "option", "named"),
    [
        (command, f"--{option}={value}", named)
        for command, option, values, named in OPTIONS
        for value in values.split() or [""]
    ],
)
def test_bad_options(
    command: str, option: str, named: str, files: Files, tmp_path: Path, capsys: Capture
) -> None:
    arguments = {
        "generate": generate_command(tmp_path / "out"),
        "search": search_command(files.store, tmp_path / "out"),
        "render": render_command(files.movies, tmp_path / "store.h5"),
    }
    refused([*arguments[command], option], capsys, named, tmp_path)


CONFIGS = {
    "a list": "- model\n- network\n",
    "a word": "model",
    "no YAML": "model: {cell_types: [T4c\n",
    "bytes": "\x00\x01\x02",
    "an unknown key": "model: {cell_type: T4c}\n",
    "an unknown section": "neuron: {name: T4c}\n",
    "a tag that runs code": "model: !!python/object/apply:os.mkdir [executed]\n",
    "a key of two kinds": "model: {t_stim: [0.1, 0.2]}\n",
    "one alias ten thousand times": "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{b}: &{b} [{', '.join(10 * [f'*{a}'])}]\n" for a, b in ("ab", "bc", "cd", "de")),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_bad_configs(name: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "config.yaml").write_text(CONFIGS[name], encoding="utf-8")
    before = contents(tmp_path)
    refusal(["generate", f"--config={tmp_path / 'config.yaml'}", f"--output={tmp_path}"], capsys)
    assert contents(tmp_path) == before and not Path("executed").exists()


# -- damaged files --------------------------------------------------------------------------------


NOT_REFUSED = [
    *((kind, how) for kind in CHECKPOINTS for how in ("missing", "folder")),  # a run starts anew
    ("npy", "zeros"),  # black frames: an array has no checksum
    *(("png", how) for how in ("missing", "folder")),  # a film with one frame less
]


@pytest.mark.parametrize(
    ("kind", "how"),
    [(k, how) for k in KINDS for how in damage.COMMON if (k, how) not in NOT_REFUSED],
)
def test_damaged_files(kind: str, how: str, files: Files, tmp_path: Path, capsys: Capture) -> None:
    path, arguments = file_and_reader(kind, files, tmp_path)
    damage.COMMON[how](path)
    # The line names the file; of a folder or zip of pictures it may name the part.
    refused(arguments, capsys, "" if kind in MOVIES else path.name, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_sound_files_are_read(kind: str, files: Files, tmp_path: Path) -> None:
    assert main(file_and_reader(kind, files, tmp_path)[1]) == 0


def first_bytes_of(path: Path, kind: str) -> bytes:
    """Some bytes of the array that matters in a file."""
    if kind in ("store", "result"):
        with h5py.File(path) as file:
            data = file["scenes/00001/view_1" if kind == "store" else "stimulus"]
            raw = data.id.read_direct_chunk((0,) * data.ndim)[1] if data.chunks else data[()]
            return bytes(raw[:24] if data.chunks else raw.tobytes()[:24])
    saved = torch.load(path, weights_only=True)
    tensor = {
        "network": lambda: saved["network"]["edges_syn_strength"],
        "fit checkpoint": lambda: saved["state_dict"]["stimulus"],
        "search checkpoint": lambda: saved["stimopt"]["top"],
    }[kind]()
    return bytes(tensor.numpy().tobytes()[:24])


@pytest.mark.parametrize("kind", ["network", "store", "result", *CHECKPOINTS])
def test_one_flipped_bit(kind: str, files: Files, tmp_path: Path, capsys: Capture) -> None:
    path, arguments = file_and_reader(kind, files, tmp_path)
    damage.flip_bit(path, first_bytes_of(path, kind), skip=2)
    refused(arguments, capsys, path.name, tmp_path)


SWAPPED = [
    ("connectome", "network"),
    ("network", "connectome"),
    ("store", "result"),
    ("result", "store"),
    ("fit checkpoint", "search checkpoint"),
    ("search checkpoint", "fit checkpoint"),
]


@pytest.mark.parametrize(("kind", "other"), SWAPPED)
def test_a_file_in_place_of_another(
    kind: str, other: str, files: Files, tmp_path: Path, capsys: Capture
) -> None:
    foreign = file_and_reader(other, files, tmp_path / "other")[0].read_bytes()
    path, arguments = file_and_reader(kind, files, tmp_path)
    path.write_bytes(foreign)
    refused(arguments, capsys, "", tmp_path)


def test_the_result_of_a_fit_is_no_search(files: Files, tmp_path: Path, capsys: Capture) -> None:
    arguments = regularize_command(files.fit / "result.h5", tmp_path / "out")
    refused(arguments, capsys, "search", tmp_path)


# -- values that cannot be: one of each kind of file, the rest in the tests of its reader ---------


def put(name: str, index: Any, value: Any) -> Change:
    return lambda file: file[name].__setitem__(index, value)


def remake(name: str, data: Any) -> Change:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = data

    return change


def set_attribute(name: str, value: Any) -> Change:
    return lambda file: file.attrs.update({name: value})


# The kind of file, a change to it, and what the error must name.
VALUES: dict[str, tuple[str, Change, str]] = {
    "a field missing": ("connectome", lambda s: s.pop("edges"), "malformed"),
    "no photoreceptors": ("connectome", lambda s: s.update(input_units=[]), "input unit"),
    "a NaN bias": ("network", lambda t: t["nodes_bias"].fill_(torch.nan), "finite nodes_bias"),
    "weights beyond float32": (
        "network",
        lambda t: t["edges_syn_strength"].fill_(1e300),
        "finite|float32",
    ),
    "NaN luminance": ("store", put("scenes/00001/view_0", (3, 2), np.nan), r"\[0, 1\]|finite"),
    "a NaN pixel": ("result", put("stimulus", (1, 3, 2), np.nan), "finite"),
    "an infinite pixel": ("result", put("stimulus", (1, 3, 2), np.inf), "finite"),
    "a pixel above white": ("result", put("stimulus", (1, 3, 2), 2.0), r"\[0, 1\]"),
    "no stimulus": ("result", lambda f: f.__delitem__("stimulus"), "stimulus"),
    "stimuli of another shape": ("result", remake("stimulus", np.zeros((3, 4))), "result.h5"),
    "stimuli of words": ("result", remake("stimulus", "none"), "result.h5"),
    "clips of no length": ("result", put("n_frames", slice(None), 0), "result.h5"),
    "clips of negative length": ("result", put("n_frames", slice(None), -4), "result.h5"),
    "clips longer than they are": ("result", put("n_frames", slice(None), 10**6), "result.h5"),
    "networks that are absent": ("result", put("network", slice(None), 7), "network"),
    "an extent in words": ("result", set_attribute("extent", "wide"), "result.h5"),
    "another extent": ("result", set_attribute("extent", 9), "extent"),
    "no protocol": ("result", set_attribute("protocol", "[]"), "result.h5"),
    "a bad protocol": ("result", set_attribute("protocol", '{"dt": -1}'), "dt"),
    "another dt": ("result", set_attribute("protocol", '{"dt": 0.02}'), "dt"),
    "no hash": ("result", lambda f: f.attrs.__delitem__("network_hash"), "result.h5"),
    "names of no network": ("result", set_attribute("network_names", "7"), "result.h5"),
}


@pytest.mark.parametrize("name", VALUES)
def test_bad_values(name: str, files: Files, tmp_path: Path, capsys: Capture) -> None:
    kind, change, named = VALUES[name]
    path, arguments = file_and_reader(kind, files, tmp_path)
    if kind == "connectome":
        spec = json.loads(path.read_text(encoding="utf-8"))
        change(spec)
        path.write_text(json.dumps(spec), encoding="utf-8")
    elif kind == "network":
        saved = torch.load(path, weights_only=True)
        change(saved["network"])
        torch.save(saved, path)
    else:
        with h5py.File(path, "r+") as file:
            change(file)
    refused(arguments, capsys, named, tmp_path)


BAD_MOVIES = {
    "above white": np.full((4, 20, 50), 255.0),
    "of text": np.full((4, 20, 50), "white"),
    "without frames": np.zeros((0, 20, 50)),
    "of one frame, which is dropped": np.zeros((1, 20, 50)),
    "too narrow": np.zeros((4, 20, 2)),
}


@pytest.mark.parametrize("name", BAD_MOVIES)
def test_bad_movies(name: str, tmp_path: Path, capsys: Capture) -> None:
    np.save(tmp_path / "movie.npy", BAD_MOVIES[name])
    arguments = render_command(tmp_path / "movie.npy", tmp_path / "store.h5")
    refused(arguments, capsys, "movie", tmp_path)


# -- networks that cannot be asked ----------------------------------------------------------------


def cut_off(spec: dict[str, Any]) -> None:
    """T4c keeps its inputs, and none of them is reached from a photoreceptor."""
    spec["edges"] = [edge for edge in spec["edges"] if not edge["src"].startswith("R")]


def strong(tensors: dict[str, Any]) -> None:
    tensors["edges_syn_strength"] *= 8


@pytest.mark.parametrize("command", ["generate", "search"])
def test_networks_that_cannot_be_asked(
    command: str, files: Files, tmp_path: Path, capsys: Capture
) -> None:
    def arguments(network: list[str]) -> list[str]:
        if command == "generate":
            return generate_command(tmp_path / "out", *network)
        return search_command(files.store, tmp_path / "out", *network)

    dark = write_circuit(tmp_path / "dark", cut_off)
    refused(arguments(dark), capsys, "photoreceptors", tmp_path)
    unstable = write_circuit(tmp_path / "unstable", change_tensors=strong)
    refused(arguments([*unstable, "--protocol.dt=0.05"]), capsys, "stable step", tmp_path)


def test_a_stimulus_too_short_for_light_to_arrive(tmp_path: Path, capsys: Capture) -> None:
    arguments = generate_command(tmp_path / "out", "--model.t_stim=0.01")
    refused(arguments, capsys, "within the stimulus", tmp_path)


# -- another run in the folder --------------------------------------------------------------------

OTHER_RUNS = [
    ("fit", "--network.extent=3", "network_hash"),
    ("fit", "--model.cell_types=T4d", "items"),
    ("fit", "--model.t_stim=0.2", "frames"),
    ("fit", "--protocol.baseline=grey", "baseline"),
    ("fit", "--model.objective=last_frame", "objective"),
    ("fit", "--model.penalties.grey=1", "penalties"),
    ("fit", "--model.parametrization=sigmoid", "parametrization"),
    ("fit", "--model.init=grey", "init"),
    ("search", "--model.cell_types=[Mi1, T4c]", "cell_types"),
    ("search", "--model.top_k=2", "top_k"),
    ("search", "--protocol.t_fade_in=0.1", "t_fade_in"),
    ("search", "--data.rotations=[0]", "data"),
    ("search", "--data.start_sample=1", "start_sample|first_sample"),
]


@pytest.mark.parametrize(("kind", "option", "named"), OTHER_RUNS)
def test_another_run_in_the_folder(
    kind: str, option: str, named: str, files: Files, tmp_path: Path, capsys: Capture
) -> None:
    arguments = file_and_reader(f"{kind} checkpoint", files, tmp_path)[1]
    refused([*arguments, option], capsys, named, tmp_path)


def test_a_search_with_another_network_or_other_movies(
    files: Files, tmp_path: Path, capsys: Capture
) -> None:
    arguments = file_and_reader("search checkpoint", files, tmp_path)[1]
    net = write_circuit(tmp_path / "net", change_tensors=lambda t: t["nodes_bias"].mul_(0.9))
    refused([*arguments, *net], capsys, "network_hash", tmp_path)
    np.save(tmp_path / "other.npy", np.full((24, 15, 40), 7, dtype=np.uint8))
    assert main(render_command(tmp_path / "other.npy", tmp_path / "other.h5")) == 0
    refused([*arguments, f"--data.stores={tmp_path / 'other.h5'}"], capsys, "data", tmp_path)
