"""Compilation of the kernels: cached where possible, by one process or several at once.

What the kernels compute is tested in test_simulate.py.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

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
