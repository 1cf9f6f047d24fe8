"""A module that asks a network without owning it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from stimopt.networks.model import ResponseModel


class HoldsNetwork(nn.Module):
    """Mixin of LightningModules: keeps the network outside the submodules, frozen.

    A checkpoint then stores the network's hash instead of its weights, and the Trainer's switch to
    training mode does not reach it. The network still moves along to the module's device and
    precision.

    Call `attach` after `super().__init__()`:

        class Search(HoldsNetwork, pl.LightningModule):
            def __init__(self, network):
                super().__init__()
                self.attach(network)
    """

    network: ResponseModel

    def attach(self, network: ResponseModel) -> None:
        """Store the network, freeze its parameters and put it in eval mode."""
        # Past nn.Module's own `__setattr__`, which would register a submodule.
        object.__setattr__(self, "network", network)
        network.requires_grad_(False).eval()

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Any:
        self.network._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
