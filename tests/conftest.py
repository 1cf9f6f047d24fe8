"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the trained networks, the film scenes and the recorded flyvis values.

    `STIMOPT_SHARED` names it; otherwise it is looked for beside the checkout.
    """
    folder = Path(os.environ.get("STIMOPT_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip(f"no trained networks and recorded values at {folder} (set STIMOPT_SHARED)")
    return folder
