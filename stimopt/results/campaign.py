"""The results of a campaign read as one: joined over items, large arrays item by item as needed.

The folder of a campaign, see `stimopt.runs.campaign`:

    campaign.json    schema, settings, and the names of the chunks in their order
    chunks/NAME/     result.h5, or optima.h5 with the groups of the three optima
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from stimopt import expect
from stimopt.items import Item, label_items
from stimopt.results.items import cells_of
from stimopt.results.result import Result, Variable, read
from stimopt.results.three_optima import KINDS, ThreeOptima
from stimopt.storage.files import BadFile, reading, replace_text
from stimopt.storage.hdf5 import opened, plain_array, require_plain

SCHEMA = "stimopt.campaign/1"
OPTIMA = "optima.h5"
"""The result of a chunk where it is there, and otherwise `result.h5`."""


def write_manifest(folder: Path, settings: Mapping[str, Any], chunks: Sequence[str]) -> None:
    """Write `campaign.json`, whole or not at all.

    Args:
        folder: of the campaign.
        settings: that decide its results, by name.
        chunks: their names, in the order of the items.
    """
    content = {"schema": SCHEMA, "settings": settings, "chunks": chunks}
    replace_text(folder / "campaign.json", json.dumps(content, indent=1))


def read_manifest(folder: str | Path) -> tuple[dict[str, Any], list[str]]:
    """Settings and names of chunks from `campaign.json`.

    Raises:
        BadFile: if it is missing, damaged or of another kind.
    """
    path = Path(folder) / "campaign.json"
    own = [each for name in (OPTIMA, "result.h5") if (each := Path(folder) / name).is_file()]
    advice = f"give {own[0]}" if own else "give the output folder of stimopt campaign"
    with reading(path, "a campaign", advice):
        content = json.loads(path.read_text(encoding="utf-8"))
        schema = content.get("schema")
        expect.that(schema == SCHEMA, f"schema {SCHEMA} in {path}", schema, "rerun", BadFile)
        return dict(content["settings"]), [str(name) for name in content["chunks"]]


def read_campaign(folder: str | Path) -> Result | ThreeOptima:
    """Read the results of all chunks as one.

    Variables of more than two dimensions, such as stimuli, stay in the files and are read item by
    item; everything else is in memory.

    Raises:
        ValueError: if chunks are missing, damaged, or do not belong together.
    """
    chunks = [Path(folder) / "chunks" / name for name in read_manifest(folder)[1]]
    missing = [chunk.name for chunk in chunks if not chunk.is_dir()]
    got = f"{len(missing)} of {len(chunks)} chunks missing ({', '.join(missing[:3])})"
    advice = "rerun the command that began it, or read finished chunks one by one"
    expect.that(not missing, f"a finished campaign in {folder}", got, advice)
    if (chunks[0] / OPTIMA).is_file():
        paths = [chunk / OPTIMA for chunk in chunks]
        return ThreeOptima(**{kind: join(paths, kind) for kind in KINDS})
    return join([chunk / "result.h5" for chunk in chunks])


def join(paths: Sequence[Path], group: str = "") -> Result:
    """Results of one kind, network and protocol as one, joined over their items.

    Args:
        paths: of the files, in the order of the items.
        group: that holds the result in each; empty for the root.

    Raises:
        ValueError: if they do not belong together.
    """
    results = [_chunk(path, group) for path in paths]
    first = results[0]
    for path, result in zip(paths, results, strict=True):
        for name in ("network_hash", "kind", "protocol", "extent"):
            wanted, got = getattr(first, name), getattr(result, name)
            advice = "chunks of one campaign have the same: restore the folder"
            expect.that(got == wanted, f"{name} {wanted} in {path}", got, advice)
        same = result.variables.keys() == first.variables.keys()
        expect.that(same, f"the variables of {paths[0]} in {path}", "others", "restore the folder")
    variables = {
        name: _joined([result.variables[name] for result in results], name)
        for name in first.variables
    }
    labels = Variable(("item",), np.array(_labels(results)))
    config = {k: v for k, v in first.config.items() if all(r.config.get(k) == v for r in results)}
    return dataclasses.replace(first, variables={**variables, "label": labels}, config=config)


def _chunk(path: Path, group: str) -> Result:
    try:
        return read(path, group, partial(_values, path))
    except BadFile as error:
        # A rerun of the campaign passes over every chunk whose folder is there.
        raise BadFile(f"{error}, after removing {path.parent}") from error


class ItemArray:
    """An array with items as its first axis, in files: read when it is indexed.

    It is indexed as a NumPy array is; `numpy.asarray` reads all of it.

    Args:
        sources: file, path of the dataset in it, and row of each item.
        shape: of the whole, `(items, ...)`; what an item lacks is NaN.
        dtype: of the values.
    """

    def __init__(
        self, sources: Sequence[tuple[Path, str, int]], shape: tuple[int, ...], dtype: Any
    ) -> None:
        self._sources, self.shape, self.dtype = list(sources), shape, np.dtype(dtype)
        self.ndim, self.size = len(shape), int(np.prod(shape))

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, key: Any) -> Any:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if first is Ellipsis or first is None:
            return self[:][key]
        rows = np.arange(len(self))[first]
        if rows.ndim == 0:
            return self._item(int(rows))[tuple(rest)]
        values = np.array([self._item(i) for i in rows.flat], self.dtype)
        values = values.reshape(rows.size, *self.shape[1:])
        # NumPy pairs an array of items with the arrays after it.
        of_array = np.arange(rows.size).reshape(rows.shape)
        within = (slice(None) if isinstance(first, slice) else of_array, *rest)
        return values[within]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    def take(self, indices: ArrayLike, axis: int = 0) -> ItemArray:
        """Some of the items, still in their files."""
        assert axis == 0
        sources = [self._sources[i] for i in np.asarray(indices).tolist()]
        return ItemArray(sources, (len(sources), *self.shape[1:]), self.dtype)

    def _item(self, i: int) -> NDArray[Any]:
        path, name, row = self._sources[i]
        with opened(path, "the result of a chunk", "remove its folder and rerun") as file:
            require_plain(file[name])
            return padded(np.asarray(file[name][row]), self.shape[1:])


def _values(path: Path, data: h5py.Dataset) -> Any:
    """An array of up to two dimensions; what is larger is left in its file."""
    if data.ndim < 3:
        return plain_array(data)
    sources = [(path, str(data.name), row) for row in range(len(data))]
    return ItemArray(sources, data.shape, data.dtype)


def _joined(parts: Sequence[Variable], name: str) -> Variable:
    """One variable of all results; those without items must agree but for their length."""
    longest = max(parts, key=lambda part: part.values.size)
    arrays: list[Any] = [part.values for part in parts]
    if "item" not in longest.dims:
        for array in arrays:
            same = np.array_equal(longest.values[tuple(map(slice, array.shape))], array)
            expect.that(same, f"one {name} in all chunks", "several", "restore the folder")
        return longest
    if not isinstance(arrays[0], ItemArray):
        return longest._replace(values=side_by_side(arrays, longest.dims.index("item")))
    sources = [source for array in arrays for source in array._sources]
    shape = np.max([array.shape[1:] for array in arrays], axis=0).tolist()
    joined: Any = ItemArray(sources, (len(sources), *shape), longest.values.dtype)
    return longest._replace(values=joined)


def side_by_side(arrays: Sequence[NDArray[Any]], axis: int) -> NDArray[Any]:
    """Arrays joined along an axis; those that are shorter along another one end in NaN."""
    shape = np.max([array.shape for array in arrays], axis=0)
    sizes = [np.where(np.arange(len(shape)) == axis, a.shape, shape).tolist() for a in arrays]
    return np.concatenate([padded(a, size) for a, size in zip(arrays, sizes, strict=True)], axis)


def padded(values: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Values with NaN after their end."""
    missing = np.asarray(shape) - values.shape
    fits, got = values.dtype.kind == "f" or not missing.any(), f"{values.shape} and {shape}"
    expect.that(fits, "chunks of one size", got, "restore the folder")
    ends = [(0, n) for n in missing.tolist()]
    return np.pad(values, ends, constant_values=np.nan) if missing.any() else values


def _labels(results: Sequence[Result]) -> list[str]:
    """Labels that are distinct among the items of all results."""
    items = []
    for result in results:
        seeds = result["seed"].tolist()
        own = [Item((cell,), seed) for cell, seed in zip(cells_of(result), seeds, strict=True)]
        plain = label_items(own, result.network_names)
        for item, prefix, label in zip(own, plain, result["label"].tolist(), strict=True):
            variant = label.removeprefix(prefix).removeprefix("-")
            items.append(dataclasses.replace(item, variant=variant))
    return label_items(items, results[0].network_names)
