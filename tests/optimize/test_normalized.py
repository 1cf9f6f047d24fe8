"""A consensus of readings on their own scales: by hand, and in fits of two networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stimopt.networks.frozen import FrozenNetwork
from stimopt.optimize.ceiling import ResponseRange
from stimopt.optimize.generate import StimulusGenerator
from stimopt.optimize.normalized import NormalizedPool
from stimopt.protocol import Protocol
from stimopt.runs.trainer import fit
from tests.search.cases import two_networks

GREY, SPAN = [[0.0, 10.0], [1.0, -1.0]], [[2.0, 100.0], [0.5, 4.0]]
VALUES = torch.tensor([[1.0, 10.0], [2.0, 110.0], [1.5, 1.0], [1.0, 3.0]])
"""Two items of each of two cells; by hand [1/2, 0], [1, 1], [1, 1/2] and [0, 1]."""


def test_each_reading_is_normalized_by_its_own_range() -> None:
    assert NormalizedPool(GREY, SPAN)(VALUES).tolist() == [0.25, 1.0, 0.75, 0.5]
    assert NormalizedPool(GREY, SPAN, "worst")(VALUES).tolist() == [0.0, 1.0, 0.5, 0.0]


def test_any_pool_takes_the_normalized_readings() -> None:
    assert NormalizedPool(GREY, SPAN, "difference")(VALUES).tolist() == [0.5, 0.0, 0.5, -1.0]
    assert NormalizedPool(GREY, SPAN, "spread")(VALUES).tolist() == [0.25, 0.0, 0.25, 0.5]


def test_weights_count_in_the_mean() -> None:
    weighted = NormalizedPool(GREY, SPAN, weights=[3.0, 1.0])(VALUES)
    assert weighted.tolist() == pytest.approx([3 / 8, 1.0, 7 / 8, 1 / 4])
    alone = NormalizedPool(GREY, SPAN, weights=[0.0, 1.0])(VALUES)
    assert alone.tolist() == pytest.approx([0.0, 1.0, 0.5, 1.0])
    of_cells = [[0.0, 1.0], [1.0, 0.0]]
    for pool in ("mean", "worst"):
        chosen = NormalizedPool(GREY, SPAN, pool, of_cells)(VALUES)
        assert chosen.tolist() == pytest.approx([0.0, 1.0, 1.0, 0.0])


@pytest.fixture(scope="module")
def both() -> FrozenNetwork:
    return two_networks(extent=3)


def test_scale_of_a_network_does_not_count_in_a_fit(both: FrozenNetwork) -> None:
    """A network whose range is stated a thousand times larger counts a thousand times less."""

    def gain(span: list[float]) -> np.ndarray[Any, Any]:
        pool = NormalizedPool([[0.0, 0.0]], [span])
        options: dict[str, Any] = {"t_stim": 0.1, "objective": "last_frame", "penalties": {}}
        consensus = StimulusGenerator(both, "T4c", consensus=True, pool=pool, **options)
        before = consensus.result()["reading_response"][0, :, -1]
        return np.asarray(fit(consensus, steps=15)["reading_response"][0, :, -1] - before)

    first, second = gain([1.0, 1000.0]), gain([1000.0, 1.0])
    assert first[0] > second[0] + 1e-3
    assert second[1] > first[1] + 1e-3


def test_fits_with_other_numbers_are_other_runs(both: FrozenNetwork) -> None:
    def pool_of(span: list[float]) -> object:
        pool = NormalizedPool([[0.0, 0.0]], [span])
        fit = StimulusGenerator(both, "T4c", t_stim=0.1, consensus=True, pool=pool)
        return fit.settings()["pool"]

    assert pool_of([1.0, 2.0]) == pool_of([1.0, 2.0]) != pool_of([1.0, 3.0])
    assert "NormalizedPool(mean, " in str(pool_of([1.0, 2.0]))


def test_refuses_what_does_not_fit(both: FrozenNetwork) -> None:
    for message, arguments in (
        ("pool as one of", (GREY, SPAN, "median")),
        ("weights with pool 'mean' or 'worst'", (GREY, SPAN, "spread", [1.0, 2.0])),
        ("span (2, 2)", (GREY, [[1.0, 1.0]])),
        ("spans above 0", (GREY, [[1.0, 0.0], [1.0, 1.0]])),
        ("weights (2,) or (2, 2)", (GREY, SPAN, "mean", [1.0])),
        ("not all 0", (GREY, SPAN, "worst", [[1.0, 1.0], [0.0, 0.0]])),
        ("not all 0", (GREY, SPAN, "mean", [0.0, 0.0])),
        ("not all 0", (GREY, SPAN, "mean", [2.0, -1.0])),
    ):
        with pytest.raises(ValueError, match=r"^expected .*, got .*; ") as error:
            NormalizedPool(*arguments)
        assert message in str(error.value)
    # Three cell types, and a pool for two.
    types = ["T4a", "T4b", "T4c"]
    with pytest.raises(ValueError, match=r"items of 2 cell types with 2 readings, got 3 items"):
        fit(
            StimulusGenerator(
                both, types, t_stim=0.1, consensus=True, pool=NormalizedPool(GREY, SPAN)
            ),
            steps=1,
        )


def test_a_consensus_is_named_by_the_file_of_its_ceilings(
    both: FrozenNetwork, tmp_path: Path
) -> None:
    ranges = fit(ResponseRange(both, ["T4c", "T5a"], t_stim=0.1), steps=3)
    path = ranges.write(tmp_path / "ranges.h5")
    options: dict[str, Any] = {"t_stim": 0.1, "consensus": True}
    for prefix, name in (("normalized", "mean"), ("normalized_worst", "worst")):
        by_file = ResponseRange(both, ["T5a", "T4c"], pool=f"{prefix}:{path}", **options)
        pool = NormalizedPool.of(ranges, ["T5a", "T4c"], [0, 1], name)
        passed = ResponseRange(both, ["T5a", "T4c"], pool=pool, **options)
        assert by_file.settings()["pool"] == passed.settings()["pool"]
    for message, change in (
        ("a consensus with pool", {"consensus": False}),
        ("nothing.h5", {"pool": f"normalized:{tmp_path / 'nothing.h5'}"}),
    ):
        chosen = {"pool": f"normalized:{path}", **options, **change}
        with pytest.raises(ValueError, match=r"^expected .*, got .*") as error:
            ResponseRange(both, "T4c", **chosen)
        assert message in str(error.value)


def test_refuses_ceilings_of_other_fits(both: FrozenNetwork) -> None:
    """A response later, averaged, or in another network is not a part of such a ceiling."""
    options: dict[str, Any] = {"t_stim": 0.1, "consensus": True}
    pool = NormalizedPool.of(fit(ResponseRange(both, "T4c", t_stim=0.1), steps=3), ["T4c"], [0, 1])
    ResponseRange(both, "T4c", pool=pool, **options)
    for message, network, change in (
        ("ceilings with frames 20, got 10", both, {"t_stim": 0.2}),
        ("ceilings with objective window_mean, got last_frame", both, {"objective": "window_mean"}),
        ("ceilings with protocol.t_pre 0.5, got 1.0", both, {"protocol": Protocol(t_pre=0.5)}),
        ("ceilings with sign -1, got 1", both, {"sign": -1}),
        ("ceilings with network_hash", two_networks(extent=2), {}),
    ):
        for of_fit in (ResponseRange, StimulusGenerator):
            chosen = {"objective": "last_frame", "pool": pool, **options, **change}
            with pytest.raises(ValueError, match=r"^expected .*, got .*; ") as error:
                of_fit(network, "T4c", **chosen)
            assert message in str(error.value)


def test_refuses_floors_normalized_by_ceilings(both: FrozenNetwork) -> None:
    pool = NormalizedPool([[0.0, 0.0]], [[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"^expected ceilings or floors alone .*, got both; "):
        ResponseRange(both, "T4c", t_stim=0.1, consensus=True, pool=pool, floor=True)
