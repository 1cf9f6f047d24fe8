"""Results as HDF5 files that carry what is needed to check them again."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from stimopt.networks.model import ResponseModel, device_of
from stimopt.protocol import Protocol
from stimopt.storage.files import replacing
from stimopt.storage.hdf5 import created
from stimopt.storage.identity import require_same as require_same  # until callers have moved

SCHEMA = "stimopt.result/1"
TOLERANCE = 1e-4
"""Largest difference in voltage that `check` lets pass: implementations of the step sum in other
orders, which moves a float32 voltage of order 1 by about 1e-6; 1e-4 leaves room for a stronger
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


MAX_PACKED = 1032
"""Deflate packs no more bytes into one, so an array that declares more is made to deceive."""


@dataclass
class Result:
    """What a run found, and all that decided it.

    Variables are read by name: `result["stimulus"]`, or `result.stimulus`.

    Args:
        kind: `naturalistic`, `regularized` or `artificial`.
        variables: arrays by name.
        protocol: under which the responses hold.
        network_hash: of the network they hold for.
        network_names: for people, one for each network held.
        extent: of the lattice.
        config: the settings of the run.
        versions: of Python and the packages that matter.
    """

    kind: str
    variables: dict[str, Variable]
    protocol: Protocol
    network_hash: str
    network_names: tuple[str, ...]
    extent: int
    config: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: installed_versions())

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self.variables:
            raise KeyError(f"expected one of {sorted(self.variables)}, got {name!r}; choose one")
        return self.variables[name].values

    def __getattr__(self, name: str) -> NDArray[Any]:
        if name.startswith("_") or name not in self.__dict__.get("variables", {}):
            raise AttributeError(name)
        return self.variables[name].values

    def frame_of_peak(self, i: int) -> int:
        """Frame at which an item's central response is largest within its read-out window.

        Where suppression was sought, at which it is lowest.

        Raises:
            ValueError: if there is no number among those responses.
        """
        central = self["central_response"][i, : int(self["n_frames"][i])]
        return self.protocol.peak_frame(central, self.config.get("sign", 1))

    def check(self, network: ResponseModel, tolerance: float = TOLERANCE) -> float:
        """Simulate every stimulus again and compare; gives the largest difference in voltage.

        Args:
            network: the one the result is of.
            tolerance: largest difference let pass.

        Raises:
            ValueError: if the network is another one.
            RuntimeError: if a response differs by more, or holds NaN where it should not.
        """
        if network.content_hash != self.network_hash:
            raise ValueError(
                f"expected the network of the result ({self.network_hash[:12]}, "
                f"{', '.join(self.network_names)}), got {network.content_hash[:12]} "
                f"({', '.join(network.names)}); load that network"
            )
        largest = 0.0
        for i, cell_type in enumerate(self["cell_type"]):
            n_frames = int(self["n_frames"][i])
            luminance = torch.as_tensor(self["stimulus"][i : i + 1, :n_frames])
            again = type_response(
                network, luminance, self.protocol, str(cell_type), int(self["network"][i])
            )
            held = self["response"][i, :n_frames]
            difference = np.abs(again - held)
            if not np.array_equal(np.isnan(again), np.isnan(held)):
                raise RuntimeError(
                    f"expected the response of {cell_type} at the same columns, got NaN elsewhere; "
                    "the result was altered or damaged"
                )
            worst = float(np.nanmax(difference))
            if not worst <= tolerance:
                raise RuntimeError(
                    f"expected the response of {cell_type} again within {tolerance:g}, got a "
                    f"difference of {worst:g}; the result was altered, or the code has changed"
                )
            largest = max(largest, worst)
        return largest

    def write(self, path: str | Path) -> Path:
        """Write to an HDF5 file, whole or not at all; gives its path."""
        return write(path, {"": self})


