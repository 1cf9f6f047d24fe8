"""Files that are whole or not there: written beside and renamed, and one run to a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write to, renamed onto it when the block ends without error.

    The old file stays until then, and whatever was half-written is removed on an error.

    Raises:
        OSError: if the folder cannot be written, naming the target.
    """
    path = Path(path)
    # The suffix stays last: writers choose their format by it.
    beside = path.with_name(f".{path.stem}.part-{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with open(beside, "rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(
            f"expected {path} to be written whole, got {error.strerror}; what was there before is "
            "as it was: make room or give leave to write, and do the same again"
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()


def replace_text(path: str | Path, text: str) -> None:
    """Write a text file as UTF-8, whole or not at all; errors as `replacing`."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


@contextmanager
def only_run_in(folder: str | Path) -> Iterator[Path]:
    """Hold a run's output folder against a second run for as long as the block lasts.

    The lock goes with the process, however it ends.

    Raises:
        ValueError: if another process holds it, and nothing in the folder is touched then, or if
            the folder cannot be made or written.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"expected an output folder, got the file {folder}; name another")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "a")  # noqa: SIM115
    except OSError as error:
        raise ValueError(
            f"expected an output folder that can be written, got {folder} "
            f"({error.strerror or error}); name another with --output"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"expected an output folder of this run alone, got {folder}, where another run is "
                "at work; wait for it, or name another with --output"
            ) from error
        _remove_abandoned(folder)
        yield folder


def _remove_abandoned(folder: Path) -> None:
    """Remove what `replacing` had half-written when a run was killed; its name has the process."""
    for path in folder.rglob(".*.part-*"):
        process = path.name.rpartition(".part-")[2].partition(".")[0]
        if process.isdecimal() and not _runs_beside(int(process)):
            with suppress(OSError):
                path.unlink()


def _runs_beside(process: int) -> bool:
    """Whether there is such a process, and another than this one, which has only just begun."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
