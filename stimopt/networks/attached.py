"""A mixin for LightningModules that use a network without registering it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from stimopt import expect
from stimopt.networks.model import ResponseModel


class HoldsNetwork(nn.Module):
    """Stores a frozen network outside the submodules; call `attach` after `super().__init__()`.

    A checkpoint then has no weights of the network, and the Trainer's switch to training mode does
    not reach it. The network still follows the module to another device or to 32 or 64 bits.
    Half precision is rejected here for every fit and search, however the module gets it.
    """

    network: ResponseModel

    def attach(self, network: ResponseModel) -> None:
        """Store the network, freeze its parameters and put it in eval mode."""
        # Not by nn.Module's own `__setattr__`, which would register a submodule.
        object.__setattr__(self, "network", network)
        network.requires_grad_(False).eval()

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Any:
        # Half precision would round the network's parameters permanently, for all who share it.
        dtype = fn(torch.zeros(1, dtype=torch.float32)).dtype
        expect.that(
            dtype in (torch.float32, torch.float64),
            "a network of 32 or 64 bits",
            dtype,
            "pass Trainer(precision='bf16-mixed') or '16-mixed', which keep it whole",
            RuntimeError,
        )
        self.network._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
