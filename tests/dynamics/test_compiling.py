"""Compilation of the kernels: cached where possible, by one process or several at once.

What the kernels compute is tested in test_simulate.py.
"""

from __future__ import annotations

import shutil
import threading
import types
from pathlib import Path

import pytest

from stimopt.dynamics import eight_items
from tests.dynamics.cases import Case
from tests.dynamics.processes import ROOT, python

SUM = """
import stimopt
from tests.dynamics.cases import Case
from stimopt.dynamics.fused import FusedStep
from stimopt.dynamics.simulate import simulate
case = Case(extent=2, items=1)
voltages, _ = simulate(FusedStep(case.layout), case.drive(), case.luminance, case.initial)
print(stimopt.__file__, voltages.sum().item())
"""


def test_the_kernels_run_where_compiled_code_cannot_be_stored(tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "stimopt", tmp_path / "stimopt", ignore=shutil.ignore_patterns("__pycache__")
    )
    # Neither beside the source nor at home: both are files. This also stops the superuser.
    (tmp_path / "stimopt" / "dynamics" / "__pycache__").write_text("")
    home = tmp_path / "home"
    home.write_text("")
    folders = {"HOME": str(home), "XDG_CACHE_HOME": str(home), "NUMBA_CACHE_DIR": ""}
    location, total = python(SUM, tmp_path, **folders).split()
    assert location.startswith(str(tmp_path))
    assert float(total) == pytest.approx(float(Case(extent=2, items=1).dense().sum()), rel=1e-10)


@pytest.mark.slow
def test_processes_may_compile_at_once(tmp_path: Path) -> None:
    outputs: list[str] = []
    callers = [
        threading.Thread(target=lambda: outputs.append(python(SUM, NUMBA_CACHE_DIR=str(tmp_path))))
        for _ in range(3)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert list(tmp_path.rglob("*.nbc"))
    outputs.append(python(SUM, NUMBA_CACHE_DIR=str(tmp_path)))
    assert len(outputs) == 4
    assert len(set(outputs)) == 1


SEARCH = """
import torch
from tests.dynamics.cases import Case
from stimopt.dynamics.fused import FusedStep
from stimopt.dynamics.simulate import simulate
for items in (1, 8):
    case = Case(extent=5, items=items, networks=1, dtype=torch.float32)
    luminance = case.luminance.requires_grad_(ASK)
    voltages, _ = simulate(FusedStep(case.layout), case.drive(), luminance, case.initial)
    print(voltages.sum().item())
if ASK:
    voltages.square().sum().backward()
    print(luminance.grad.abs().sum().item())
"""
FIT = SEARCH.replace("ASK", "True")
SEARCH = SEARCH.replace("ASK", "False")


@pytest.mark.slow
def test_loops_that_different_processes_compiled_run_in_one(tmp_path: Path) -> None:
    # Numba stores each loop by itself, with all that it calls.
    python(SEARCH, NUMBA_CACHE_DIR=str(tmp_path))
    compiled_here = python(FIT, NUMBA_CACHE_DIR=str(tmp_path))
    loaded = python(FIT, NUMBA_CACHE_DIR=str(tmp_path))
    assert loaded == compiled_here


def test_functions_of_one_name_are_one_function() -> None:
    # By their names they are linked to what another process has compiled.
    found: set[types.FunctionType] = set()
    waiting = [eight_items._forward_frame, eight_items._adjoint_frame]
    while waiting:
        function = waiting.pop()
        found.add(function)
        inner = [cell.cell_contents for cell in function.__closure__ or ()]
        waiting += [each for each in inner if isinstance(each, types.FunctionType)]
    names = {(each.__module__, each.__qualname__) for each in found}
    assert len(found) > 30
    assert len(names) == len(found)
