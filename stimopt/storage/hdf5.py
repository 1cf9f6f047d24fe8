"""HDF5 files whose writing fails as other writing does."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import h5py


@contextmanager
def created(path: str | Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """A new HDF5 file, and a function that raises what went wrong with writing so far.

    HDF5 1.14 brings the process down with it some time after it could not write: the file cannot
    be closed, and what is left of it is freed twice. So it is not told: what the disk refuses is
    kept in memory until the file is closed, and the error is raised then. Whoever writes much
    calls the function between pieces, to fail before the memory is full.

    Raises:
        OSError: when the block ends, if anything could not be written; the file is of no use then.
    """
    with open(path, "w+b", buffering=0) as raw:
        patient = _PatientFile(raw)
        with h5py.File(patient, "w") as file:
            yield file, patient.check
        patient.check()


class _PatientFile(io.RawIOBase):
    """A file that keeps in memory what the disk refuses."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self._at, self._size = raw, 0, 0
        self._refused: list[tuple[int, bytes]] = []
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise the first error there was.

        Raises:
            OSError: that error.
        """
        if self._error is not None:
            raise self._error

    def readable(self) -> bool:
        """Yes."""
        return True

    def writable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As any file."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        """As any file."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """As any file; refused pieces are read from memory."""
        n = max(0, min(len(buffer), self._size - self._at))
        self._raw.seek(self._at)
        held = bytearray((self._raw.read(n) or b"").ljust(n, b"\0"))
        for start, piece in self._refused:
            low, high = max(start, self._at), min(start + len(piece), self._at + n)
            if low < high:
                held[low - self._at : high - self._at] = piece[low - start : high - start]
        buffer[:n] = held
        self._at += n
        return n

    def write(self, data: Any) -> int:
        """As any file, but that it never fails."""
        view = memoryview(data).cast("B")
        done = 0
        try:
            if self._error is None:
                self._raw.seek(self._at)
                while done < len(view):
                    done += self._raw.write(view[done:])
        except OSError as error:
            self._error = error
        if done < len(view):
            self._refused.append((self._at + done, bytes(view[done:])))
        self._at += len(view)
        self._size = max(self._size, self._at)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """As any file, but that it never fails."""
        size = self._at if size is None else size
        try:
            if self._error is None:
                self._raw.truncate(size)
        except OSError as error:
            self._error = error
        self._size = size
        return size
