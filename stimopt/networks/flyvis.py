"""Trained parameters from a flyvis network folder, with no pickle executed."""

from __future__ import annotations

import pickle
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stimopt.connectome import Connectome

Floats = NDArray[np.float64]

_numpy_scalar: Any = np.float64(0.0).__reduce__()[0]
# The one thing besides tensors in these checkpoints is `validation_loss`, a float64 scalar. It is
# listed under both names its constructor has had (numpy 2 and before); nothing else is let in.
SAFE_GLOBALS: list[Any] = [
    (_numpy_scalar, "numpy.core.multiarray.scalar"),
    (_numpy_scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    np.dtypes.Float64DType,
]
MAX_CHECKPOINT_BYTES = 1 << 30
"""Refuse what unpacks to more; the published networks are 0.05 MB."""


@dataclass(frozen=True)
class NetworkParameters:
    """Free parameters of one network on a connectome.

    Args:
        name: where they come from, for people.
        bias: resting potential, `(types,)`.
        time_const: membrane time constant in seconds, `(types,)`.
        syn_strength: weight of one synapse, `(pairs,)`.
        sign: +1 or -1, `(pairs,)`.
        syn_count: synapses of every tap, `(taps,)`.
    """

    name: str
    bias: Floats
    time_const: Floats
    syn_strength: Floats
    sign: Floats
    syn_count: Floats

    def tap_weight(self, connectome: Connectome) -> Floats:
        """Signed weight of every tap, w = sign * count * strength, `(taps,)`."""
        pair = connectome.taps.pair
        weight: Floats = (
            self.sign[pair]
            * self.syn_count
            * self.syn_strength[pair]
            * connectome.taps.multiplicity
        )
        return weight


def read_trained(folder: str | Path, connectome: Connectome) -> NetworkParameters:
    """Parameters of the best checkpoint in a flyvis network folder.

    Raises:
        ValueError: if the folder holds no checkpoint, the checkpoint is damaged or unsafe, or it
            does not fit the connectome.
    """
    folder = Path(folder)
    path = best_checkpoint(folder)
    network = _load(path)
    expected = {
        "nodes_bias": (len(connectome.cell_types), "cell types"),
        "nodes_time_const": (len(connectome.cell_types), "cell types"),
        "edges_sign": (len(connectome.pairs), "connected pairs of types"),
        "edges_syn_count": (len(connectome.taps), "taps"),
        "edges_syn_strength": (len(connectome.pairs), "connected pairs of types"),
    }
    arrays = {}
    for key, (count, what) in expected.items():
        value = network.get(key)
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise ValueError(
                f"expected a floating-point tensor {key!r} under 'network' in {path}, got "
                f"{type(value).__name__}; give a folder of a trained flyvis network"
            )
        if value.shape != (count,):
            raise ValueError(
                f"expected {count} values of {key} for the {count} {what} of the connectome, got "
                f"{tuple(value.shape)} in {path}; give the connectome it was trained on"
            )
        arrays[key] = value.to(torch.float64).numpy()
        if not np.isfinite(arrays[key]).all():
            bad = int((~np.isfinite(arrays[key])).sum())
            raise ValueError(
                f"expected finite {key} in {path}, got {bad} of {count} NaN or infinite; "
                "use another checkpoint"
            )
    _check_values(path, arrays, connectome)
    return NetworkParameters(
        name="/".join(folder.resolve().parts[-3:]),
        bias=arrays["nodes_bias"],
        time_const=arrays["nodes_time_const"],
        syn_strength=arrays["edges_syn_strength"],
        sign=arrays["edges_sign"],
        syn_count=np.exp(arrays["edges_syn_count"]),
    )


def best_checkpoint(folder: Path) -> Path:
    """`best_chkpt`, or of `chkpts/chkpt_*` the one with the smallest validation loss.

    Raises:
        ValueError: if neither is there, or losses and checkpoints do not match.
    """
    if not folder.is_dir():
        raise ValueError(
            f"expected the folder of a trained flyvis network, got {folder}, which is no folder; "
            "give one such as flow/0000/000"
        )
    numbered = sorted(p for p in (folder / "chkpts").glob("chkpt_*") if p.is_file())
    losses_file = folder / "validation" / "loss.h5"
    if numbered and losses_file.is_file():
        losses = _losses(losses_file)
        if len(losses) != len(numbered):
            raise ValueError(
                f"expected one validation loss for each of the {len(numbered)} checkpoints in "
                f"{folder / 'chkpts'}, got {len(losses)} in {losses_file}; restore what is missing"
            )
        return numbered[int(np.argmin(losses))]
    if (folder / "best_chkpt").is_file():
        return folder / "best_chkpt"
    raise ValueError(
        f"expected best_chkpt, or chkpts/chkpt_* with validation/loss.h5, in {folder}, got "
        "neither; give the folder of a trained flyvis network such as flow/0000/000"
    )


def _losses(path: Path) -> Floats:
    try:
        with h5py.File(path, "r") as file:
            losses = np.asarray(file["data"][()], dtype=np.float64).ravel()
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"expected the validation losses as data set 'data' in {path}, got an unreadable file "
            f"({error}); restore it, or keep only best_chkpt"
        ) from error
    if not len(losses) or not np.isfinite(losses).all():
        raise ValueError(
            f"expected finite validation losses in {path}, got {losses[:5]}; restore the file"
        )
    return losses


