"""Responses of the items of a fit, where only those that still run are simulated."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from stimopt.items import Item, Readout
from stimopt.networks.model import ResponseModel
from stimopt.protocol import Protocol


class RunningResponses:
    """Simulates the items that run; the others stay as they are, and so do their responses.

    Args:
        items: of the fit.
        readout: of all of them.
    """

    def __init__(self, items: Sequence[Item], readout: Readout) -> None:
        self._items, self._all = items, readout
        self.forget()

    def forget(self) -> None:
        """Simulate all items at the next call, as stimuli may have been replaced."""
        self._latest: Tensor | None = None
        self._rows: list[int] = []
        self._some = self._all

    def __call__(
        self, network: ResponseModel, luminance: Tensor, protocol: Protocol, running: Tensor
    ) -> Tensor:
        """Responses `(items, readings, frames)`.

        Args:
            network: with the cells.
            luminance: of all items, `(items, frames, columns)`.
            protocol: of the fit.
            running: items whose luminance may have changed since the last call, `(items,)`, bool.
        """
        # On an accelerator, to ask which items run would wait for all work before.
        if self._latest is None or running.device.type != "cpu" or bool(running.all()):
            responses: Tensor = self._all(network, luminance, protocol)
        else:
            rows = running.nonzero()[:, 0].tolist()
            responses = self._latest.clone()
            if rows:
                if rows != self._rows:
                    self._rows = rows
                    self._some = Readout(network, [self._items[i] for i in rows])
                responses[rows] = self._some(network, luminance[rows], protocol)
            else:  # Such a step has a gradient too: zero.
                responses = responses + 0 * luminance.sum()
        self._latest = responses.detach()
        return responses