@torch.no_grad()
def type_response(
    network: ResponseModel,
    luminance: torch.Tensor,
    protocol: Protocol,
    cell_type: str,
    network_position: int,
) -> NDArray[np.float32]:
    """Response of a type in every column, `(frames, columns)`, NaN where it has no cell.

    Args:
        network: asked.
        luminance: `(1, frames, columns)`.
        protocol: pre-stimulus and baseline.
        cell_type: whose cells.
        network_position: which of the networks held.
    """
    cells = network.cells_of(cell_type)
    there = cells >= 0
    device = device_of(network, luminance)
    index = torch.tensor([network_position], device=device)
    found = network.respond(luminance.to(device), protocol, cells[there].to(device), index)[0]
    response = np.full((found.shape[0], len(cells)), np.nan, dtype=np.float32)
    response[:, there.numpy()] = found.float().cpu().numpy()
    return response


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages a result depends on."""
    found = {"python": platform.python_version()}
    for name in ("stimopt", "torch", "lightning", "numpy", "h5py", "numba"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write(path: str | Path, results: Mapping[str, Result]) -> Path:
    """Write results into one HDF5 file, each into its group; `""` is the root.

    Dimensions are named and attached as dimension scales, so that xarray opens each group
    (`xarray.open_dataset(path, engine="h5netcdf", group=...)`).
    """
    path = Path(path)
    with replacing(path) as beside, created(beside) as (file, _):
        for name, result in results.items():
            _write_group(file.require_group(name) if name else file, result)
    return path


def read(path: str | Path, group: str = "") -> Result:
    """Read a result.

    Raises:
        ValueError: if the file is missing, damaged, no result, or links outside itself.
    """
    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            refuse_links(file, path)
            if group and group not in file:
                raise ValueError(
                    f"expected a group {group!r} in {path}, got {sorted(file)}; choose one of them"
                )
            return _read_group(file[group] if group else file, path)
    except FileNotFoundError as error:
        raise ValueError(
            f"expected a result file, got {path}, which is not there; run the search or fit first"
        ) from error
    except Exception as error:  # h5py raises anything on a malformed file
        if isinstance(error, ValueError) and str(error).startswith("expected"):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"expected a stimopt result in {path}, got a damaged or foreign file ({reason}); "
            "make it again"
        ) from error


def groups(path: str | Path) -> list[str]:
    """Names of the results in a file; `""` if it holds one alone.

    Raises:
        OSError: if it is no HDF5 file; RuntimeError or KeyError if a damaged one.
        ValueError: if it links outside itself.
    """
    with h5py.File(path, "r") as file:
        refuse_links(file, Path(path))
        if "schema" in file.attrs:
            return [""]
        return sorted(name for name in file if "schema" in file[name].attrs)


def refuse_links(file: h5py.File, path: Path) -> None:
    """Refuse links and external storage, which would read other files in this one's name.

    Raises:
        ValueError: naming the link.
    """

    def visit(group: h5py.Group) -> None:
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ValueError(
                    f"expected a file without links, got a {type(link).__name__} {name!r} in "
                    f"{path}; it was refused; copy the data themselves into the file"
                )
            child = group[name]
            if isinstance(child, h5py.Group):
                visit(child)
            elif child.external or child.is_virtual:
                raise ValueError(
                    f"expected a file that holds its own data, got external storage at {name!r} in "
                    f"{path}; it was refused; copy the data themselves into the file"
                )

    visit(file)


def _write_group(group: h5py.Group, result: Result) -> None:
    sizes: dict[str, int] = {}
    for name, variable in result.variables.items():
        for dim, size in zip(variable.dims, variable.values.shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                raise ValueError(f"expected {dim} = {sizes[dim]} in {name}, got {size}; align them")
    for name, variable in result.variables.items():
        values = np.asarray(variable.values)
        if values.dtype.kind in "OUS":
            data = group.create_dataset(name, data=values.astype(object), dtype=h5py.string_dtype())
        else:
            data = group.create_dataset(
                name,
                data=values,
                compression="gzip" if values.size > 1024 else None,
                shuffle=values.size > 1024 or None,
                # A checksum for every array with elements: one flipped bit is noticed.
                fletcher32=values.size > 0 and values.ndim > 0,
            )
        if variable.units:
            data.attrs["units"] = variable.units
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
            "protocol": json.dumps(result.protocol.to_dict()),
            "network_hash": result.network_hash,
            "network_names": json.dumps(result.network_names),
            "extent": result.extent,
            "config": json.dumps(result.config, default=str),
            "versions": json.dumps(result.versions),
        }
    )


def _read_group(group: h5py.Group, path: Path) -> Result:
    if group.attrs.get("schema") != SCHEMA:
        raise ValueError(
            f"expected schema {SCHEMA} in {path}, got {group.attrs.get('schema')!r}; "
            f"groups in it are {sorted(group)}; give a file that stimopt wrote"
        )
    variables = {}
    for name, data in group.items():
        if not isinstance(data, h5py.Dataset) or data.attrs.get("bare_dimension", False):
            continue
        _require_plain(data, path)
        values = data.asstr()[()] if h5py.check_string_dtype(data.dtype) else data[()]
        dims = tuple(
            data.dims[axis][0].name.rsplit("/", 1)[-1] if len(data.dims[axis]) else name
            for axis in range(data.ndim)
        )
        variables[name] = Variable(dims, np.asarray(values), str(data.attrs.get("units", "")))
    names = json.loads(group.attrs["network_names"])
    settings = {name: json.loads(group.attrs[name]) for name in ("config", "versions")}
    if not (
        isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and all(isinstance(held, dict) for held in settings.values())
    ):
        raise TypeError("names or settings of another kind")
    return Result(
        kind=str(group.attrs["kind"]),
        variables=variables,
        protocol=Protocol(**json.loads(group.attrs["protocol"])),
        network_hash=str(group.attrs["network_hash"]),
        network_names=tuple(names),
        extent=int(group.attrs["extent"]),
        **settings,
    )


def _require_plain(data: h5py.Dataset, path: Path) -> None:
    """Refuse an array of anything but numbers and text, or larger than the file can hold."""
    text = h5py.check_string_dtype(data.dtype) is not None
    if not text and data.dtype.kind not in "fiub":
        raise ValueError(
            f"expected numbers or text in {data.name} of {path}, got {data.dtype}; make it again"
        )
    if data.size * data.dtype.itemsize > MAX_PACKED * path.stat().st_size:
        raise ValueError(
            f"expected no more in {data.name} of {path} than its {path.stat().st_size} bytes can "
            f"hold, got shape {data.shape}; do not trust this file"
        )
