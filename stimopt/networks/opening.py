"""Where a network comes from, in words a config can hold."""

from __future__ import annotations

from stimopt.networks.frozen import BUILTIN_EXTENT, FLYVIS_EXTENT, FrozenNetwork


class NetworkSource:
    """A network to be opened: trained flyvis networks, or the built-in motion circuit.

    Args:
        path: folder of a trained network such as `flow/0000/000`, or several; none is the
            built-in circuit.
        connectome: the connectome file; by default the one in an installed flyvis.
        extent: rings of columns; by default 15 for trained networks and 8 for the built-in one.
        backend: `auto`, or a name of `stimopt.dynamics.select.BACKENDS`.
        segment: recompute in segments of so many frames, for very long stimuli.
    """

    def __init__(
        self,
        path: str | list[str] | None = None,
        connectome: str | None = None,
        extent: int | None = None,
        backend: str = "auto",
        segment: int | None = None,
    ) -> None:
        self.path, self.connectome, self.extent = path, connectome, extent
        self.backend, self.segment = backend, segment

    def open(self) -> FrozenNetwork:
        """Read the files and build the network.

        Raises:
            ValueError: if a file is missing, damaged or does not fit.
        """
        if self.path is None:
            if self.connectome is not None:
                raise ValueError(
                    f"expected a network path with connectome {self.connectome}, got none; give "
                    "--network.path, or leave the connectome out for the built-in circuit"
                )
            extent = BUILTIN_EXTENT if self.extent is None else self.extent
            return FrozenNetwork.builtin(extent, backend=self.backend, segment=self.segment)
        return FrozenNetwork.from_flyvis(
            self.path,
            self.connectome,
            FLYVIS_EXTENT if self.extent is None else self.extent,
            backend=self.backend,
            segment=self.segment,
        )
