"""What a run found, and its HDF5 file; `stimopt.results` lists the variables."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.networks.model import ResponseModel
from stimopt.protocol import Protocol
from stimopt.results.responses import type_responses
from stimopt.storage.files import BadFile, replace_bytes
from stimopt.storage.hdf5 import opened, plain_array
from stimopt.storage.identity import as_text, installed_versions, require_same

SCHEMA = "stimopt.result/1"
NOT_STABLE = "not stable"
"""Written beside what comes from a network that cannot be simulated."""
TOLERANCE = 1e-4
"""Largest difference in voltage that `check` accepts. Implementations of the step sum in other
orders, which changes a float32 voltage of order 1 by about 1e-6; 1e-4 leaves room for a stronger
network and none for another one."""


class Variable(NamedTuple):
    """An array with named dimensions.

    Args:
        dims: name of each dimension.
        values: the array; text as an object or string array.
        units: of its values, or what they are.
    """

    dims: tuple[str, ...]
    values: NDArray[Any]
    units: str = ""


@dataclass
class Result:
    """What a run found, and everything that determined it.

    Variables are read by name: `result["stimulus"]`, or `result.stimulus`.

    Args:
        kind: `naturalistic`, `regularized`, `artificial` or `range`; `explained` or `checked` for
            what was computed from one of these.
        variables: arrays by name, as listed in `stimopt.results`.
        protocol: under which the responses were simulated.
        network_hash: of the network that responded.
        network_names: one for each parameter set of the network.
        extent: of the lattice.
        config: the settings of the run.
        versions: of Python and the packages that matter.

    Example:
        >>> import stimopt
        >>> network = stimopt.builtin_network(extent=3)
        >>> result = stimopt.StimulusGenerator(network, "T4c", t_stim=0.1).result()
        >>> result["stimulus"].shape  # items, frames, columns
        (1, 10, 37)
        >>> result.check(network) < 1e-5
        True
    """

    kind: str
    variables: dict[str, Variable]
    protocol: Protocol
    network_hash: str
    network_names: tuple[str, ...]
    extent: int
    config: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=installed_versions)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self.variables:
            raise KeyError(
                f"expected {name!r} among the variables of the {self.kind} result, got "
                f"{', '.join(sorted(self.variables))}; choose one, or write the result again"
            )
        return self.variables[name].values

    def __iter__(self) -> Iterator[str]:
        """Names of the variables, so that `"losses" in result` tells whether it has them."""
        return iter(self.variables)

    def __getattr__(self, name: str) -> NDArray[Any]:
        if name.startswith("_") or name not in self.__dict__.get("variables", {}):
            raise AttributeError(name)
        return self.variables[name].values

    def __repr__(self) -> str:
        """Kind, size and network, and a line for each variable: its dimensions and units."""
        shapes = [zip(v.dims, np.shape(v.values), strict=False) for v in self.variables.values()]
        size = ", ".join(f"{dim} {n}" for dim, n in dict(itertools.chain(*shapes)).items())
        lines = [
            f"  {name:<24} ({', '.join(variable.dims)}) {variable.units}".rstrip()
            for name, variable in self.variables.items()
        ]
        head = f"<Result {self.kind} of {', '.join(self.network_names)}: {size}>"
        return "\n".join([head, *lines])

    def is_stable(self, i: int) -> bool:
        """Whether the networks that an item reads can be simulated and its response is finite.

        True for a result that does not say.
        """
        return "stable" not in self.variables or bool(self["stable"][i])

    def frame_of_peak(self, i: int) -> int:
        """Frame at which an item's central response peaks within its read-out window.

        Where suppression was sought, this is its lowest point. If all responses in the window of
        an unstable network are NaN, it is the window's last frame.

        Raises:
            ValueError: if all are NaN though the network is stable.
        """
        n_frames = int(self["n_frames"][i])
        central = self["central_response"][i, :n_frames]
        if not self.is_stable(i) and np.isnan(central[self.protocol.readout(n_frames)]).all():
            return int(self.protocol.readout(n_frames).stop) - 1
        return self.protocol.peak_frame(central, int(self.signs[i]))

    @property
    def extreme(self) -> str:
        """Name of the variable that holds the ceilings, or where the sign is -1 the floors."""
        return "objective" if self.kind == "range" else "ceiling"

    @property
    def signs(self) -> NDArray[np.int64]:
        """1 where a large response was sought, -1 where a low one was, `(items,)`."""
        if "sign" in self.variables:
            return np.asarray(self["sign"], np.int64)
        return np.full(len(self["n_frames"]), int(self.config.get("sign", 1)), np.int64)

    def check(self, network: ResponseModel, tolerance: float = TOLERANCE) -> float:
        """Simulate every stimulus anew and compare the responses with those stored.

        Args:
            network: the network of the result.
            tolerance: largest difference in voltage that passes.

        Returns:
            The largest difference in voltage.

        Raises:
            ValueError: if the network is another one.
            RuntimeError: if a response differs by more than the tolerance, or is NaN elsewhere.
        """
        self.require_network(network)
        lengths, cell_types = self["n_frames"], self["cell_type"]
        anew = type_responses(
            network, self.protocol, self["stimulus"], lengths, cell_types, self["network"]
        )
        largest = 0.0
        for name, n, simulated, stored in zip(
            cell_types, lengths, anew, self["response"], strict=True
        ):
            same_gaps = np.array_equal(np.isnan(simulated[:n]), np.isnan(stored[:n]))
            worst = float(np.nanmax(np.abs(simulated[:n] - stored[:n]))) if same_gaps else np.nan
            expect.that(
                worst <= tolerance,
                f"the stored response of {name} within {tolerance:g}",
                f"a difference of {worst:g}" if same_gaps else "NaN in other columns",
                "the result was altered, or the code has changed: rerun the search or fit",
                RuntimeError,
            )
            largest = max(largest, worst)
        return largest

    def require_network(self, network: ResponseModel) -> None:
        """Reject a network other than that of the result.

        Raises:
            ValueError: naming both.
        """
        expect.that(
            network.content_hash == self.network_hash,
            f"the network of the result ({self.network_hash[:12]}, "
            f"{', '.join(self.network_names)})",
            f"{network.content_hash[:12]} ({', '.join(network.names)})",
            f"load that network at extent {self.extent}",
        )

    def write(self, path: str | Path) -> Path:
        """Write to an HDF5 file, whole or not at all, and return its path."""
        return write(path, {"": self})


def require_same_result(result: Result, expected: Mapping[str, Any], path: str | Path) -> None:
    """Reject a result that belongs to another run.

    Args:
        result: read from `path`.
        expected: by name: `network_hash`, `protocol.dt` and the like, or an entry of its config.
        path: for the message.

    Raises:
        DifferentRun: naming the first entry that differs.
    """
    stored = {
        **result.config,
        "network_hash": result.network_hash,
        **result.protocol.settings(),
    }
    require_same({name: stored.get(name) for name in expected}, expected, str(path))


# -- HDF5 -----------------------------------------------------------------------------------------


def write(path: str | Path, results: Mapping[str, Result]) -> Path:
    """Write results into one HDF5 file, each into its group; `""` is the root.

    Args:
        path: of the file; it is replaced whole, or left as it was on an error.
        results: by the name of their group.

    Returns:
        The path.

    Raises:
        ValueError: for an array that could not be read back, or if arrays disagree about the size
            of a dimension.
        OSError: if the file cannot be written.
    """
    # In memory first: HDF5 crashes some time after a disk was full, see `storage.hdf5.created`.
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, result in results.items():
            _write_group(file.require_group(name or "/"), result)
    replace_bytes(path, content.getvalue())
    return Path(path)


def _write_group(group: h5py.Group, result: Result) -> None:
    sizes: dict[str, int] = {}
    for name, variable in result.variables.items():
        values = np.asarray(variable.values)
        readable = "/" not in name and values.dtype.kind in "fiubOUS"
        expect.that(
            readable and values.ndim == len(variable.dims),
            f"numbers or text ({', '.join(variable.dims)}) and no / in the name of {name}",
            f"{values.dtype} {values.shape}",
            "store it as real numbers, with a name for each dimension",
        )
        for dim, size in zip(variable.dims, values.shape, strict=True):
            known = sizes.setdefault(dim, size)
            expect.that(size == known, f"{dim} = {known} in {name}", size, "align them")
        _write_variable(group, name, values, variable.units)
    for dim, size in sizes.items():
        if dim not in group:
            group.create_dataset(dim, data=np.arange(size)).attrs["bare_dimension"] = True
        group[dim].make_scale(dim)
    for name, variable in result.variables.items():
        for axis, dim in enumerate(variable.dims):
            if name != dim:
                group[name].dims[axis].attach_scale(group[dim])
    group.attrs.update(
        {
            "schema": SCHEMA,
            "kind": result.kind,
            "network_hash": result.network_hash,
            "extent": result.extent,
            "protocol": json.dumps(result.protocol.to_dict()),
            "network_names": json.dumps(result.network_names),
            "config": json.dumps(result.config, default=as_text),
            "versions": json.dumps(result.versions),
        }
    )


def _write_variable(group: h5py.Group, name: str, values: NDArray[Any], units: str) -> None:
    if values.dtype.kind in "OUS":
        data = group.create_dataset(name, data=values.astype(object), dtype=h5py.string_dtype())
    else:
        data = group.create_dataset(
            name,
            data=values,
            compression=1 if values.size > 1024 else None,  # gzip; 4 takes longer to save 2 %
            shuffle=values.size > 1024 or None,
            # A checksum for every array with elements: one flipped bit is noticed.
            fletcher32=values.size > 0 and values.ndim > 0,
        )
    if units:
        data.attrs["units"] = units


def read(
    path: str | Path, group: str = "", values: Callable[[h5py.Dataset], Any] = plain_array
) -> Result:
    """Read one result.

    Args:
        path: of the file.
        group: that holds the result, such as `artificial`; empty for the root.
        values: from a dataset to the array of a variable.

    Raises:
        BadFile: if the file is missing, damaged, deceptive or no result, or lacks the group.
    """
    with _opened(path) as file:
        found = file.get(group or "/")
        schema = None if found is None else found.attrs.get("schema")
        expect.that(
            schema == SCHEMA,
            f"a result (schema {SCHEMA}) in {f'group {group!r} of ' if group else ''}{path}",
            f"schema {schema!r} and the groups {sorted(file)}",
            "pass a file that stimopt wrote, and one of its groups",
            BadFile,
        )
        return _read_group(found, values)


def groups(path: str | Path) -> list[str]:
    """Names of the groups with a result; `""` for a file with a single result.

    Raises:
        BadFile: if the file is missing, damaged or deceptive.
    """
    with _opened(path) as file:
        if "schema" in file.attrs:
            return [""]
        return sorted(name for name in file if "schema" in file[name].attrs)


def _opened(path: str | Path) -> AbstractContextManager[h5py.File]:
    return opened(path, "a stimopt result", "rerun the search or fit")


def _read_group(group: h5py.Group, values: Callable[[h5py.Dataset], Any]) -> Result:
    return Result(
        kind=str(group.attrs["kind"]),
        variables={
            name: Variable(_dims(data), values(data), str(data.attrs.get("units", "")))
            for name, data in group.items()
            if isinstance(data, h5py.Dataset) and not data.attrs.get("bare_dimension", False)
        },
        protocol=Protocol(**_json(group, "protocol", dict)),
        network_hash=str(group.attrs["network_hash"]),
        network_names=tuple(map(str, _json(group, "network_names", list))),
        extent=int(group.attrs["extent"]),
        config=_json(group, "config", dict),
        versions=_json(group, "versions", dict),
    )


def _dims(data: h5py.Dataset) -> tuple[str, ...]:
    own_name = data.name.rsplit("/", 1)[-1]
    return tuple(axis[0].name.rsplit("/", 1)[-1] if len(axis) else own_name for axis in data.dims)


def _json(group: h5py.Group, name: str, kind: type) -> Any:
    value = json.loads(group.attrs[name])
    advice = "rerun the search or fit"
    expect.that(isinstance(value, kind), f"a {kind.__name__} in {name}", value, advice)
    return value
