"""Bad input through the command line: one line of error, code 2, nothing touched or left behind."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from stimopt.cli import main
from tests.whole import damage
from tests.whole.circuits import network_options, write_circuit
from tests.whole.commandline import (
    Files,
    contents,
    generate_command,
    refusal,
    regularize_command,
    render_command,
    search_command,
)
from tests.whole.moviefiles import KINDS, write_movie

FORMULA = re.compile(r"(?i)expected .+, got .+; .+", re.DOTALL)
"""What came, what was expected, and what to do."""

Capture = pytest.CaptureFixture[str]

# Lightning notes that the folder of a run was moved, as these tests do.
pytestmark = pytest.mark.filterwarnings("ignore:The dirpath has changed")


def refused(arguments: list[str], capsys: Capture, said: str, tmp_path: Path) -> None:
    """The command is refused in our words, and everything is as it was."""
    before = {n: held for n, held in contents(tmp_path).items() if not n.startswith("out/")}
    line = refusal(arguments, capsys)
    assert FORMULA.match(line), line
    assert re.search(said, line), line
    # A run that was refused while it was set up may leave its log and its config, but no result.
    after = {n: held for n, held in contents(tmp_path).items() if not n.startswith("out/")}
    assert after == before
    assert not list(tmp_path.glob("out/**/result*")) and not list(tmp_path.rglob(".*.part-*"))


# -- numbers and names ----------------------------------------------------------------------------

OPTIONS = [
    ("--model.t_stim=0", "t_stim of at least one frame"),
    ("--model.t_stim=-0.5", "t_stim of at least one frame"),
    ("--model.t_stim=0.004", "t_stim of at least one frame"),
    ("--model.t_stim=1e9", "at most 100000 frames"),
    ("--protocol.t_pre=-1", "t_pre >= 0"),
    ("--protocol.t_pre=1e12", "at most 100000 frames"),
    ("--protocol.t_fade_in=-0.1", "t_fade_in >= 0"),
    ("--protocol.dt=0", "dt > 0"),
    ("--protocol.dt=-0.01", "dt > 0"),
    ("--protocol.dt=1e-9", "dt >= "),
    ("--protocol.dt=1e-320", "dt >= "),
    ("--protocol.grey=1.5", r"grey in \[0, 1\]"),
    ("--protocol.grey=-0.1", r"grey in \[0, 1\]"),
    ("--protocol.readout_start=5", "read-out window within the 10 frames"),
    ("--protocol.readout_stop=-5", "read-out window within the 10 frames"),
    ("--network.extent=-1", "extent >= 0"),
    ("--network.extent=100000", "extent <= 200"),
    ("--network.segment=0", "segment >= 1"),
    ("--network.backend=quantum", "backend of"),
    ("--network.connectome=elsewhere.json", "network path with connectome"),
    ("--network.path=nowhere", "folder of a trained flyvis network"),
    ("--model.cell_types=", "at least one cell type"),
    ("--model.cell_types=[]", "at least one cell type"),
    ("--model.cell_types=t4C", "nearest: T4c"),
    ("--model.cell_types=T4c,T4c", "every cell type, seed and network once"),
    ("--model.seeds=-1", "seeds as whole numbers"),
    ("--model.seeds=99999999999999999999", "seeds as whole numbers"),
    ("--model.networks=[3]", "networks within 0 to 0"),
    ("--model.networks=some", "networks 'all' or positions"),
    ("--model.objective=best", "objective of"),
    ("--model.temperature=0.1", "temperature only with objective"),
    ("--model.grey_weight=-1", "grey_weight >= 0"),
    ("--model.contrast=[T4c]", "T4c against other cell types"),
    ("--model.contrast=[zz]", "one of 28 cell types"),
    ("--model.init=white", "init 'noise'"),
    ("--model.init=naturalistic:nowhere.h5", "nowhere.h5, which is not there"),
    ("--model.patience=0", "patience >= 1"),
    ("--model.u=9", "a column of extent 2"),
    ("--trainer.devices=2", "one device for a fit"),
    ("--trainer.devices=1000", "at most .* devices on the CPU"),
    ("--trainer.max_steps=-1", "a number of steps"),
    ("--checkpoint_every=0", "every_n_steps >= 1"),
    ("--pictures_every=0", "every_n_steps >= 1"),
    ("--ckpt_path=none.ckpt", "a checkpoint at none.ckpt"),
    ("--output=/proc/stimopt", "output folder that can be written"),
]


@pytest.mark.parametrize(("option", "said"), OPTIONS, ids=[o for o, _ in OPTIONS])
def test_options_out_of_range(option: str, said: str, tmp_path: Path, capsys: Capture) -> None:
    refused(generate_command(tmp_path / "out", option), capsys, said, tmp_path)


# The parser's own words: it names the key, what it expected and what it was given.
MISTYPED = [
    "--model.t_stim=nan",
    "--model.t_stim=inf",
    "--protocol.dt=soon",
    "--protocol.baseline=mean",
    "--protocol.readout_start=nan",
    "--network.extent=1.5",
    "--model.seeds=1.5",
    "--model.sign=0",
    "--model.grey_weight=nan",
    "--model.activity_weight=inf",
    "--model.parametrization=tanh",
    "--model.optimizer=Nope",
    "--trainer.max_steps=many",
    "--trainer.accelerator=abacus",
    "--no_such_option=1",
    "--model.no_such_option=1",
    "--model.protocol.dt=0.02",  # linked to protocol.dt: giving both would contradict
    "--output=",
    "--config=nowhere.yaml",
]


@pytest.mark.parametrize("option", MISTYPED)
def test_options_of_another_kind(option: str, tmp_path: Path, capsys: Capture) -> None:
    line = refusal(generate_command(tmp_path / "out", option), capsys)
    key = option.lstrip("-").partition("=")[0].rpartition(".")[2]
    assert key in line or "abacus" in line, line
    assert not contents(tmp_path)


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
def test_configs_that_are_none(name: str, tmp_path: Path, capsys: Capture) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIGS[name], encoding="utf-8")
    before = contents(tmp_path)
    refusal(["generate", f"--config={config}", f"--output={tmp_path / 'out'}"], capsys)
    assert contents(tmp_path) == before
    assert not Path("executed").exists()


# -- networks -------------------------------------------------------------------------------------


def with_network(folder: Path, tmp_path: Path, *more: str) -> list[str]:
    return generate_command(tmp_path / "out", *network_options(folder), *more)


@pytest.mark.parametrize("how", damage.COMMON)
@pytest.mark.parametrize("name", ["connectome.json", "trained/best_chkpt"])
def test_damaged_networks(how: str, name: str, tmp_path: Path, capsys: Capture) -> None:
    write_circuit(tmp_path / "net")
    damage.COMMON[how](tmp_path / "net" / name)
    refused(with_network(tmp_path / "net", tmp_path), capsys, Path(name).name, tmp_path)


def test_a_network_is_read_where_nothing_is_wrong(tmp_path: Path) -> None:
    write_circuit(tmp_path / "net")
    assert main(with_network(tmp_path / "net", tmp_path)) == 0


def test_connectome_and_checkpoint_swapped(tmp_path: Path, capsys: Capture) -> None:
    net = tmp_path / "net"
    write_circuit(net)
    connectome, checkpoint = net / "connectome.json", net / "trained" / "best_chkpt"
    a, b = connectome.read_bytes(), checkpoint.read_bytes()
    connectome.write_bytes(b)
    refused(with_network(net, tmp_path), capsys, "expected JSON", tmp_path)
    connectome.write_bytes(a)
    checkpoint.write_bytes(a)
    refused(with_network(net, tmp_path), capsys, "expected a torch checkpoint", tmp_path)


def test_one_bit_of_a_weight_flipped(tmp_path: Path, capsys: Capture) -> None:
    write_circuit(tmp_path / "net")
    path = tmp_path / "net" / "trained" / "best_chkpt"
    strength = torch.load(path, weights_only=True)["network"]["edges_syn_strength"]
    damage.flip_bit(path, strength.numpy().tobytes()[:16], skip=4)
    refused(with_network(tmp_path / "net", tmp_path), capsys, "checksum", tmp_path)


def first_edge(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda spec: spec["edges"][0].update(changes)


SPECS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no edges field": (lambda s: s.pop("edges"), "missing or malformed"),
    "nodes of another kind": (lambda s: s.update(nodes="R1"), "missing or malformed"),
    "no cell types": (lambda s: s.update(nodes=[]), "distinct cell types|unknown"),
    "a type twice": (lambda s: s["nodes"].append(s["nodes"][0]), "distinct cell types"),
    "an edge to nowhere": (first_edge(tar="T9z"), "unknown"),
    "a unit that is none": (lambda s: s["input_units"].append("R9"), "unknown"),
    "no photoreceptors": (lambda s: s.update(input_units=[]), "at least one input unit"),
    "a NaN sign": (first_edge(alpha=float("nan")), "expected 1 .excitatory. or -1"),
    "an infinite sign": (first_edge(alpha=float("inf")), "expected 1 .excitatory. or -1"),
    "a sign of no direction": (first_edge(alpha=0.5), "expected 1 .excitatory. or -1"),
    "a NaN count": (first_edge(offsets=[[[0, 0], float("nan")]]), "synapse count"),
    "a negative count": (first_edge(offsets=[[[0, 0], -3]]), "synapse count"),
    "half a column": (first_edge(offsets=[[[0, 0.5], 3]]), "whole columns"),
    "a million columns": (first_edge(offsets=[[[0, 10**6], 3]]), "within 100"),
    "an offset in three dimensions": (first_edge(offsets=[[[0, 0, 0], 3]]), "malformed"),
    "an offset twice": (first_edge(offsets=[[[0, 0], 3], [[0, 0], 3]]), "twice"),
    "a stride of 0": (lambda s: s["nodes"][0].update(pattern=["stride", [0, 1]]), "su, sv >= 1"),
    "no stride": (lambda s: s["nodes"][0].update(pattern=["single", [1, 1]]), "stride"),
}


@pytest.mark.parametrize("name", SPECS)
def test_connectomes_that_cannot_be(name: str, tmp_path: Path, capsys: Capture) -> None:
    net, (change, said) = tmp_path / "net", SPECS[name]
    write_circuit(net)
    spec = json.loads((net / "connectome.json").read_text(encoding="utf-8"))
    change(spec)
    (net / "connectome.json").write_text(json.dumps(spec), encoding="utf-8")
    refused(with_network(net, tmp_path), capsys, said, tmp_path)


TENSORS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a NaN bias": (lambda t: t["nodes_bias"].fill_(torch.nan), "finite nodes_bias"),
    "an infinite strength": (lambda t: t["edges_syn_strength"].fill_(torch.inf), "finite"),
    "no time constant": (lambda t: t["nodes_time_const"].zero_(), "positive time constants"),
    "a missing tensor": (lambda t: t.pop("edges_sign"), "tensor 'edges_sign'"),
    "a shorter tensor": (lambda t: t.update(nodes_bias=torch.zeros(3)), "expected 28 values"),
    "whole numbers": (lambda t: t.update(nodes_bias=torch.zeros(28, dtype=torch.int32)), "float"),
    "other signs": (lambda t: t["edges_sign"].neg_(), "signs"),
    "counts that overflow": (lambda t: t["edges_syn_count"].fill_(1000.0), "synapse counts"),
    "weights beyond float32": (lambda t: t["edges_syn_strength"].fill_(1e300), "finite|float32"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_weights_that_cannot_be(name: str, tmp_path: Path, capsys: Capture) -> None:
    change, said = TENSORS[name]
    write_circuit(tmp_path / "net", change_tensors=change)
    refused(with_network(tmp_path / "net", tmp_path), capsys, said, tmp_path)


def cut_off(spec: dict[str, Any]) -> None:
    """T4c keeps its inputs, and none of them is reached from a photoreceptor."""
    spec["edges"] = [e for e in spec["edges"] if not e["src"].startswith("R")]


def test_a_cell_type_that_light_does_not_reach(
    files: Files, tmp_path: Path, capsys: Capture
) -> None:
    net = write_circuit(tmp_path / "net", cut_off)
    refused(generate_command(tmp_path / "out", *net), capsys, "photoreceptors reach", tmp_path)
    refused(
        search_command(files.store, tmp_path / "out" / "search", *net),
        capsys,
        "path from the photoreceptors.*Mi1",
        tmp_path,
    )


def test_a_stimulus_too_short_for_light_to_arrive(tmp_path: Path, capsys: Capture) -> None:
    arguments = generate_command(tmp_path / "out", "--model.t_stim=0.01")
    refused(arguments, capsys, "within the stimulus", tmp_path)


def test_an_unstable_step(files: Files, tmp_path: Path, capsys: Capture) -> None:
    def strong(tensors: dict[str, Any]) -> None:
        tensors["edges_syn_strength"] *= 8

    net = write_circuit(tmp_path / "net", change_tensors=strong)
    said = "largest stable step"
    refused(generate_command(tmp_path / "out", *net, "--protocol.dt=0.05"), capsys, said, tmp_path)
    searched = search_command(files.store, tmp_path / "out/search", *net, "--protocol.dt=0.05")
    refused(searched, capsys, said, tmp_path)


# -- stores and results ---------------------------------------------------------------------------


def change_h5(path: Path, change: Callable[[h5py.File], Any]) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


@pytest.mark.parametrize("how", damage.COMMON)
def test_damaged_stores(how: str, files: Files, tmp_path: Path, capsys: Capture) -> None:
    store = files.copied("store.h5", tmp_path)
    damage.COMMON[how](store)
    refused(search_command(store, tmp_path / "out"), capsys, "store.h5", tmp_path)


def spoil_store(value: float) -> Callable[[h5py.File], None]:
    def spoil(file: h5py.File) -> None:
        file["scenes/00001/view_0"][3, 2] = value

    return spoil


STORES: dict[str, tuple[Callable[[h5py.File], Any], str]] = {
    "NaN": (spoil_store(np.nan), r"luminance in \[0, 1\]"),
    "infinite": (spoil_store(np.inf), r"luminance in \[0, 1\]"),
    "above white": (spoil_store(1.5), r"luminance in \[0, 1\]"),
    "no extent": (lambda f: f.attrs.__delitem__("extent"), "cannot be read as one"),
    "another extent": (lambda f: f.attrs.update(extent=3), "chunked"),
    "no scenes": (lambda f: f.__delitem__("scenes"), "group scenes"),
    "of the future": (lambda f: f.attrs.update(schema_version=99), "version"),
}


@pytest.mark.parametrize("name", STORES)
def test_stores_that_cannot_be(name: str, files: Files, tmp_path: Path, capsys: Capture) -> None:
    store, (change, said) = files.copied("store.h5", tmp_path), STORES[name]
    change_h5(store, change)
    refused(search_command(store, tmp_path / "out"), capsys, said, tmp_path)


def test_a_result_given_as_a_store_and_a_store_as_a_result(
    files: Files, tmp_path: Path, capsys: Capture
) -> None:
    result = files.search / "result.h5"
    refused(search_command(result, tmp_path / "out"), capsys, "of schema", tmp_path)
    refused(regularize_command(files.store, tmp_path / "out"), capsys, "expected", tmp_path)
    other = files.fit / "result.h5"
    refused(regularize_command(other, tmp_path / "out"), capsys, "result of a", tmp_path)


def test_one_bit_of_a_store_flipped(files: Files, tmp_path: Path, capsys: Capture) -> None:
    store = files.copied("store.h5", tmp_path)
    with h5py.File(store) as file:
        frame = file["scenes/00001/view_1"][5].tobytes()
    damage.flip_bit(store, frame, skip=8)
    refused(search_command(store, tmp_path / "out"), capsys, "sound frames", tmp_path)


@pytest.mark.parametrize("how", damage.COMMON)
def test_damaged_results(how: str, files: Files, tmp_path: Path, capsys: Capture) -> None:
    result = files.copied("search/result.h5", tmp_path)
    damage.COMMON[how](result)
    refused(regularize_command(result, tmp_path / "out"), capsys, "result.h5", tmp_path)


def put(name: str, index: Any, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name][index] = value

    return change


def remake(name: str, **kwargs: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **kwargs)

    return change


RESULTS: dict[str, tuple[Callable[[h5py.File], Any], str]] = {
    "a NaN pixel": (put("stimulus", (1, 3, 2), np.nan), "finite"),
    "an infinite pixel": (put("stimulus", (1, 3, 2), np.inf), "finite|infinite"),
    "a pixel above white": (put("stimulus", (1, 3, 2), 2.0), r"\[0, 1\]"),
    "no stimulus": (lambda f: f.__delitem__("stimulus"), "stimulus"),
    "stimuli of another shape": (remake("stimulus", data=np.zeros((3, 4))), "stimulus"),
    "stimuli of words": (remake("stimulus", data="none"), "stimulus"),
    "clips of no length": (put("n_frames", slice(None), 0), "frames"),
    "clips of negative length": (put("n_frames", slice(None), -4), "frames"),
    "clips longer than they are": (put("n_frames", slice(None), 10**6), "frames"),
    "an extent that is none": (lambda f: f.attrs.update(extent="wide"), "damaged or foreign"),
    "another extent": (lambda f: f.attrs.update(extent=9), "extent"),
    "a protocol that is none": (lambda f: f.attrs.update(protocol="[]"), "damaged or foreign"),
    "a protocol out of range": (lambda f: f.attrs.update(protocol='{"dt": -1}'), "dt > 0"),
    "another dt": (lambda f: f.attrs.update(protocol='{"dt": 0.02}'), "dt = 0.01"),
    "no hash": (lambda f: f.attrs.__delitem__("network_hash"), "damaged or foreign"),
    "names of no network": (lambda f: f.attrs.update(network_names="7"), "damaged or foreign"),
    "networks that are not there": (put("network", slice(None), 7), "network"),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_that_cannot_be(name: str, files: Files, tmp_path: Path, capsys: Capture) -> None:
    result, (change, said) = files.copied("search/result.h5", tmp_path), RESULTS[name]
    change_h5(result, change)
    refused(regularize_command(result, tmp_path / "out"), capsys, said, tmp_path)


def test_one_bit_of_a_result_flipped(files: Files, tmp_path: Path, capsys: Capture) -> None:
    result = files.copied("search/result.h5", tmp_path)
    with h5py.File(result) as file:
        data = file["stimulus"]
        offset = data.id.get_chunk_info(0).byte_offset if data.chunks else data.id.get_offset()
    content = bytearray(result.read_bytes())
    content[offset + 100] ^= 0x10
    result.write_bytes(content)
    refused(regularize_command(result, tmp_path / "out"), capsys, "result.h5", tmp_path)


# -- pictures and videos --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        (kind, how)
        for kind in ("png", "npy", "zip", "mp4")
        for how in ("truncated", "empty", "text", "zeros", "folder")
        # An array holds no checksum: zeros are black. A folder is no frame and is passed over.
        if (kind, how) not in (("npy", "zeros"), ("png", "folder"))
    ],
)
def test_damaged_movies(kind: str, how: str, tmp_path: Path, capsys: Capture) -> None:
    movies, spoilt = write_movie(tmp_path / "in", kind)
    damage.COMMON[how](spoilt)
    arguments = render_command(movies, tmp_path / "store.h5")
    refused(arguments, capsys, "expected", tmp_path)


def test_sound_movies_are_rendered(tmp_path: Path) -> None:
    for kind in KINDS:
        movies, _ = write_movie(tmp_path / kind, kind)
        assert main(render_command(movies, tmp_path / f"{kind}.h5")) == 0


ARRAYS = {
    "NaN": np.full((4, 20, 50), np.nan),
    "infinite": np.full((4, 20, 50), np.inf),
    "above white": np.full((4, 20, 50), 255.0),
    "below black": np.full((4, 20, 50), -0.1),
    "complex": np.zeros((4, 20, 50), dtype=complex),
    "of text": np.full((4, 20, 50), "white"),
    "of 16 bits": np.zeros((4, 20, 50), dtype=np.uint16),
    "one picture": np.zeros((20, 50)),
    "no frames": np.zeros((0, 20, 50)),
    "one frame, which is dropped": np.zeros((1, 20, 50)),
    "too narrow": np.zeros((4, 20, 2)),
    "four colours": np.zeros((4, 20, 50, 4)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_are_no_movies(name: str, tmp_path: Path, capsys: Capture) -> None:
    np.save(tmp_path / "movie.npy", ARRAYS[name])
    arguments = render_command(tmp_path / "movie.npy", tmp_path / "store.h5")
    refused(arguments, capsys, "movie", tmp_path)


RENDER = [
    ("--extent=-1", "extent as a whole number"),
    ("--extent=201", "extent as a whole number"),
    ("--kernel_size=0", "kernel_size"),
    ("--views=0", "views"),
    ("--width_fraction=0", "width_fraction"),
    ("--width_fraction=1.1", "width_fraction"),
    ("--drop_first=-1", "drop_first"),
    ("--drop_first=100", "more than 100 frames"),
    ("--frame_rate=0", "frame rate above 0"),
    ("--frame_rate=-24", "frame rate above 0"),
    ("--dtype=int8", "dtype of"),
]


@pytest.mark.parametrize(("option", "said"), RENDER)
def test_rendering_out_of_range(
    option: str, said: str, files: Files, tmp_path: Path, capsys: Capture
) -> None:
    arguments = render_command(files.movies, tmp_path / "store.h5", option)
    refused(arguments, capsys, said, tmp_path)


# -- going on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [name for name in damage.COMMON if name not in ("missing",)])
@pytest.mark.parametrize("command", ["fit", "search"])
def test_damaged_checkpoints(
    how: str, command: str, files: Files, tmp_path: Path, capsys: Capture
) -> None:
    output = files.copied(command, tmp_path)
    checkpoint = output / "checkpoints" / "last.ckpt"
    if how == "folder":
        arguments = again(command, files, output, f"--ckpt_path={tmp_path}")
    else:
        damage.COMMON[how](checkpoint)
        arguments = again(command, files, output)
    untouched(arguments, capsys, "expected a checkpoint", tmp_path)


def again(command: str, files: Files, output: Path, *more: str) -> list[str]:
    """The command that made `output`."""
    if command == "fit":
        return generate_command(output, *more)
    return search_command(files.store, output, *more)


def untouched(arguments: list[str], capsys: Capture, said: str, tmp_path: Path) -> None:
    """Refused, and nothing in the run's folder has changed but that TensorBoard opened a log."""
    before = contents(tmp_path)
    line = refusal(arguments, capsys)
    assert FORMULA.match(line) and re.search(said, line), line
    after = contents(tmp_path)
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after if ".part-" in name]


