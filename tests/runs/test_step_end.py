from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.profilers import SimpleProfiler

from stimopt.networks.frozen import FrozenNetwork
from stimopt.runs.step_end import StepEnd
from stimopt.runs.trainer import fit
from tests.optimize.cases import generator


class BeforeBackward(StepEnd):
    """Defines one of the hooks that its base leaves out."""

    calls = 0

    def on_before_backward(self, *args: Any) -> None:
        self.calls += 1


def test_lightning_calls_only_hooks_that_a_class_defines(
    small_network: FrozenNetwork, tmp_path: Path
) -> None:
    profiler, own = SimpleProfiler(dirpath=tmp_path, filename="hooks"), BeforeBackward()
    fit(
        generator(small_network), 3, tmp_path, accelerator="cpu", profiler=profiler, callbacks=[own]
    )
    assert own.calls == 3
    within = ("train_batch_start", "zero_grad", "backward", "before_optimizer_step")
    called = {
        name.removeprefix("[Callback]")
        for name in profiler.recorded_durations
        if name.startswith("[Callback]") and name.endswith(within)
    }
    assert called == {"BeforeBackward.on_before_backward"}
    at_the_end = len(profiler.recorded_durations["[Callback]LastCheckpoint.on_train_batch_end"])
    assert at_the_end == 3
