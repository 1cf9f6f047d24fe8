"""The same seed gives the same bits, however the work is shared out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import lightning.pytorch as pl
import numba
import numpy as np
import pytest
import torch
from torch import Tensor

from stimopt.cli import main
from stimopt.networks.opening import builtin_network
from stimopt.optimize import penalties
from stimopt.optimize.generate import StimulusGenerator
from stimopt.optimize.regularize import StimulusRegularizer
from stimopt.protocol import Protocol
from stimopt.results import result as results
from stimopt.results.variables import stimulus_result
from tests.whole.commandline import Files, search_command

EXTENT, T_STIM = 15, 0.5
"""36,050 pixels an item: torch shares out sums of more than 32,768."""

CASES = ["generate fused", "generate sparse", "regularize fused", "several fused"]


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads(), numba.get_num_threads()
    yield
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])


def use_threads(n: int) -> None:
    torch.set_num_threads(n)
    numba.set_num_threads(min(n, numba.config.NUMBA_NUM_THREADS))


def fit(case: str, steps: int = 2) -> dict[str, np.ndarray]:
    """A short fit, and all numbers of its result."""
    kind, _, backend = case.partition(" ")
    network = builtin_network(EXTENT, backend=backend)
    protocol = Protocol(t_pre=0.2)
    if kind == "regularize":
        start = torch.rand(
            (1, round(T_STIM / protocol.dt), network.lattice.n_columns),
            generator=torch.Generator().manual_seed(2),
        )
        module: StimulusGenerator | StimulusRegularizer = StimulusRegularizer(
            network, "T4c", protocol, init=start, tolerance=0.3
        )
    else:
        types = "T4c,T5a,Mi1" if kind == "several" else "T4c"
        module = StimulusGenerator(
            network, types, protocol, t_stim=T_STIM, variation_weight=1.0, roughness_weight=1.0
        )
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(module)
    held = stimulus_result(module)
    return {n: v.values for n, v in held.variables.items() if v.values.dtype.kind in "fiu"}


@pytest.mark.filterwarnings("ignore:expected a greyer stimulus")
@pytest.mark.parametrize("case", CASES)
def test_a_fit_does_not_depend_on_threads(case: str) -> None:
    use_threads(1)
    alone = fit(case)
    for n in (3,) if "sparse" in case else (2, 5):
        use_threads(n)
        shared = fit(case)
        assert sorted(shared) == sorted(alone)
        for name, values in alone.items():
            assert values.tobytes() == shared[name].tobytes(), (name, n)


def test_a_single_sum_over_pixels_would_depend_on_threads() -> None:
    """The reason for two sums; if torch comes to do this alone, they can be one."""
    many = [torch.rand((1, 80, 721), generator=torch.Generator().manual_seed(i)) for i in range(20)]

    def depends(total: Callable[[Tensor], Tensor]) -> bool:
        found = []
        for n in (1, 2, 5):
            use_threads(n)
            found.append(torch.cat([total(pixels) for pixels in many]))
        return not (torch.equal(found[0], found[1]) and torch.equal(found[0], found[2]))

    assert depends(lambda x: ((x - 0.5) ** 2).sum(dim=(1, 2)))
    for penalty in (penalties.grey, penalties.grey_sum, penalties.temporal_roughness):
        assert not depends(penalty)


def numbers(path: Path) -> dict[str, bytes]:
    held = results.read(path)
    return {n: v.values.tobytes() for n, v in held.variables.items() if v.values.dtype.kind in "fi"}


def test_a_search_does_not_depend_on_threads_workers_or_batches(
    files: Files, tmp_path: Path
) -> None:
    expected = numbers(files.search / "result.h5")
    shares = (("1", "0", "16"), ("2", "0", "5"), ("3", "2", "64"), ("1", "1", "1"))
    for i, (threads, workers, batch) in enumerate(shares):
        use_threads(int(threads))
        options = [f"--data.num_workers={workers}", f"--data.batch_size={batch}"]
        assert main(search_command(files.store, tmp_path / str(i), *options)) == 0
        found = numbers(tmp_path / str(i) / "result.h5")
        # Items in a batch of another size are summed alike, so even the last bit is the same.
        assert found == expected, (threads, workers, batch)
