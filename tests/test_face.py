"""The face of the package: what people import, and that its examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import stimopt


def test_importing_loads_neither_torch_nor_lightning() -> None:
    code = "import sys, stimopt; print(sorted({'torch', 'lightning', 'numpy'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_reader_that_closes_the_output_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "stimopt", "optima", "--help"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=True)
    os.close(write)
    assert done.stderr == ""


def test_every_name_is_there_and_says_what_it_is() -> None:
    assert {*stimopt.__all__} <= {*dir(stimopt)}
    for name in stimopt.__all__:
        value = getattr(stimopt, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, name
            assert value.__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        _ = stimopt.walk


def test_types_are_published() -> None:
    assert Path(stimopt.__file__).with_name("py.typed").is_file()


EXAMPLES = sorted(
    ".".join(path.relative_to(Path(stimopt.__file__).parents[1]).with_suffix("").parts)
    for path in Path(stimopt.__file__).parent.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


@pytest.mark.filterwarnings("ignore:expected a greyer stimulus")
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.parametrize("module", EXAMPLES)
def test_examples_run(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = module.removesuffix(".__init__")
    failed, _ = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    )
    assert failed == 0