def test_checkpoints_of_search_and_fit_swapped(
    files: Files, tmp_path: Path, capsys: Capture
) -> None:
    ckpt = "checkpoints/last.ckpt"
    for command, other in (("fit", "search"), ("search", "fit")):
        output = files.copied(command, tmp_path)
        (output / ckpt).write_bytes((files.folder / other / ckpt).read_bytes())
        untouched(again(command, files, output), capsys, "expected a checkpoint of", tmp_path)


@pytest.mark.parametrize("command", ["fit", "search"])
def test_one_bit_of_a_checkpoint_flipped(
    command: str, files: Files, tmp_path: Path, capsys: Capture
) -> None:
    output = files.copied(command, tmp_path)
    checkpoint = output / "checkpoints" / "last.ckpt"
    held = torch.load(checkpoint, weights_only=True)
    table = held["state_dict"]["stimulus"] if command == "fit" else held["stimopt"]["top"]
    damage.flip_bit(checkpoint, table.numpy().tobytes()[:24])
    untouched(again(command, files, output), capsys, "expected a checkpoint", tmp_path)


OTHER_FITS = [
    ("--network.extent=3", "network_hash"),
    ("--model.cell_types=T4d", "items"),
    ("--model.seeds=1", "items"),
    ("--model.t_stim=0.2", "frames"),
    ("--protocol.t_pre=0.5", "t_pre"),
    ("--protocol.baseline=grey", "baseline"),
    ("--model.objective=last_frame", "objective"),
    ("--model.grey_weight=1", "grey_weight"),
    ("--model.parametrization=sigmoid", "parametrization"),
    ("--model.init=grey", "init"),
]


