"""The ways to open a network: the built-in circuit, trained flyvis networks, and from a config."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from stimopt import expect
from stimopt.connectome import Connectome, NetworkParameters
from stimopt.lattice import FLYVIS_EXTENT
from stimopt.networks.flyvis import read_trained
from stimopt.networks.flyvis_files import find_connectome, find_network
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.motion_circuit import motion_circuit_parameters, motion_circuit_spec
from stimopt.protocol import Protocol

BUILTIN_EXTENT = 8
"""Rings of columns; room for a 200 ms edge around the centre at a tenth of the cost of 15 rings."""


def builtin_network(extent: int = BUILTIN_EXTENT, **options: Any) -> FrozenNetwork:
    """The motion circuit that comes with stimopt; see `stimopt.networks.motion_circuit`.

    Example:
        >>> network = builtin_network()
        >>> network.cell_types[-8:]
        ('T4a', 'T4b', 'T4c', 'T4d', 'T5a', 'T5b', 'T5c', 'T5d')

    Args:
        extent: rings of columns around the centre.
        **options: as for `FrozenNetwork`.
    """
    connectome = Connectome.from_spec(motion_circuit_spec(), "the built-in motion circuit")
    return FrozenNetwork(connectome, [motion_circuit_parameters()], extent, **options)


def flyvis_network(
    path: str | Path | Sequence[str | Path],
    connectome: str | Path | None = None,
    extent: int = FLYVIS_EXTENT,
    **options: Any,
) -> FrozenNetwork:
    """One or several trained flyvis networks, all on the same connectome.

    Example:
        >>> network = flyvis_network("flow/0000/000")  # doctest: +SKIP

    Args:
        path: a folder or a flyvis name such as `flow/0000/000`, or several. Names are looked up
            as in flyvis, see `stimopt.networks.flyvis_files`.
        connectome: the connectome file; by default the one of an installed flyvis, or in
            `connectome/` at or beside the folder `$FLYVIS_ROOT_DIR`.
        extent: rings of columns around the centre; the weights are shared by all columns, so any
            number works.
        **options: as for `FrozenNetwork`.

    Raises:
        ValueError: if a file is missing, damaged or unsafe, or does not fit the others.
    """
    paths = [path] if isinstance(path, (str, Path)) else list(path)
    folders = [find_network(each) for each in paths]
    read = Connectome.from_json(find_connectome() if connectome is None else connectome)
    parameters = [read_trained(each, read) for each in folders]
    _require_different(parameters, folders)
    return FrozenNetwork(read, parameters, extent, **options)


def _require_different(parameters: Sequence[NetworkParameters], folders: Sequence[Path]) -> None:
    """Reject a network that is listed twice, or is a copy of another."""
    seen: dict[bytes, Path] = {}
    for each, folder in zip(parameters, folders, strict=True):
        content = b"".join(x.tobytes() for x in (each.bias, each.time_const, each.syn_strength))
        expect.that(
            content not in seen,
            "different networks, each listed once",
            f"{folder} with the parameters of {seen.get(content)}",
            "remove one of them",
        )
        seen[content] = folder


class NetworkSource:
    """A network to be opened, as a config describes it.

    Args:
        path: folder or flyvis name of a trained network, such as `flow/0000/000`, or several;
            None is the built-in motion circuit.
        connectome: the connectome file; by default the one of an installed flyvis, or in
            `connectome/` at or beside the folder `$FLYVIS_ROOT_DIR`.
        extent: rings of columns; by default 15 for trained networks and 8 for the built-in one.
        backend: `auto`, or a name of `stimopt.dynamics.select.BACKENDS`.
        segment: recompute in segments of so many frames, for very long stimuli.
        lesions: such as `Mi9>T4c`, with commas between or as a list; each adds a lesioned copy of
            every network. `all>T4c` cuts the presynaptic pathways of T4c one by one; see
            `stimopt.networks.lesions`.
        unstable: what becomes of networks that cannot be simulated: `mark` in every result,
            `leave_out` or `refuse`; one network alone is refused if its step is too long.
    """

    def __init__(
        self,
        path: str | list[str] | None = None,
        connectome: str | None = None,
        extent: int | None = None,
        backend: str = "auto",
        segment: int | None = None,
        lesions: str | list[str] | None = None,
        unstable: Literal["mark", "leave_out", "refuse"] = "mark",
    ) -> None:
        expect.one_of("unstable", unstable, ("mark", "leave_out", "refuse"))
        default = BUILTIN_EXTENT if path is None else FLYVIS_EXTENT
        self.path, self.connectome = path, connectome
        self.extent = default if extent is None else extent
        self.lesions, self.unstable = lesions, unstable
        self._options = {"backend": backend, "segment": segment}

    def open(self, protocol: Protocol | None = None) -> FrozenNetwork:
        """Read the files and build the network.

        Args:
            protocol: under which unstable networks are left out or refused.

        Raises:
            ValueError: if a connectome comes without a path, a file is missing, damaged or does
                not fit, for an unknown lesion, or if unstable networks are refused.
        """
        network = self._opened()
        if self.lesions is not None:
            network = network.lesion(self.lesions)
        if self.unstable != "mark":
            network = network.only_stable(protocol or Protocol(), self.unstable)
        return network

    def _opened(self) -> FrozenNetwork:
        expect.that(
            self.path is not None or self.connectome is None,
            f"a network path with connectome {self.connectome}",
            "none",
            "pass --network.path, or leave the connectome out for the built-in circuit",
        )
        if self.path is None:
            return builtin_network(self.extent, **self._options)
        return flyvis_network(self.path, self.connectome, self.extent, **self._options)
