"""Far more than usual: all cell types of several networks, long stimuli, large lattices."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

import stimopt
from stimopt.cli import main
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import builtin_network, flyvis_network
from stimopt.optimize.generate import StimulusGenerator
from stimopt.protocol import Protocol
from stimopt.results import result as results
from stimopt.results.variables import stimulus_result

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

Trainers = Callable[..., pl.Trainer]


PEAK = """
from pathlib import Path

def peak():
    # Not getrusage: its figure is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])
"""
"""Peak resident memory of a process in kB."""


def peak_kilobytes() -> int:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def test_65_types_of_4_networks_in_one_fit(
    trained_folder: Path, connectome_file: Path, make_trainer: Trainers, tmp_path: Path
) -> None:
    folders = [trained_folder / name for name in ("000", "001", "002", "003")]
    network = flyvis_network(folders, connectome_file)
    before = peak_kilobytes()
    # An item more or fewer beside it changes nothing: one alone has the same losses.
    fit = StimulusGenerator(network, "all", t_stim=0.3, objective="last_frame", grey_weight=1.0)
    assert len(fit.items) == 260
    make_trainer(3).fit(fit)
    history = fit.history["loss/total"]
    assert history.shape == (4, 260) and torch.isfinite(history).all()
    assert (history[-1] < history[0]).float().mean() > 0.95
    print(f"260 items x 30 frames x 721 columns: {(peak_kilobytes() - before) / 1024:.0f} MB")
    result = stimulus_result(fit)
    path = result.write(tmp_path / "result.h5")
    held = results.read(path)
    assert held["stimulus"].shape == (260, 30, 721)
    for i in (0, 100, 259):
        item = fit.items[i]
        one = StimulusGenerator(
            network,
            item.cell_type,
            t_stim=0.3,
            networks=[item.network],
            objective="last_frame",
            grey_weight=1.0,
        )
        make_trainer(3).fit(one)
        assert torch.allclose(one.history["loss/total"][:, 0], history[:, i], atol=1e-5)


MEASURE = f"""{PEAK}
import sys
from stimopt.cli import main
assert main(sys.argv[1:]) == 0
print("peak", peak())
"""


def test_100_000_samples_searched_in_flat_memory(tmp_path: Path) -> None:
    movies = tmp_path / "movies"
    movies.mkdir()
    random = np.random.default_rng(0)
    for i in range(28):
        frames = random.integers(0, 256, (120, 15, 40), dtype=np.uint8)
        np.save(movies / f"{i:02d}.npy", frames)
    store = tmp_path / "store.h5"
    small = ["--extent=2", "--kernel_size=3", "--views=5", "--width_fraction=1", "--progress=false"]
    assert main(["render", str(movies), str(store), *small]) == 0
    peaks, answers = {}, {}
    # 28 scenes of 5 views, cut into 6 windows and turned 12 ways, are 10,080 samples.
    for times in (1, 10):
        output = tmp_path / str(times)
        arguments = [
            *("search", "--network.extent=2", "--trainer.accelerator=cpu", f"--output={output}"),
            *("--trainer.enable_progress_bar=false", "--trainer.logger=false"),
            *("--data.batch_size=256", "--checkpoint_every=20", "--protocol.t_pre=0.1"),
            f"--data.stores=[{', '.join([str(store)] * times)}]",
        ]
        root = Path(stimopt.__file__).parents[1]
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, *arguments],
            capture_output=True,
            text=True,
            check=True,
            cwd=root,
        )
        peaks[times] = int(done.stdout.split()[-1])
        answers[times] = results.read(output / "result.h5")
    print("samples:", answers[10].config["samples"], "peak kB:", peaks)
    assert answers[10].config["samples"] >= 100_000
    assert peaks[10] / peaks[1] < 1.05
    for name in ("sample", "peak_response"):
        np.testing.assert_array_equal(answers[1][name], answers[10][name])


def test_a_stimulus_of_10_seconds(small_network: FrozenNetwork, make_trainer: Trainers) -> None:
    def generator(segment: int | None) -> StimulusGenerator:
        network = builtin_network(small_network.lattice.extent, segment=segment)
        return StimulusGenerator(network, "T4c", t_stim=10.0, objective="last_frame")

    fits = {segment: generator(segment) for segment in (None, 100)}
    for fit in fits.values():
        make_trainer(5).fit(fit)
        assert fit.stimulus.shape == (1, 1000, 61)
    assert torch.equal(fits[None].stimulus, fits[100].stimulus)
    assert torch.equal(fits[None].history["loss/total"], fits[100].history["loss/total"])
    assert fits[100].history["loss/total"][-1] < fits[100].history["loss/total"][0]


def test_1000_frames_of_a_whole_eye(trained_folder: Path, connectome_file: Path) -> None:
    """A gate is a byte for `sparse`, 46 MB for 45,669 cells, and a bit for `fused`."""
    script = f"""{PEAK}
