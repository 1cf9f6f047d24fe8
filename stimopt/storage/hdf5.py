"""HDF5 files from elsewhere read safely, and large ones written safely to a disk that fills up."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.storage.archives import MAX_DEFLATE_RATIO
from stimopt.storage.files import BadFile, reading

FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
"""Filters of arrays that stimopt writes."""


@contextmanager
def opened(
    path: str | Path, what: str = "an HDF5 file", advice: str = "create it anew"
) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading that contains all its data.

    Links and external storage are rejected: they would read other files in this one's name.

    Args:
        path: of the file.
        what: it should be, for the message.
        advice: what to do about a bad one.

    Raises:
        BadFile: for a missing, damaged or deceptive file, and for whatever the block raises.

    Example:
        >>> with opened("result.h5", "a result", "run it again") as file:  # doctest: +SKIP
        ...     stimulus = plain_array(file["stimulus"])
    """
    with reading(path, what, advice), h5py.File(path, "r") as file:
        _refuse_links(file, path)
        yield file


def _refuse_links(file: h5py.File, path: str | Path) -> None:
    groups, addresses = [file["/"]], {h5py.h5o.get_info(file.id).addr}
    while groups:
        group = groups.pop()
        for name in group:
            link, problem = group.get(name, getlink=True), None
            if not isinstance(link, h5py.HardLink):
                problem = type(link).__name__
            else:
                child = group[name]
                address = h5py.h5o.get_info(child.id).addr
                if address in addresses:
                    problem = "second link to one object"
                elif isinstance(child, h5py.Dataset) and (child.external or child.is_virtual):
                    problem = "dataset kept in other files"
                addresses.add(address)
                groups += [child] if isinstance(child, h5py.Group) else []
            expect.that(
                problem is None,
                f"a file without links and external storage in {path}",
                f"a {problem} {name!r}",
                "it was refused; copy the data themselves into the file",
                BadFile,
            )


def plain_array(dataset: h5py.Dataset) -> NDArray[Any]:
    """Values of a dataset; text as an object array.

    Raises:
        BadFile: as `require_plain`.
    """
    require_plain(dataset)
    text = h5py.check_string_dtype(dataset.dtype)
    return np.asarray(dataset.asstr()[()] if text else dataset[()])


def require_plain(dataset: h5py.Dataset) -> None:
    """Reject an array of anything but numbers and text, or one larger than the file can contain.

    Raises:
        BadFile: naming the array and its file.
    """
    text = h5py.check_string_dtype(dataset.dtype) is not None
    creation = dataset.id.get_create_plist()
    filters = {creation.get_filter(i)[0] for i in range(creation.get_nfilters())}
    bytes_in_file, problem = dataset.file.id.get_filesize(), None
    if not text and dataset.dtype.kind not in "fiub":
        problem = f"type {dataset.dtype}"
    elif dataset.shape is None:
        problem = "no array"
    elif not filters <= FILTERS:
        problem = f"filters {filters}"
    elif math.prod(dataset.shape) * dataset.dtype.itemsize > MAX_DEFLATE_RATIO * bytes_in_file:
        problem = f"shape {dataset.shape} in {bytes_in_file} bytes"
    expect.that(
        problem is None,
        f"numbers or text that the file can contain in {dataset.name} of {dataset.file.filename}",
        problem,
        "do not trust this file",
        BadFile,
    )


@contextmanager
def created(path: str | Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """A new HDF5 file, and a function that raises the first error of writing so far.

    HDF5 (1.14 and 2.0) crashes the process some time after it could not write: it cannot close
    the file, and frees the rest of it twice. So the error is hidden from HDF5: what the disk does
    not take stays in memory until the file is closed, and the error is raised then.

    This is for movie stores, which need not fit in memory. Smaller files are written to
    `io.BytesIO` and then by `files.replace_bytes`.

    Raises:
        OSError: when the block ends, if anything could not be written; the file is of no use then.
            Call the function between pieces to stop early.
    """
    with _PatientFile(path) as patient:
        with h5py.File(patient, "w") as file:
            yield file, patient.check
        patient.check()


class _PatientFile(io.FileIO):
    """A file that stores in memory what the disk does not take."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, "w+")
        self._error: OSError | None = None
        self._refused: dict[int, bytes] = {}

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def write(self, data: Any) -> int:
        view, start, done = memoryview(data).cast("B"), self.tell(), 0
        try:
            while self._error is None and done < len(view):
                done += super().write(view[done:])
        except OSError as error:
            self._error = error
        if done < len(view):
            self._refused[start + done] = bytes(view[done:])
            self.seek(start + len(view))
        return len(view)

    def readinto(self, buffer: Any) -> int:
        view, start = memoryview(buffer).cast("B"), self.tell()
        stop = start + len(view)
        n_read = super().readinto(view) or 0
        view[n_read:] = bytes(len(view) - n_read)
        for at, piece in self._refused.items():
            low, high = max(at, start), min(at + len(piece), stop)
            if low < high:
                view[low - start : high - start] = piece[low - at : high - at]
        self.seek(stop)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size) if self._error is None else size or 0
        except OSError as error:
            self._error = error
            return size or 0
