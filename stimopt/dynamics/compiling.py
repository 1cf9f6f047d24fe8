"""Compilation of the time loops by Numba, once for each precision and stored on disk."""

from __future__ import annotations

import functools
import hashlib
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numba

_compiling = threading.Lock()


def _hash_of_folder() -> str:
    """Hash of all files of this folder: Numba itself looks only at the file of a function."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


# At import: files that are edited afterwards are not those that this process compiles.
_VERSION = _hash_of_folder()


def compiled(function: Callable[..., None], dtype: str) -> Callable[..., None]:
    """A time loop for float32 or float64, compiled at its first call."""
    with _compiling:
        return _compiled(function, dtype)


@functools.cache
def _compiled(function: Any, dtype: str) -> Callable[..., None]:
    # A name, hence a cache file, for each precision: two processes that compile at once then write
    # the same content, and Numba replaces files whole.
    copy = types.FunctionType(function.__code__, function.__globals__, function.__name__)
    copy.__qualname__ = f"{function.__qualname__}_{dtype}_{_VERSION}"
    copy.__module__ = function.__module__
    njit: Any = numba.njit
    options = {"nogil": True, "error_model": "numpy", "boundscheck": False}
    try:
        compiled = njit(cache=True, **options)(copy)
    except RuntimeError:
        # Numba found no folder it may write to, so that each process compiles for itself.
        compiled = njit(**options)(copy)
    return cast(Callable[..., None], compiled)
