"""The same seed gives the same bits, however the work is shared out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numba
import pytest
import torch
from torch import Tensor

import stimopt
from stimopt.cli import main
from stimopt.networks.opening import builtin_network
from stimopt.optimize import penalties
from stimopt.optimize.generate import StimulusGenerator
from stimopt.optimize.module import StimulusModule
from stimopt.optimize.regularize import StimulusRegularizer
from stimopt.protocol import Protocol
from stimopt.results import Result
from tests.whole.commandline import Files, search_command

Trainers = Callable[..., pl.Trainer]

EXTENT, N_FRAMES = 15, 50
"""36,050 pixels an item: torch shares out sums of more than 32,768."""


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads(), numba.get_num_threads()
    yield
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])


def use_threads(n: int) -> None:
    torch.set_num_threads(n)
    numba.set_num_threads(min(n, numba.config.NUMBA_NUM_THREADS))


def make_fit(case: str) -> StimulusModule:
    kind, backend = case.split()
    network, protocol = builtin_network(EXTENT, backend=backend), Protocol(t_pre=0.2)
    if kind == "regularize":
        shape = (1, N_FRAMES, network.lattice.n_columns)
        start = torch.rand(shape, generator=torch.Generator().manual_seed(2))
        return StimulusRegularizer(network, "T4c", protocol, init=start, tolerance=0.3)
    weights = {"grey": 3000.0, "variation": 1.0, "roughness": 1.0}
    types = "T4c,T5a,Mi1" if kind == "several" else "T4c"
    return StimulusGenerator(network, types, protocol, t_stim=0.5, penalties=weights)


def numbers(result: Result) -> dict[str, bytes]:
    variables = result.variables.items()
    return {n: v.values.tobytes() for n, v in variables if v.values.dtype.kind in "fiu"}


@pytest.mark.filterwarnings("ignore:expected a greyer stimulus")
@pytest.mark.parametrize(
    "case", ["generate fused", "generate sparse", "regularize fused", "several fused"]
)
def test_a_fit_does_not_depend_on_threads(case: str, make_trainer: Trainers) -> None:
    results: list[Any] = []
    for n in (1, 3) if "sparse" in case else (1, 2, 5):
        use_threads(n)
        fit = make_fit(case)
        make_trainer(2).fit(fit)
        results.append(numbers(fit.result()))
    assert all(result == results[0] for result in results)


def test_a_single_sum_over_pixels_would_depend_on_threads() -> None:
    """The reason for two sums; if torch comes to do this alone, they can be one."""
    many = [torch.rand((1, 80, 721), generator=torch.Generator().manual_seed(i)) for i in range(20)]

    def depends(total: Callable[[Tensor], Tensor]) -> bool:
        sums = []
        for n in (1, 2, 5):
            use_threads(n)
            sums.append(torch.cat([total(pixels) for pixels in many]))
        return not (torch.equal(sums[0], sums[1]) and torch.equal(sums[0], sums[2]))

    assert depends(lambda x: ((x - 0.5) ** 2).sum(dim=(1, 2)))
    for penalty in (penalties.grey, penalties.grey_sum, penalties.temporal_roughness):
        assert not depends(penalty)


def test_a_search_does_not_depend_on_threads_workers_or_batches(
    files: Files, tmp_path: Path
) -> None:
    # Items in a batch of another size are summed alike, so even the last bit is the same.
    expected = numbers(stimopt.read(files.search / "result.h5"))
    for i, (threads, workers, batch) in enumerate([(1, 0, 16), (2, 0, 5), (3, 2, 64), (1, 1, 1)]):
        use_threads(threads)
        options = [f"--data.num_workers={workers}", f"--data.batch_size={batch}"]
        assert main(search_command(files.store, tmp_path / str(i), *options)) == 0
        assert numbers(stimopt.read(tmp_path / str(i) / "result.h5")) == expected, (threads, batch)
