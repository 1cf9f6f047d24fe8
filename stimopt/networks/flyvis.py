"""Trained parameters from a flyvis network folder, with no pickle executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from stimopt import expect
from stimopt.connectome import Connectome, NetworkParameters
from stimopt.lattice import Floats
from stimopt.storage.archives import require_honest_zip
from stimopt.storage.files import BadFile, reading
from stimopt.storage.hdf5 import opened, plain_array

_numpy_scalar: Any = np.float64(0.0).__reduce__()[0]
# Besides tensors these checkpoints contain only `validation_loss`, a float64 scalar, whose
# constructor has another name in NumPy 2 than before. Nothing else is allowed.
SAFE_GLOBALS: list[Any] = [
    (_numpy_scalar, "numpy.core.multiarray.scalar"),
    (_numpy_scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    np.dtypes.Float64DType,
]

TENSORS = {
    "nodes_bias": "cell types",
    "nodes_time_const": "cell types",
    "edges_sign": "connected pairs of types",
    "edges_syn_count": "taps",
    "edges_syn_strength": "connected pairs of types",
}
"""Names of the parameters in flyvis, and what each has one value for."""

DYNAMICS = ("PPNeuronIGRSynapses", "relu")
"""Type and activation of the dynamics that `FrozenNetwork` computes."""

_ANOTHER = "pass the folder of another trained flyvis network"
_CONNECTOME = "pass the connectome it was trained on"


def read_trained(folder: str | Path, connectome: Connectome) -> NetworkParameters:
    """Parameters of the best checkpoint in a flyvis network folder.

    Raises:
        ValueError: if the folder has no checkpoint, or the checkpoint is damaged, unsafe or does
            not fit the connectome.
    """
    folder = Path(folder)
    path = best_checkpoint(folder)
    _require_known_dynamics(folder / "_meta.yaml")
    name = "/".join(folder.resolve().parts[-3:])
    parameters = parameters_of(_load(path), connectome, name, str(path))
    # Counts are not trained, so they identify the connectome.
    with np.errstate(divide="ignore"):
        ratio = np.log(parameters.syn_count / connectome.taps.n_syn)
    _require_same("synapse counts", np.abs(ratio) > 1e-3, path)
    return parameters


def _require_known_dynamics(path: Path) -> None:
    """Reject a network whose description names other dynamics; a folder may lack it."""
    if not path.is_file():
        return
    with reading(path, "the description of a network", "copy it again from its source"):
        described = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name in ("config", "network", "dynamics"):
        described = described.get(name) if isinstance(described, dict) else None
    if isinstance(described, dict) and isinstance(described.get("activation"), dict):
        activation = str(described["activation"].get("type"))
        require_dynamics(str(described.get("type")), activation, str(path))


def require_dynamics(kind: str, activation: str, origin: str) -> None:
    """Reject dynamics that are not those of `FrozenNetwork`."""
    advice = "wrap the network in stimopt.ModuleNetwork"
    expected = f"dynamics {DYNAMICS} in {origin}"
    expect.that((kind, activation) == DYNAMICS, expected, (kind, activation), advice)


def parameters_of(
    tensors: Mapping[str, Any], connectome: Connectome, name: str, origin: str
) -> NetworkParameters:
    """Parameters from tensors with flyvis's names.

    Args:
        tensors: by the names in `TENSORS`; `edges_syn_count` is the logarithm of the count.
        connectome: the one they belong to.
        name: of the network.
        origin: of the tensors, for messages.

    Raises:
        ValueError: if one is missing, not finite or does not fit the connectome.
    """
    counts = {
        "cell types": len(connectome.cell_types),
        "connected pairs of types": len(connectome.pairs),
        "taps": len(connectome.taps),
    }
    arrays: dict[str, Floats] = {}
    for key, what in TENSORS.items():
        value, wanted = tensors.get(key), f"a floating-point tensor {key!r} in {origin}"
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise ValueError(f"expected {wanted}, got {type(value).__name__}; {_ANOTHER}")
        arrays[key] = value.detach().cpu().double().numpy().copy()
        name_of_shape = f"{key} in {origin}, one for each of the connectome's {what}"
        expect.shape(name_of_shape, arrays[key], (counts[what],), _CONNECTOME)
        expect.finite(f"{key} in {origin}", arrays[key], _ANOTHER)
    shortest = f"{arrays['nodes_time_const'].min():g} s"
    all_positive = (arrays["nodes_time_const"] > 0).all()
    expect.that(all_positive, f"positive time constants in {origin}", shortest, _ANOTHER)
    _require_same("signs", arrays["edges_sign"] != connectome.signs, origin)
    with np.errstate(over="ignore"):  # FrozenNetwork refuses infinite weights.
        syn_count = np.exp(arrays["edges_syn_count"])
    return NetworkParameters(
        name=name,
        bias=arrays["nodes_bias"],
        time_const=arrays["nodes_time_const"],
        syn_strength=arrays["edges_syn_strength"],
        sign=arrays["edges_sign"],
        syn_count=syn_count,
    )


def _require_same(what: str, differ: NDArray[np.bool_], origin: object) -> None:
    expected = f"the connectome's {len(differ)} {what} in {origin}"
    expect.that(not differ.any(), expected, f"{int(differ.sum())} others", _CONNECTOME)


def best_checkpoint(folder: Path) -> Path:
    """`best_chkpt`, or of `chkpts/chkpt_*` the one with the smallest validation loss.

    Raises:
        ValueError: if neither is there, or losses and checkpoints do not match.
    """
    numbered = sorted(p for p in (folder / "chkpts").glob("chkpt_*") if p.is_file())
    losses_file = folder / "validation" / "loss.h5"
    if numbered and losses_file.is_file():
        losses = _losses(losses_file)
        expected = f"one validation loss for each of the {len(numbered)} checkpoints of {folder}"
        got = f"{len(losses)} in {losses_file}"
        expect.that(len(losses) == len(numbered), expected, got, "restore what is missing")
        return numbered[int(np.argmin(losses))]
    if (folder / "best_chkpt").is_file():
        return folder / "best_chkpt"
    raise ValueError(
        f"expected best_chkpt, or chkpts/chkpt_* with validation/loss.h5, in {folder}, got "
        "neither; pass the folder of a trained flyvis network such as flow/0000/000"
    )


def _losses(path: Path) -> Floats:
    with opened(path, "the validation losses", "restore the file, or keep only best_chkpt") as file:
        losses = np.asarray(plain_array(file["data"]), dtype=np.float64).ravel()
    ok = len(losses) and np.isfinite(losses).all()
    expect.that(ok, f"finite validation losses in {path}", losses[:5], "restore the file")
    return losses


def _load(path: Path) -> Mapping[str, Any]:
    """The `network` entry of a checkpoint; torch's restricted reader runs no code from it."""
    what = "a checkpoint of a trained flyvis network"
    advice = "nothing in it was executed; copy it again from its source"
    with reading(path, what, advice):
        require_honest_zip(path, what, advice)
        with torch.serialization.safe_globals(SAFE_GLOBALS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    network = content.get("network") if isinstance(content, dict) else None
    if not isinstance(network, dict):
        got = f"{type(content).__name__} without it"
        raise BadFile(f"expected an entry 'network' in {path}, got {got}; {advice}")
    return network
