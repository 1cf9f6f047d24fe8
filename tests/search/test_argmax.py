"""The running top k against sorting everything at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics import Metric

from stimopt.search.argmax import PeakTable, RunningArgmax, empty_top, merge_top, pack, unpack

# Few different values, so that ties are common.
voltages = st.sampled_from([-2.5, -1.0, -0.0, 0.0, 0.25, 1.0, 3.0e38])


@st.composite
def streams(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Responses `(samples, networks, types)` and peak frames of a small pass."""
    shape = (draw(st.integers(1, 14)), draw(st.integers(1, 2)), draw(st.integers(1, 3)))
    size = int(np.prod(shape))
    response = draw(st.lists(voltages, min_size=size, max_size=size))
    frame = draw(st.lists(st.integers(0, 5), min_size=size, max_size=size))
    return np.array(response, np.float32).reshape(shape), np.array(frame).reshape(shape)


def best_by_sorting(
    response: np.ndarray, frame: np.ndarray, windows: np.ndarray, k: int, one_per_window: bool
) -> list[list[list[tuple[float, int, int]]]]:
    """(response, frame, sample) of the best k, by sorting all and walking down."""
    n, networks, types = response.shape
    best = []
    for i in range(networks):
        rows = []
        for j in range(types):
            order = sorted(range(n), key=lambda s: (-response[s, i, j], s))
            ranked, used = [], set()
            for s in order:
                if one_per_window and windows[s] in used:
                    continue
                used.add(windows[s])
                ranked.append((float(response[s, i, j]), int(frame[s, i, j]), s))
            rows.append(ranked[:k])
        best.append(rows)
    return best


def entries(metric: RunningArgmax) -> list[list[list[tuple[float, int, int]]]]:
    top = unpack(metric.top)
    return [
        [
            [
                (float(top.response[i, j, r]), int(top.peak_frame[i, j, r]), int(s))
                for r, s in enumerate(top.sample[i, j].tolist())
                if s >= 0
            ]
            for j in range(top.sample.shape[1])
        ]
        for i in range(top.sample.shape[0])
    ]


def feed(
    metric: RunningArgmax,
    response: np.ndarray,
    frame: np.ndarray,
    windows: np.ndarray,
    samples: list[int],
) -> None:
    metric.update(
        torch.as_tensor(response[samples]),
        torch.as_tensor(frame[samples]),
        torch.tensor(samples),
        torch.as_tensor(windows[samples]),
    )


@settings(deadline=None, max_examples=50)
@given(streams(), st.integers(1, 5), st.booleans(), st.integers(1, 4), st.data())
def test_any_order_batching_sharing_and_repetition_give_the_sorted_answer(
    stream: tuple[np.ndarray, np.ndarray],
    k: int,
    one_per_window: bool,
    per_window: int,
    data: st.DataObject,
) -> None:
    response, frame = stream
    n = len(response)
    windows = np.arange(n) // per_window
    expected = best_by_sorting(response, frame, windows, k, one_per_window)
    # Every sample at least once, some twice, in any order, cut anywhere, among some processes.
    repeated = data.draw(st.lists(st.integers(0, n - 1), max_size=5))
    order = data.draw(st.permutations([*range(n), *repeated]))
    n_processes = data.draw(st.integers(1, 3))
    shares: list[list[int]] = [[] for _ in range(n_processes)]
    for s in order:
        shares[data.draw(st.integers(0, n_processes - 1))].append(s)
    metrics = []
    for share in shares:
        metric = RunningArgmax(response.shape[1], response.shape[2], k, one_per_window)
        size = data.draw(st.integers(1, n + 5))
        for start in range(0, len(share), size):
            feed(metric, response, frame, windows, share[start : start + size])
        metrics.append(metric)
    # What torchmetrics does among processes: stack the states and reduce them.
    reduce = metrics[0]._reductions["top"]
    assert reduce is not None
    merged = RunningArgmax(response.shape[1], response.shape[2], k, one_per_window)
    merged.top = reduce(torch.stack([m.top for m in metrics]))  # type: ignore[operator]
    assert entries(merged) == expected
    # Merging what is merged changes nothing.
    again = merge_top(torch.cat([merged.top, merged.top], dim=2), k, one_per_window)
    assert torch.equal(again, merged.top)


def test_the_lowest_sample_wins_a_tie_whichever_comes_first() -> None:
    for samples in ([7, 3, 9], [9, 7, 3], [3, 9, 7]):
        metric = RunningArgmax(1, 1, k=2)
        for s in samples:
            metric.update(torch.ones(1, 1, 1), torch.zeros(1, 1, 1), torch.tensor([s]))
        assert metric.compute().sample.flatten().tolist() == [3, 7]


