"""Small movies and networks that searches are tested on."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import h5py
import lightning.pytorch as pl
import numpy as np
import torch
from torch import nn

from stimopt.movies import render
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.movies.eye import RenderSettings
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.module import ModuleNetwork
from stimopt.networks.motion_circuit import motion_circuit_parameters
from stimopt.networks.opening import builtin_network
from stimopt.runs.checkpointing import SafeCheckpointIO
from stimopt.search.callbacks import SearchCheckpoint
from stimopt.search.naturalistic import NaturalisticSearch

EXTENT = 3
LENGTHS = (8, 20, 5, 31)
"""Frames of the scenes at 24 a second: samples of 4 scenes differ in length."""


def noise_store(folder: Path, extent: int = EXTENT, lengths: tuple[int, ...] = LENGTHS) -> Path:
    """A store of random scenes."""
    movies = folder / "movies"
    movies.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    side = 3 * (2 * extent + 3)
    for i, n in enumerate(lengths):
        np.save(movies / f"scene_{i}.npy", random.integers(0, 256, (n + 1, side, side), np.uint8))
    settings = RenderSettings(extent=extent, kernel_size=3, views=1, width_fraction=1.0)
    return render(movies, folder / "noise.h5", settings, progress=False)


def grey_store(folder: Path, levels: list[list[float]]) -> Path:
    """A store of uniform scenes, given by the luminance of each of their frames, 100 a second."""
    movies = folder / "movies"
    movies.mkdir(parents=True, exist_ok=True)
    side = 3 * (2 * EXTENT + 3)
    for i, frames in enumerate(levels):
        uniform = np.broadcast_to(
            np.array(frames, np.float32)[:, None, None], (len(frames), side, side)
        )
        np.save(movies / f"scene_{i}.npy", uniform)
    settings = RenderSettings(
        extent=EXTENT, kernel_size=3, views=1, width_fraction=1.0, drop_first=0
    )
    return render(movies, folder / "grey.h5", settings, frame_rate=100.0, progress=False)


class Linear(nn.Module):
    """Cell 0 is the centre's luminance, cell 1 half its negative, cell 2 always zero."""

    def __init__(self, n_columns: int) -> None:
        super().__init__()
        self.center = n_columns // 2

    def forward(self, luminance: torch.Tensor) -> torch.Tensor:
        x = luminance[..., self.center]
        return torch.stack([x, -x / 2, 0 * x], dim=-1)


def linear_network(extent: int = EXTENT) -> ModuleNetwork:
    """A network whose optima are known in closed form."""
    n_columns = 1 + 3 * extent * (extent + 1)
    return ModuleNetwork(Linear(n_columns), {"on": 0, "off": 1, "dull": 2}, extent)


def two_networks(extent: int = EXTENT) -> FrozenNetwork:
    """The built-in circuit, and the same with other biases."""
    one = builtin_network(extent)
    first = dataclasses.replace(motion_circuit_parameters(), name="first")
    random = np.random.default_rng(1)
    other = dataclasses.replace(
        first, name="other", bias=first.bias + random.normal(0, 0.2, len(first.bias))
    )
    return FrozenNetwork(one.connectome, [first, other], extent)


def trainer(folder: Path | None = None, **options: Any) -> pl.Trainer:
    """A silent Trainer on the CPU; with a folder, one that saves at every batch."""
    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "callbacks": [] if folder is None else [SearchCheckpoint(folder, every_n_batches=1)],
        "plugins": [SafeCheckpointIO()],
    }
    return pl.Trainer(**{**settings, **options})


def searched(
    search: NaturalisticSearch,
    data: StimulusDataModule,
    folder: Path | None = None,
    resume: bool = False,
    **options: Any,
) -> NaturalisticSearch:
    """Run a search to its end, or resume the one in the folder."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        trainer(folder, **options).test(
            search,
            datamodule=data,
            ckpt_path=folder / "last.ckpt" if folder is not None and resume else None,
            verbose=False,
        )
    return search


def variables_of(path: Path) -> dict[str, Any]:
    """Every array of a result file, by h5py alone."""
    with h5py.File(path) as file:
        return {name: file[name][()] for name in file}


def assert_same_result(one: Path, other: Path) -> None:
    """Two result files hold the same numbers, bit for bit."""
    first, second = variables_of(one), variables_of(other)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
