"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import Checkpoint

from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import builtin_network, flyvis_network
from stimopt.runs.checkpointing import SafeCheckpointIO

if TYPE_CHECKING:
    from tests.whole.forked import Forks


def pytest_collection_finish() -> None:
    """Spare the garbage collector what is imported by now: a fifth of the time of drawing tests."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the trained networks, the film scenes and the recorded flyvis values.

    `STIMOPT_SHARED` names it; otherwise it is looked for beside the checkout.
    """
    folder = Path(os.environ.get("STIMOPT_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip(f"no trained networks and recorded values at {folder} (set STIMOPT_SHARED)")
    return folder


@pytest.fixture(scope="session")
def connectome_file(shared: Path) -> Path:
    """The published connectome."""
    return shared / "data" / "flyvis" / "connectome" / "fib25-fib19_v2.2.json"


@pytest.fixture(scope="session")
def trained_folder(shared: Path) -> Path:
    """The folder whose subfolders 000 to 004 are trained networks."""
    return shared / "data" / "flyvis" / "results" / "flow" / "0000"


@pytest.fixture(scope="session")
def real_network(trained_folder: Path, connectome_file: Path) -> FrozenNetwork:
    """Network 000."""
    return flyvis_network(trained_folder / "000", connectome_file)


@pytest.fixture(scope="session")
def recorded(shared: Path) -> Iterator[h5py.File]:
    """What flyvis 1.2.0 gave on network 000."""
    with h5py.File(shared / "reference" / "flyvis-1.2.0.h5", "r") as file:
        yield file


@pytest.fixture(scope="session")
def small_network() -> FrozenNetwork:
    """The built-in circuit on 61 columns: the real code path in a tenth of a second."""
    return builtin_network(extent=4)


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Forks:
    """Processes that need not import everything again."""
    from tests.whole.forked import Forks

    return Forks(tmp_path_factory.mktemp("log") / "log.txt")


@pytest.fixture
def make_trainer() -> Callable[..., pl.Trainer]:
    """A quiet Trainer on the CPU; more options by name."""

    def make(max_steps: int, **options: Any) -> pl.Trainer:
        settings: dict[str, Any] = {
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": any(
                isinstance(callback, Checkpoint) for callback in options.get("callbacks", [])
            ),
            "plugins": [SafeCheckpointIO()],
        }
        return pl.Trainer(max_steps=max_steps, **{**settings, **options})

    return make
