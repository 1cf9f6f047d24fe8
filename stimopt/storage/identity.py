"""What a run is of: fingerprints of tensors and functions, versions, and whether two runs agree."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import CodeType
from typing import Any, BinaryIO

import numpy as np
from torch import Tensor

from stimopt import expect


class DifferentRun(ValueError):
    """A file belongs to a run with other settings."""


def require_same(stored: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> None:
    """Reject a file that belongs to another run.

    Args:
        stored: settings by name, as saved.
        wanted: settings of this run.
        where: they are stored, for the message.

    Raises:
        DifferentRun: naming the first setting that differs.
    """
    # Class and network first: where they differ, much else does too.
    first = ("class", "network_hash")
    for name in sorted({*stored, *wanted}, key=lambda name: (name not in first, name)):
        expect.that(
            stored.get(name) == wanted.get(name),
            f"{name} = {_short(stored.get(name))} as in {where}",
            _short(wanted.get(name)),
            "set the same, or name another output folder",
            DifferentRun,
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."


def digest(*tensors: Tensor | None) -> str:
    """The first twelve digits of SHA-256 over the shapes, types and numbers of tensors."""
    sha256 = hashlib.sha256()
    for tensor in tensors:
        if tensor is None:
            sha256.update(b"none")
            continue
        array = tensor.detach().cpu().contiguous().numpy()
        sha256.update(f"{array.dtype}{array.shape}".encode())
        sha256.update(array.tobytes())
    return sha256.hexdigest()[:12]


def sha256_of_values(values: Any) -> str:
    """SHA-256 in hexadecimal of what JSON can hold, whatever the order of names."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode("ascii")).hexdigest()


def sha256_of_file(path: Path) -> str:
    """SHA-256 in hexadecimal of a file, or of the files in a folder in the order of their names."""
    sha256 = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        with file.open("rb") as stream:
            _add(sha256, stream)
    return sha256.hexdigest()


def sha256_of(stream: BinaryIO) -> str:
    """SHA-256 of a stream in hexadecimal."""
    sha256 = hashlib.sha256()
    _add(sha256, stream)
    return sha256.hexdigest()


def _add(sha256: Any, stream: BinaryIO) -> None:
    while piece := stream.read(2**20):
        sha256.update(piece)


def make_plain(options: Any) -> None:
    """Replace NumPy's numbers and text in a frozen dataclass by Python's.

    JSON does not take them, and a checkpoint that has them is not read again.
    """
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if isinstance(value, np.generic):
            object.__setattr__(options, field.name, plain(value))


def plain(value: Any) -> Any:
    """The value with Python's numbers and text in place of NumPy's, in mappings and lists too."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value.item() if isinstance(value, np.generic) else value


def as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a file of JSON gives them back; functions and objects become their text."""
    given_back: dict[str, Any] = json.loads(json.dumps(settings, default=as_text))
    return given_back


def as_text(value: Any) -> str:
    """The same in every process: the text of a function has its address."""
    return function_name(value) if callable(value) else str(value)


def function_name(function: Any) -> str:
    """Where a function was defined and its name there; of a callable object its class or `repr`.

    The `repr` tells its options if it has one of its own, as a dataclass does. That of a function
    contains an address, which differs from run to run. All lambdas of a function have one name, so
    theirs is followed by a digest of what they do.
    """
    if isinstance(function, functools.partial):
        keywords = (f"{name}={value!r}" for name, value in function.keywords.items())
        arguments = ", ".join([*map(repr, function.args), *keywords])
        return f"{function_name(function.func)}({arguments})"
    if hasattr(function, "__qualname__"):
        name = f"{function.__module__}.{function.__qualname__}"
        code = getattr(function, "__code__", None)
        return f"{name} {_digest_of(code)}" if code and "<lambda>" in name else name
    kind: Any = type(function)
    described = kind.__repr__ is not object.__repr__
    name = re.sub(r" at 0x\w+", "", repr(function)) if described else kind.__qualname__
    return f"{kind.__module__}.{name}"


def _digest_of(code: CodeType) -> str:
    """The first twelve digits of SHA-256 of what a function does, wherever its source lies."""
    constants = [
        _digest_of(part) if isinstance(part, CodeType) else repr(part) for part in code.co_consts
    ]
    return sha256_of_values([code.co_code.hex(), code.co_names, code.co_varnames, constants])[:12]


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages a result depends on, by name."""
    versions = {"python": platform.python_version()}
    for name in ("stimopt", "torch", "lightning", "numpy", "h5py", "numba"):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
