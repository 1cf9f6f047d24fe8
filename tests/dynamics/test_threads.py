"""Threads of the fused step beside torch's, several callers, failures and forks."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
import torch

from stimopt.dynamics import threads
from stimopt.dynamics.fused import FusedStep
from tests.dynamics.cases import Case, outputs_and_gradients
from tests.dynamics.processes import python


def test_torch_has_one_thread_within_the_block_and_the_step_as_many_as_before() -> None:
    torch.set_num_threads(2)
    with pytest.raises(KeyError), threads.torch_on_one_thread(), threads.torch_on_one_thread():
        assert (torch.get_num_threads(), threads.step_threads()) == (1, 2)
        raise KeyError("also after a failure")
    assert torch.get_num_threads() == threads.step_threads() == 2


def test_two_callers_at_once_get_their_own_results(eager: None) -> None:
    torch.set_num_threads(2)
    cases = [Case(extent=4, items=1, frames=20, seed=seed) for seed in range(4)]
    step = FusedStep(cases[0].layout)
    expected = [outputs_and_gradients(case, step) for case in cases]
    results: dict[int, list[list[torch.Tensor]]] = {}

    def call(number: int) -> None:
        torch.set_num_threads(2)
        results[number] = [outputs_and_gradients(cases[number], step) for _ in range(10)]

    callers = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
        assert not caller.is_alive()
    for number in range(4):
        for result in results[number]:
            for a, b in zip(result, expected[number], strict=True):
                assert torch.equal(a, b)


def test_a_part_that_cannot_start_frees_the_others(
    eager: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(extent=4, items=1, frames=20)
    step = FusedStep(case.layout)
    torch.set_num_threads(3)
    expected = outputs_and_gradients(case, step)
    grown = threads.pool._grown

    class Exhausted:
        def __init__(self, pool: Any) -> None:
            self.pool, self.calls = pool, 0

        def submit(self, call: Any) -> Any:
            self.calls += 1
            if self.calls > 1:
                raise RuntimeError("can't start new thread")
            return self.pool.submit(call)

    with monkeypatch.context() as patch:
        exhausted = Exhausted(grown(2))
        patch.setattr(threads.pool, "_grown", lambda size: exhausted)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            outputs_and_gradients(case, step)
    for a, b in zip(outputs_and_gradients(case, step), expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_simulates_with_threads_of_its_own() -> None:
    code = """
import os, torch
from tests.dynamics.cases import Case
from stimopt.dynamics import fused
from stimopt.dynamics.simulate import simulate
fused.WORTH_A_THREAD, fused.WORTH_WAKING = 1, 0
torch.set_num_threads(2)
case = Case(extent=2, items=3)
step = fused.FusedStep(case.layout)
before, _ = simulate(step, case.drive(), case.luminance, case.initial)
child = os.fork()
if not child:
    after, _ = simulate(step, case.drive(), case.luminance, case.initial)
    os._exit(0 if torch.equal(before, after) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert python(code).strip() == "0"
