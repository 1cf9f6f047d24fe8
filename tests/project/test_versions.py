"""The script that runs the tests with other versions, with a uv of our own making."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "test_versions.py"

UV = f"""#!{sys.executable}
import os, sys
from pathlib import Path
folder = Path(os.environ["VIRTUAL_ENV"])
with (folder.parent / "asked.txt").open("a") as file:
    print(*sys.argv[1:], file=file)
if sys.argv[1] == "venv":
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    python = folder / "bin" / "python"
    python.write_text('#!/bin/sh\\nexec "{sys.executable}" "$@"\\n')
    python.chmod(0o755)
elif sys.argv[1:3] == ["pip", "freeze"]:
    print("numpy==1.26.0")
"""
"""Makes environments whose Python is this one."""


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "3.10", f"--folder={tmp_path / 'made'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_both_resolutions_are_tried_and_a_failure_is_told(tmp_path: Path) -> None:
    uv = tmp_path / "uv"
    uv.write_text(UV)
    uv.chmod(0o755)
    inner = tmp_path / "test_inner.py"
    for content, code, ended in (("pass", 0, "1 passed"), ("assert 0", 1, "1 failed")):
        inner.write_text(f"def test_it():\n    {content}\n")
        done = run(tmp_path, f"--uv={uv}", "--", str(inner), "-p", "no:cacheprovider", "-v")
        assert done.returncode == code, done.stderr
        lines = done.stdout.splitlines()
        assert [line.split()[1] for line in lines] == ["lowest-direct", "highest"]
        assert all("(numpy 1.26.0)" in line and ended in line for line in lines)
    asked = (tmp_path / "made" / "asked.txt").read_text()
    assert "--resolution lowest-direct" in asked and "--resolution highest" in asked


def test_without_uv_it_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, f"--uv={tmp_path / 'nowhere'}")
    assert done.returncode == 2 and "pip install uv" in done.stderr
    assert not (tmp_path / "made").exists()