import sys, torch
from stimopt.networks.opening import flyvis_network
from stimopt.protocol import Protocol
segment = None if sys.argv[4] == "None" else int(sys.argv[4])
network = flyvis_network(*sys.argv[1:3], backend=sys.argv[3], segment=segment)
cell, protocol = torch.tensor([network.cell_index("T4c")]), Protocol(t_pre=0.1)

def gradient(n_frames):
    x = torch.full((1, n_frames, 721), 0.5, requires_grad=True)
    network.respond(x, protocol, cell)[:, -1].sum().backward()
    assert torch.isfinite(x.grad).all() and x.grad[:, -20:].abs().max() > 0

gradient(120)  # in two segments: what that imports weighs more than what is saved
before = peak()
gradient(1000)
print(peak() - before)
"""
    used: dict[str, int] = {}
    for case in ("fused None", "fused 100", "sparse None", "sparse 100"):
        folders = [str(trained_folder / "000"), str(connectome_file)]
        done = subprocess.run(
            [sys.executable, "-c", script, *folders, *case.split()],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(stimopt.__file__).parents[1],
        )
        used[case] = int(done.stdout)
    print("kB for 1,000 frames:", used)
    assert max(used.values()) < 200_000
    assert used["sparse 100"] < used["sparse None"]


@pytest.mark.parametrize("extent", [1, 5, 15, 25])
def test_lattices_of_any_extent(
    extent: int, trained_folder: Path, connectome_file: Path, make_trainer: Trainers
) -> None:
    network = flyvis_network(trained_folder / "000", connectome_file, extent)
    assert network.lattice.n_columns == 1 + 3 * extent * (extent + 1)
    fit = StimulusGenerator(network, "T4c,T5a", Protocol(t_pre=0.5), t_stim=0.3)
    make_trainer(3).fit(fit)
    losses = fit.history["loss/total"]
    assert torch.isfinite(losses).all() and (losses[-1] < losses[0]).all()
    assert stimulus_result(fit).check(network) <= 1e-5


def test_the_centre_hardly_sees_how_large_the_lattice_is(
    trained_folder: Path, connectome_file: Path
) -> None:
    """A stimulus on the inner rings, grey beyond, gives the same response from extent 15 on."""
    found: dict[int, Any] = {}
    for extent in (15, 25):
        network = flyvis_network(trained_folder / "000", connectome_file, extent)
        lattice = network.lattice
        ring = np.maximum.reduce([abs(lattice.u), abs(lattice.v), abs(lattice.u + lattice.v)])
        x = torch.full((1, 40, lattice.n_columns), 0.5)
        inner = np.flatnonzero(ring <= 5)
        noise = torch.rand((1, 40, len(inner)), generator=torch.Generator().manual_seed(0))
        x[:, :, inner] = noise
        cell = torch.tensor([network.cell_index("T4c")])
        with torch.no_grad():
            found[extent] = network.respond(x, Protocol(baseline="grey"), cell)[0, :, 0].numpy()
    np.testing.assert_allclose(found[15], found[25], atol=0.05)
    assert np.abs(found[15]).max() > 0.2
