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
from stimopt.networks.opening import flyvis_network
from stimopt.optimize.generate import StimulusGenerator
from stimopt.protocol import Protocol

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

Trainers = Callable[..., pl.Trainer]

PEAK = """
import sys
from pathlib import Path

def peak():
    # Not getrusage: its figure is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])
"""
"""Peak resident memory of a process in kB."""


def kilobytes_of(script: str, *arguments: str) -> int:
    """The number that a script prints last, in a process of its own."""
    command = [sys.executable, "-c", PEAK + script, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    return int(done.stdout.split()[-1])


def test_65_types_of_4_networks_in_one_fit(
    trained_folder: Path, connectome_file: Path, make_trainer: Trainers, tmp_path: Path
) -> None:
    folders = [trained_folder / name for name in ("000", "001", "002", "003")]
    network = flyvis_network(folders, connectome_file)
    options: dict[str, Any] = {"t_stim": 0.3, "objective": "last_frame", "penalties": {"grey": 1.0}}
    fit = StimulusGenerator(network, "all", **options)
    assert len(fit.items) == 260
    make_trainer(3).fit(fit)
    losses = fit.record.history["loss/total"]
    assert losses.shape == (4, 260) and torch.isfinite(losses).all()
    assert (losses[-1] < losses[0]).float().mean() > 0.95
    path = fit.result().write(tmp_path / "result.h5")
    assert stimopt.read(path)["stimulus"].shape == (260, 30, 721)
    for i in (0, 100, 259):
        item = fit.items[i]
        alone = StimulusGenerator(network, item.cell_type, networks=[item.network], **options)
        make_trainer(3).fit(alone)
        torch.testing.assert_close(alone.record.history["loss/total"][:, 0], losses[:, i])


GRADIENT = """
import torch
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


def test_1000_frames_of_a_whole_eye(trained_folder: Path, connectome_file: Path) -> None:
    """A gate is a byte for `sparse`, 46 MB for 45,669 cells, and a bit for `fused`."""
    files = [str(trained_folder / "000"), str(connectome_file)]
    used = {
        (backend, segment): kilobytes_of(GRADIENT, *files, backend, segment)
        for backend in ("fused", "sparse")
        for segment in ("None", "100")
    }
    assert max(used.values()) < 200_000
    assert used["sparse", "100"] < used["sparse", "None"]


@pytest.mark.parametrize("extent", [1, 5, 15, 25])
def test_lattices_of_any_extent(
    extent: int, trained_folder: Path, connectome_file: Path, make_trainer: Trainers
) -> None:
    network = flyvis_network(trained_folder / "000", connectome_file, extent)
    fit = StimulusGenerator(network, "T4c,T5a", Protocol(t_pre=0.5), t_stim=0.3)
    make_trainer(3).fit(fit)
    losses = fit.record.history["loss/total"]
    assert torch.isfinite(losses).all() and (losses[-1] < losses[0]).all()
    assert fit.result().check(network) <= 1e-5


def test_the_centre_hardly_depends_on_the_size_of_the_lattice(
    trained_folder: Path, connectome_file: Path
) -> None:
    """A stimulus on the inner rings, grey beyond, gives the same response from extent 15 on."""
    noise = torch.rand((1, 40, 91), generator=torch.Generator().manual_seed(0))
    traces: dict[int, np.ndarray] = {}
    for extent in (15, 25):
        network = flyvis_network(trained_folder / "000", connectome_file, extent)
        lattice = network.lattice
        ring = np.maximum.reduce([abs(lattice.u), abs(lattice.v), abs(lattice.u + lattice.v)])
        x = torch.full((1, 40, lattice.n_columns), 0.5)
        x[:, :, np.flatnonzero(ring <= 5)] = noise
        cell = torch.tensor([network.cell_index("T4c")])
        with torch.no_grad():
            traces[extent] = network.respond(x, Protocol(baseline="grey"), cell)[0, :, 0].numpy()
    np.testing.assert_allclose(traces[15], traces[25], atol=0.05)
    assert np.abs(traces[15]).max() > 0.2
