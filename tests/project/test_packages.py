"""The package as indexes and their users see it: metadata, wheel and source distribution."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import metadata
from pathlib import Path

import numpy as np
import pytest
import yaml

import stimopt
from stimopt.analysis import groups
from stimopt.export.nwb import Nwb

ROOT = Path(__file__).parents[2]
RUN = """
import stimopt
network = stimopt.builtin_network(extent=3)
fit = stimopt.StimulusGenerator(network, "T4c", t_stim=0.1)
result = stimopt.fit(fit, steps=2, folder="logs", enable_progress_bar=False)
assert "site-packages" in stimopt.__file__, stimopt.__file__
"""


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert citation["version"] == re.search(r'^version = "(.*)"', project, re.MULTILINE)[1]  # type: ignore[index]
    assert stimopt.__version__ == citation["version"]


def test_every_pinned_requirement_is_at_least_the_lowest_allowed() -> None:
    pins = re.findall(
        r"^([\w-]+)==([\d.]+)", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE
    )
    for requirement in metadata("stimopt").get_all("Requires-Dist") or []:
        name, lowest = re.match(r"([\w-]+)(?:\[\w+\])?[=>]=([\d.]+)", requirement).groups()  # type: ignore[union-attr]
        for pinned in (version for other, version in pins if other.lower() == name.lower()):
            assert _numbers(pinned) >= _numbers(lowest), requirement


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def test_what_lacks_an_extra_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pynwb", "scipy", "scipy.cluster", "scipy.cluster.hierarchy"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r"stimopt\[nwb\]"):
        Nwb()
    with pytest.raises(ValueError, match=r"stimopt\[groups\]"):
        groups.group_networks(np.random.default_rng(0).normal(size=(6, 20)))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel, made from the source distribution, and that."""
    folder = tmp_path_factory.mktemp("dist")
    environment = folder / "build"
    _run([sys.executable, "-m", "venv", str(environment)])
    python = str(environment / "bin" / "python")
    _run([python, "-m", "pip", "install", "-q", "build", "hatchling"])
    _run([python, "-m", "build", "-q", "--no-isolation", "--outdir", str(folder), str(ROOT)])
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_wheel_has_every_file_of_the_package(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    tracked = _run(["git", "ls-files", "stimopt"], cwd=ROOT).split()
    assert tracked
    assert {*tracked} <= {*zipfile.ZipFile(wheel).namelist()}
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {*tracked, "tests/conftest.py", "docs/conf.py", "LICENSE", "constraints.txt"} <= names
    assert not [name for name in names if name.startswith((".venv", "logs", "build"))]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_it_installs_and_runs_in_a_clean_environment(
    built: Path, tmp_path: Path, kind: str
) -> None:
    (file,) = built.glob(kind)
    environment = tmp_path / "environment"
    _run([sys.executable, "-m", "venv", str(environment)])
    python = str(environment / "bin" / "python")
    install = [python, "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt")]
    # torch first: as a dependency, pip may choose a build with gigabytes of CUDA.
    _run([*install, "torch"])
    _run([*install, str(file)])
    _run([python, "-W", "error::ImportWarning", "-c", RUN], cwd=tmp_path)
    small = ["--network.extent", "3", "--generate.t_stim", "0.1", "--output", "optima"]
    _run([str(environment / "bin" / "stimopt"), "optima", *small], cwd=tmp_path)
    # Templates, scripts and help texts are files, which a wheel may lack.
    assert (tmp_path / "optima" / "optima.h5").is_file()
    assert list((tmp_path / "optima").rglob("index.html"))
    _run([str(environment / "bin" / "stimopt"), "export", "logs/result.h5"], cwd=tmp_path)


def _run(command: list[str], cwd: Path | None = None) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
