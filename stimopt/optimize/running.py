"""Responses of the items of a fit, where only those that still run are simulated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from stimopt.items import Item, Readout
from stimopt.networks.model import ResponseModel


class RunningResponses:
    """Simulates the items that run; the others stay as they are, and so do their responses.

    Args:
        network: with the cells.
        items: of the fit.
        readout: of all of them.
    """

    def __init__(self, network: ResponseModel, items: Sequence[Item], readout: Readout) -> None:
        self._network, self._items, self._all = network, items, readout
        self.forget()

    def forget(self) -> None:
        """Simulate all items at the next call, as stimuli may have been replaced."""
        self._latest: Tensor | None = None
        self._rows: list[int] = []
        self._some = self._all

    def __call__(
        self, respond: Callable[[Tensor, Readout], Tensor], luminance: Tensor, running: Tensor
    ) -> Tensor:
        """Responses `(items, readings, frames)`.

        Args:
            respond: responses to the luminance of the items that a readout reads.
            luminance: of all items, `(items, frames, columns)`.
            running: items whose luminance may have changed since the last call, `(items,)`, bool.
        """
        # On an accelerator, to ask which items run would wait for all work before.
        if self._latest is None or running.device.type != "cpu" or bool(running.all()):
            responses = respond(luminance, self._all)
        else:
            rows = running.nonzero()[:, 0].tolist()
            responses = self._latest.clone()
            if rows:
                if rows != self._rows:
                    self._rows = rows
                    self._some = Readout(self._network, [self._items[i] for i in rows])
                responses[rows] = respond(luminance[rows], self._some)
            else:  # Such a step has a gradient too: zero.
                responses = responses + 0 * luminance.sum()
        self._latest = responses.detach()
        return responses