def test_zero_and_minus_zero_tie() -> None:
    metric = RunningArgmax(1, 1)
    metric.update(torch.tensor([-0.0, 0.0])[:, None, None], torch.zeros(2, 1, 1), torch.arange(2))
    assert int(metric.top[0, 0, 0, 2]) == 0
    assert not torch.signbit(metric.compute().response).any()


def test_fewer_samples_than_asked_for_leave_empty_entries() -> None:
    metric = RunningArgmax(1, 2, k=3)
    metric.update(torch.tensor([[[1.0, -4.0]]]), torch.tensor([[[2, 5]]]), torch.tensor([11]))
    top = metric.compute()
    assert top.sample.tolist() == [[[11, -1, -1], [11, -1, -1]]]
    assert top.peak_frame.tolist() == [[[2, -1, -1], [5, -1, -1]]]
    assert top.response.tolist() == [[[1.0, -np.inf, -np.inf], [-4.0, -np.inf, -np.inf]]]


def test_a_change_of_precision_around_the_metric_rounds_nothing() -> None:
    metric = RunningArgmax(1, 1)
    value, sample = 1.8261283636, 2**40 + 1
    metric.update(torch.full((1, 1, 1), value), torch.full((1, 1, 1), 29), torch.tensor([sample]))
    module = torch.nn.Sequential(torch.nn.Linear(1, 1), metric).to(torch.bfloat16)
    assert module[0].weight.dtype == torch.bfloat16
    top = unpack(metric.top)
    assert float(top.response) == float(np.float32(value))
    assert int(top.sample) == sample and int(top.peak_frame) == 29


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_packing_keeps_every_float32(values: list[float]) -> None:
    response = torch.tensor(values, dtype=torch.float32)
    number = torch.arange(len(values))
    top = unpack(pack(response, number, number + 1, number + 2))
    assert torch.equal(top.response, response)
    assert top.window.tolist() == (number + 2).tolist()


def test_memory_does_not_grow_with_samples() -> None:
    metric = RunningArgmax(2, 65, k=5)
    size = metric.top.numel()
    for start in range(0, 300, 30):
        metric.update(
            torch.rand(30, 2, 65), torch.zeros(30, 2, 65), torch.arange(start, start + 30)
        )
    assert metric.top.numel() == size == 2 * 65 * 5 * 4
    assert empty_top(2, 65, 5).numel() == size


def test_a_metric_is_reset_copied_and_merged_as_torchmetrics_does() -> None:
    one, other = RunningArgmax(1, 1, k=2), RunningArgmax(1, 1, k=2)
    one.update(torch.tensor([[[1.0]], [[3.0]]]), torch.zeros(2, 1, 1), torch.tensor([0, 1]))
    other.update(torch.tensor([[[2.0]], [[3.0]]]), torch.zeros(2, 1, 1), torch.tensor([2, 3]))
    one.merge_state(other)
    assert unpack(one.top).sample.flatten().tolist() == [1, 3]
    assert isinstance(one, Metric)
    one.reset()
    assert torch.equal(one.top, empty_top(1, 1, 2))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rejects_responses_that_are_not_finite(bad: float) -> None:
    metric = RunningArgmax(1, 1)
    with pytest.raises(ValueError, match="expected finite responses, got 1"):
        metric.update(torch.full((1, 1, 1), bad), torch.zeros(1, 1, 1), torch.tensor([0]))


def test_rejects_bad_calls() -> None:
    with pytest.raises(ValueError, match="expected top_k as a whole number >= 1"):
        RunningArgmax(1, 1, k=0)
    metric = RunningArgmax(1, 2, one_per_window=True)
    zeros = torch.zeros(1, 1, 2)
    with pytest.raises(ValueError, match="expected the window of each sample"):
        metric.update(zeros, zeros, torch.tensor([0]))
    with pytest.raises(ValueError, match=r"expected peak responses \(1, 1, 2\)"):
        metric.update(torch.zeros(1, 2), zeros, torch.tensor([0]), torch.tensor([0]))
    with pytest.raises(ValueError, match="sample and window numbers >= 0"):
        metric.update(zeros, zeros, torch.tensor([-1]), torch.tensor([0]))


def test_the_table_of_all_peaks() -> None:
    table = PeakTable(4, 1, 1, first_sample=10)
    table.update(torch.tensor([[[1.0]], [[2.0]]]), torch.tensor([13, 10]))
    expected = [2.0, -np.inf, -np.inf, 1.0]
    assert table.compute().flatten().tolist() == expected
    other = PeakTable(4, 1, 1, first_sample=10)
    other.update(torch.tensor([[[5.0]]]), torch.tensor([11]))
    table.merge_state(other)
    assert table.table.flatten().tolist() == [2.0, 5.0, -np.inf, 1.0]
