"""Files written whole or not at all, read with distrust, and used by one run at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


class BadFile(ValueError):
    """A file that is missing, damaged, foreign or malicious."""


@contextmanager
def reading(path: str | Path, what: str, advice: str) -> Iterator[None]:
    """Turn whatever a reader raises on a bad file into one error that names the file.

    Readers of HDF5, zip and torch files raise nearly any exception on malformed bytes.

    Args:
        path: of the file that the block reads.
        what: it should be, such as `a checkpoint`.
        advice: what to do about a bad one.

    Raises:
        BadFile: for any error within the block; one that is a `BadFile` already passes unchanged.
    """
    try:
        yield
    except BadFile:
        raise
    except FileNotFoundError as error:
        raise BadFile(f"expected {what} at {path}, got no file; {advice}") from error
    except PermissionError as error:
        got = "a file that you may not read; fix its permissions"
        raise BadFile(f"expected {what} in {path}, got {got}") from error
    except Exception as error:
        text = str(error) or type(error).__name__
        # torch tells what it refused only after advice to trust the file.
        refused = re.search(r"GLOBAL (\S+)", text)
        reason = f"it asks to run {refused[1]}" if refused else text.splitlines()[0]
        reason = re.sub(r" <[^<>]* at 0x\w+>", "", reason)  # Pillow names the object that it reads.
        raise BadFile(
            f"expected {what} in {path}, got a damaged or foreign file ({reason}); {advice}"
        ) from error


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write to, renamed onto it when the block ends without error.

    The old file stays until then. On an error the half-written file is removed.

    Raises:
        OSError: if the folder cannot be written, naming the target.

    Example:
        >>> with replacing("table.csv") as partial:  # doctest: +SKIP
        ...     partial.write_text("1,2", encoding="utf-8")
    """
    path = Path(path)
    # The suffix stays last: writers choose their format by it.
    partial = path.with_name(f".{path.stem}.part-{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with open(partial, "rb+") as file:  # Windows syncs only what may be written
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        own_paths = {str(partial), *map(str, path.parents)}
        if error.errno is None or (error.filename and str(error.filename) not in own_paths):
            raise  # from reading another file within the block
        raise OSError(
            f"expected {path} to be written whole, got {error.strerror}; the earlier file is "
            "intact: free some space or fix permissions, then retry"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def replace_bytes(path: str | Path, content: bytes) -> None:
    """Write a file whole or not at all; errors as `replacing`."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def replace_text(path: str | Path, text: str) -> None:
    """Write a text file as UTF-8, whole or not at all; errors as `replacing`."""
    replace_bytes(path, text.encode("utf-8"))


@contextmanager
def only_run_in(folder: str | Path) -> Iterator[Path]:
    """Lock the output folder of a run against a second run while the block lasts.

    The lock ends with the process, however that ends. Files that a killed run had half written
    are removed.

    Raises:
        ValueError: if another process holds the lock, in which case nothing in the folder is
            touched, or if the folder cannot be created or written.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"expected an output folder, got the file {folder}; name another")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(folder, error) from error
    with _locked(folder / ".lock", folder):
        _remove_abandoned(folder)
        yield folder


@contextmanager
def only_writer_of(path: str | Path) -> Iterator[Path]:
    """Lock a file that takes long to write against a second run while the block lasts.

    Raises:
        ValueError: as `only_run_in`.
    """
    path = Path(path)
    lock = path.with_name(path.name + ".lock")
    with _locked(lock, path):
        try:
            yield path
        finally:
            # Before the lock is released: later, it could be the lock of another run.
            with suppress(OSError):
                lock.unlink()


@contextmanager
def _locked(lock_path: Path, target: Path) -> Iterator[None]:
    lock = FileLock(lock_path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(
            f"expected an output that no other run uses, got {target}, where another run is at "
            "work; wait for it, or name another"
        ) from error
    except OSError as error:
        raise _not_writable(target, error) from error
    try:
        yield
    finally:
        lock.release()


def _not_writable(target: Path, error: OSError) -> ValueError:
    return ValueError(
        f"expected an output that can be written, got {target} ({error.strerror or error}); fix "
        "permissions, or name another"
    )


def _remove_abandoned(folder: Path) -> None:
    """Remove files that `replacing` had half written when a run was killed."""
    for path in folder.rglob(".*.part-*"):
        process = path.name.rpartition(".part-")[2].partition(".")[0]
        if process.isdecimal() and not _is_running(int(process)):
            with suppress(OSError):
                path.unlink()


def _is_running(process: int) -> bool:
    """Whether another process of that number may still be writing."""
    # Windows refuses to remove an open file, and its os.kill would end the process.
    if os.name == "nt" or process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def safe_names(labels: Sequence[str]) -> list[str]:
    """File names for labels such as CT1(Lo1): letters, digits, `.`, `_` and `-`, all different."""
    names: list[str] = []
    for label in labels:
        # No leading dot, so that no file is hidden or leads out of the folder.
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", label).strip("._") or "item"
        unique, i = name, 2
        # Some file systems do not distinguish upper and lower case.
        while unique.lower() in {other.lower() for other in names}:
            unique, i = f"{name}-{i}", i + 1
        names.append(unique)
    return names
