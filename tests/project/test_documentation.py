"""The documentation: its pages, that all of them run, and that all links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import stimopt
from tests.networks.test_flyvis_objects import View, like_flyvis

ROOT = Path(__file__).parents[2]
CHECK: Callable[[Path], Any] = runpy.run_path(str(ROOT / "scripts" / "check_links.py"))["check"]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "how-to").glob("*.md")])
LINKED = '<p id="here"></p><a href="other.html#there">x</a><a href="#here">y</a>'


def test_links_that_lead_somewhere_pass(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(LINKED + '<a href="https://example.org/">z</a>')
    (tmp_path / "other.html").write_text('<h1 id="there">T</h1>')
    assert CHECK(tmp_path) == ([], {"https://example.org/"})


@pytest.mark.parametrize(
    ("other", "wrong"),
    [
        ("<h1>T</h1>", ["index.html: no place other.html#there"]),
        (None, ["index.html: no file other.html#there"]),
        (
            '<h1 id="there">T</h1><script src="https://example.org/a.js"></script>',
            ["other.html loads https://example.org/a.js"],
        ),
    ],
)
def test_what_is_wrong_is_listed(tmp_path: Path, other: str | None, wrong: list[str]) -> None:
    (tmp_path / "index.html").write_text(LINKED)
    if other is not None:
        (tmp_path / "other.html").write_text(other)
    assert CHECK(tmp_path)[0] == wrong


def test_a_site_without_pages_is_wrong(tmp_path: Path) -> None:
    assert CHECK(tmp_path)[0] == [f"no page in {tmp_path}"]


def test_python_for_trained_networks_runs(
    shared: Path, trained_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks that the site shows without running them, as flyvis and its files are not ours."""
    flyvis = ModuleType("flyvis")
    flyvis.__spec__ = ModuleSpec("flyvis", None)
    flyvis.NetworkView = lambda name: View(like_flyvis(trained_folder / "000"), name)
    monkeypatch.setitem(sys.modules, "flyvis", flyvis)
    monkeypatch.setenv("FLYVIS_ROOT_DIR", str(shared / "data" / "flyvis"))
    networks = []
    for page in PAGES:
        for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            scope: dict[str, Any] = {"stimopt": stimopt}
            exec(compile(block.replace("range(50)", "range(2)"), str(page), "exec"), scope)
            networks.append(scope["network"].names)
    assert networks == [("flow/0000/000", "flow/0000/001"), ("flow/0000/000",)]


def test_no_other_block_is_left_out_of_the_build() -> None:
    """Every block is a cell, which the build runs, but those of the test above and a server."""
    others = {
        (page.name, kind)
        for page in PAGES
        for kind in re.findall(r"^```(\w+)$", page.read_text("utf-8"), re.MULTILINE)
    }
    assert others == {
        ("ensembles.md", "python"), ("network.md", "python"), ("tensorboard.md", "bash"),
    }  # fmt: skip
    indented = [page.name for page in PAGES if "\n\n    stimopt " in page.read_text("utf-8")]
    assert not indented


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_page_runs_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    pytest.importorskip("myst_nb", reason="the documentation needs the extra docs")
    done = subprocess.run(
        ["bash", str(ROOT / "scripts" / "docs.sh"), str(tmp_path / "site")],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    built = {
        path.relative_to(tmp_path / "site").with_suffix("").as_posix()
        for path in (tmp_path / "site").rglob("*.html")
    }
    written = {
        path.relative_to(ROOT / "docs").with_suffix("").as_posix()
        for path in (ROOT / "docs").rglob("*.md")
    }
    assert written <= built and {"generated/walkthrough", "generated/reference"} <= built
    reference = (tmp_path / "site" / "generated" / "reference.html").read_text(encoding="utf-8")
    missing = [name for name in stimopt.__all__[:-1] if f'id="stimopt.{name}"' not in reference]
    assert not missing
    # What a page computed is on it: the walkthrough's pictures, a table of xarray's.
    walkthrough = (tmp_path / "site" / "generated" / "walkthrough.html").read_text("utf-8")
    assert walkthrough.count("<img") >= 6


def test_a_percent_script_becomes_a_notebook() -> None:
    pytest.importorskip("nbformat", reason="the documentation needs the extra docs")
    notebook_of = runpy.run_path(str(ROOT / "docs" / "percent.py"))["notebook_of"]
    script = "# ---\n# header\n# %% [markdown]\n# # Title\n#\n# Text\n# %%\nx = 1\n"
    cells = json.loads(notebook_of(script))["cells"]
    assert [(c["cell_type"], "".join(c["source"])) for c in cells] == [
        ("markdown", "# Title\n\nText"),
        ("code", "x = 1"),
    ]
