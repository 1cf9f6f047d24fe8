"""Python in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import stimopt

ROOT = Path(stimopt.__file__).parents[1]


def python(code: str, path: Path = ROOT, **environment: str) -> str:
    """Output of a new Python, which can import from the checkout and from `path` before it."""
    search = os.pathsep.join([str(path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=path,
        env={**os.environ, "PYTHONPATH": search, "PYTHONDONTWRITEBYTECODE": "1", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
