"""A module that asks a network without owning it."""

from __future__ import annotations

import lightning.pytorch as pl
import pytest
import torch

from stimopt.networks.attached import HoldsNetwork
from stimopt.networks.frozen import FrozenNetwork


class Asking(HoldsNetwork, pl.LightningModule):
    def __init__(self, network: FrozenNetwork) -> None:
        super().__init__()
        self.attach(network)
        self.pixels = torch.nn.Parameter(torch.zeros(2))


def test_the_network_is_frozen_and_no_part_of_the_module(small_network: FrozenNetwork) -> None:
    module = Asking(small_network)
    assert module.network is small_network
    assert list(module.state_dict()) == ["pixels"] and list(module.parameters()) == [module.pixels]
    assert not any(p.requires_grad for p in small_network.parameters())
    module.train()
    assert module.training and not small_network.training


def test_the_network_moves_along_with_the_module(small_network: FrozenNetwork) -> None:
    module = Asking(small_network)
    buffers = [b for b in small_network.buffers() if b.is_floating_point()]
    assert buffers and module.double() is module
    try:
        assert {b.dtype for b in small_network.buffers() if b.is_floating_point()} == {
            torch.float64
        }
    finally:
        module.float()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused_before_it_rounds_the_network(
    small_network: FrozenNetwork, dtype: torch.dtype
) -> None:
    before = {name: buffer.clone() for name, buffer in small_network.named_buffers()}
    with pytest.raises(RuntimeError, match=r"a network of 32 or 64 bits, got torch.*bf16-mixed"):
        Asking(small_network).to(dtype)
    assert all(torch.equal(buffer, before[n]) for n, buffer in small_network.named_buffers())
