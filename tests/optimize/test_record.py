from __future__ import annotations

import pytest
import torch

from stimopt.optimize.record import Record, StopReason
from stimopt.optimize.terms import TOTAL

INF = float("inf")


@pytest.fixture(autouse=True, params=["cpu", "as on an accelerator"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test by both ways: flags are read on a CPU, and not waited for on an accelerator."""
    if request.param != "cpu":
        monkeypatch.setattr("stimopt.optimize.record._on_accelerator", lambda tensor: True)


def observed(losses: list[list[float]], patience: int | None = None) -> Record:
    """A record of these losses, `(iterates, items)`; iterate i's luminance is i."""
    record = Record(torch.zeros((len(losses[0]), 1, 1)), patience)
    for i, row in enumerate(losses):
        loss = torch.tensor(row)
        record.observe({TOTAL: loss}, loss, torch.full((len(row), 1, 1), float(i)))
    return record


def test_each_item_has_its_own_best_iterate() -> None:
    record = observed([[3.0, 1.0], [2.0, 5.0], [4.0, 0.5]])
    assert record.best_step.tolist() == [1, 2]
    assert record.best_score.tolist() == [2.0, 0.5]
    assert record.best_stimulus.flatten().tolist() == [1.0, 2.0]
    assert record.history[TOTAL].tolist() == [[3.0, 1.0], [2.0, 5.0], [4.0, 0.5]]


def test_the_first_of_two_equal_iterates_is_the_best() -> None:
    assert observed([[1.0], [1.0]]).best_step.tolist() == [0]


@pytest.mark.parametrize("value", [INF, float("nan")])
def test_an_item_whose_loss_is_not_finite_stops_alone(value: float) -> None:
    record = observed([[3.0, 3.0], [value, 2.0], [0.0, 1.0]])
    assert record.stop_reasons == [StopReason.LOSS_NOT_FINITE.value, StopReason.RUNNING.value]
    assert record.best_step.tolist() == [0, 2]
    assert float(record.sum_of_running(torch.tensor([value, 7.0]))) == 7.0


def test_a_gradient_that_is_not_finite_stops_an_item() -> None:
    record = observed([[1.0, 1.0]])
    gradient = torch.tensor([[[float("nan")]], [[2.0]]])
    record.check_gradient(gradient)
    record.zero_stopped_(gradient)
    assert gradient.flatten().tolist() == [0.0, 2.0]
    assert record.stop_reasons[0] == StopReason.GRADIENT_NOT_FINITE.value


def test_patience_counts_steps_since_the_best() -> None:
    losses = [[1.0], [0.5], [0.6], [0.7]]
    assert observed(losses, patience=2).stop_reasons == [StopReason.PLATEAU.value]
    assert observed(losses, patience=3).stop_reasons == [StopReason.RUNNING.value]
    with pytest.raises(ValueError, match="patience in steps as a whole number >= 1 or None, got 0"):
        observed(losses, patience=0)


def test_stopped_items_are_set_back() -> None:
    record = observed([[1.0, 1.0]])
    record.stop(torch.tensor([True, False]), StopReason.PLATEAU)
    parameters = torch.zeros((2, 1, 1))
    with record.stopped_stay(parameters):
        parameters += 1
    assert parameters.flatten().tolist() == [0.0, 1.0]


def test_closed_and_reopened_it_observes_the_last_iterate_anew() -> None:
    record = observed([[2.0], [1.0]])
    record.close()
    assert record.stop_reasons == [StopReason.STEPS_DONE.value] and not record.running.any()
    record.reopen(torch.device("cpu"))
    assert record.running.all() and len(record.history[TOTAL]) == 1
    record.close(all_steps=False)
    assert record.stop_reasons == [StopReason.ENDED.value]
    record.reopen(torch.device("cpu"))
    assert record.running.all()


def test_its_state_restores_it_without_the_closing_row() -> None:
    record = observed([[2.0], [1.0], [3.0]])
    record.close()
    again = Record(torch.zeros((1, 1, 1)))
    again.load_state_dict(record.state_dict())
    assert torch.equal(again.history[TOTAL], record.history[TOTAL][:2])
    assert again.best_step.tolist() == [1] and not again.closed