@pytest.mark.parametrize(("option", "said"), OTHER_FITS)
def test_another_fit_does_not_go_on(
    option: str, said: str, files: Files, tmp_path: Path, capsys: Capture
) -> None:
    output = files.copied("fit", tmp_path)
    untouched(generate_command(output, option), capsys, said, tmp_path)


OTHER_SEARCHES = [
    ("--model.cell_types=[Mi1, T4c]", "cell_types"),
    ("--model.top_k=2", "top_k"),
    ("--protocol.t_fade_in=0.1", "t_fade_in"),
    ("--protocol.dt=0.005", "data|dt"),
    ("--data.rotations=[0]", "data"),
    ("--data.stop_sample=10", "stop_sample"),
    ("--data.start_sample=1", "first_sample|start_sample"),
]


@pytest.mark.parametrize(("option", "said"), OTHER_SEARCHES)
def test_another_search_does_not_go_on(
    option: str, said: str, files: Files, tmp_path: Path, capsys: Capture
) -> None:
    output = files.copied("search", tmp_path)
    untouched(search_command(files.store, output, option), capsys, said, tmp_path)


def test_a_search_of_another_network_or_other_movies_does_not_go_on(
    files: Files, tmp_path: Path, capsys: Capture
) -> None:
    def weaker(tensors: dict[str, Any]) -> None:
        tensors["edges_syn_strength"] *= 0.9

    output = files.copied("search", tmp_path)
    net = write_circuit(tmp_path / "net", change_tensors=weaker)
    untouched(search_command(files.store, output, *net), capsys, "network_hash", tmp_path)
    movies = tmp_path / "movies"
    movies.mkdir()
    np.save(movies / "other.npy", np.full((24, 15, 40), 7, dtype=np.uint8))
    assert main(render_command(movies, tmp_path / "other.h5")) == 0
    untouched(search_command(tmp_path / "other.h5", output), capsys, "data", tmp_path)