def _load(path: Path) -> dict[str, Any]:
    """The `network` entry of a checkpoint; torch's restricted reader runs no code from it."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            # torch does not compare checksums itself, so one flipped bit would be another network.
            damaged = None if size > MAX_CHECKPOINT_BYTES else archive.testzip()
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(_not_a_checkpoint(path, error)) from error
    if size > MAX_CHECKPOINT_BYTES:
        raise ValueError(
            f"expected a checkpoint of less than {MAX_CHECKPOINT_BYTES} bytes, got {path}, which "
            f"unpacks to {size}; the published ones are 0.05 MB"
        )
    if damaged is not None:
        raise ValueError(_not_a_checkpoint(path, f"checksum of {damaged} is wrong"))
    try:
        with torch.serialization.safe_globals(SAFE_GLOBALS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"expected a checkpoint of plain tensors in {path}, got one that asks to run other "
            f"code ({str(error).splitlines()[0]}); it was refused, nothing was executed"
        ) from error
    except Exception as error:  # the restricted reader raises anything on a malformed stream
        raise ValueError(_not_a_checkpoint(path, error)) from error
    network = content.get("network") if isinstance(content, dict) else None
    if not isinstance(network, dict):
        raise ValueError(
            f"expected an entry 'network' in {path}, got {type(content).__name__} without it; "
            "give a folder of a trained flyvis network"
        )
    return network


def _not_a_checkpoint(path: Path, reason: object) -> str:
    why = (str(reason) or type(reason).__name__).splitlines()[0]
    return (
        f"expected a torch checkpoint in {path}, got a damaged or foreign file ({why}); "
        "copy it again from its source"
    )


def _check_values(path: Path, arrays: dict[str, Floats], connectome: Connectome) -> None:
    if (arrays["nodes_time_const"] <= 0).any():
        raise ValueError(
            f"expected positive time constants in {path}, got a smallest one of "
            f"{arrays['nodes_time_const'].min():g} s; use another checkpoint"
        )
    differ = int((arrays["edges_sign"] != connectome.signs).sum())
    if differ:
        raise ValueError(
            f"expected the signs of the connectome's {len(connectome.pairs)} pairs in {path}, got "
            f"{differ} others; give the connectome it was trained on"
        )
    # Counts are not trained: they name the connectome as a fingerprint does.
    off = np.abs(arrays["edges_syn_count"] - np.log(connectome.taps.n_syn)) > 1e-3
    if off.any():
        raise ValueError(
            f"expected the synapse counts of the connectome's {len(off)} taps in {path}, got "
            f"{int(off.sum())} that differ; give the connectome it was trained on"
        )