def test_a_search_over_no_samples(files: Files, tmp_path: Path, capsys: Capture) -> None:
    for i, option in enumerate(("start_sample=100000", "stop_sample=0", "start_sample=-1")):
        arguments = search_command(files.store, tmp_path / f"out/{i}", f"--data.{option}")
        refused(arguments, capsys, "sample", tmp_path)


SEARCHES = [
    ("--data.batch_size=0", "batch_size >= 1"),
    ("--data.num_workers=-1", "num_workers >= 0"),
    ("--data.window_frames=0", "window"),
    ("--data.window_seconds=-1", "window"),
    ("--data.rotations=[6]", "rotation"),
    ("--data.mirrorings=[7]", "mirroring"),
    ("--data.stores=[]", "at least one store"),
    ("--model.top_k=0", "top_k|k >= 1|number of samples"),
    ("--protocol_preset=flyvis", "protocol preset"),
    ("--protocol.readout_start=3", "read-out window"),
    ("--network.extent=3", "extent 3"),
    ("--checkpoint_every=0", "every_n_batches >= 1"),
    ("--trainer.devices=1000", "at most .* devices on the CPU"),
]


@pytest.mark.parametrize(("option", "said"), SEARCHES)
def test_searches_out_of_range(
    option: str, said: str, files: Files, tmp_path: Path, capsys: Capture
) -> None:
    refused(search_command(files.store, tmp_path / "out", option), capsys, said, tmp_path)


def test_there_are_enough_cases() -> None:
    """What is counted here is what the project says it has tried."""
    tables = (OPTIONS, MISTYPED, CONFIGS, SPECS, TENSORS, STORES, RESULTS, ARRAYS, RENDER)
    going_on = (OTHER_FITS, OTHER_SEARCHES, SEARCHES)
    damaged = 2 * 6 + 6 + 6 + (4 * 5 - 2) + 2 * 5
    assert sum(map(len, tables)) + sum(map(len, going_on)) + damaged >= 200
