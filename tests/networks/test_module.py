"""Any module as a network: pre-stimulus, read-out, cells and content."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stimopt.networks.module import ModuleNetwork
from stimopt.protocol import Protocol
from tests.networks.modules import ConvRecurrent


def test_the_module_is_frozen_and_put_in_eval_mode() -> None:
    module = ConvRecurrent().train()
    network = ModuleNetwork(module, {"a": 0, "b": 2}, extent=1)
    assert network.module is module and network.cell_types == ("a", "b")
    assert not any(part.training for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert network.n_networks == 1


def test_the_pre_stimulus_is_shown_and_its_responses_dropped() -> None:
    module = ConvRecurrent()
    network = ModuleNetwork(module, {"a": 1}, extent=1)
    luminance = torch.rand((2, 4, 7))
    grey = torch.full((2, 5, 7), 0.5)
    ramp = torch.linspace(0, 1, 3)[:, None] * (luminance[:, :1] - 0.5) + 0.5
    whole = module(torch.cat([grey, ramp, luminance], dim=1))
    phases = {"t_pre": 0.05, "t_fade_in": 0.03}
    torch.testing.assert_close(network.respond(luminance, Protocol(**phases)), whole[:, 8:])
    relative = network.respond(luminance, Protocol(**phases, baseline="grey"), torch.tensor([1]))
    torch.testing.assert_close(relative, (whole[:, 8:] - whole[:, 7:8])[..., 1:2])
    with pytest.raises(ValueError, match="a pre-stimulus for baseline 'grey', got none; set"):
        network.respond(luminance, Protocol(t_pre=0.0, baseline="grey"))


def test_a_gradient_reaches_the_luminance() -> None:
    network = ModuleNetwork(ConvRecurrent(), {"a": 0}, extent=1)
    luminance = torch.rand((1, 4, 7), requires_grad=True)
    network.respond(luminance, Protocol(t_pre=0.1)).sum().backward()
    assert luminance.grad is not None and luminance.grad.abs().min() > 0


def test_cells_in_every_column_or_the_central_one() -> None:
    cells = {"everywhere": [0, 1, 2, 0, 1, 2, -1], "central": 2}
    network = ModuleNetwork(ConvRecurrent(), cells, extent=1)
    assert network.cells_of("everywhere").tolist() == cells["everywhere"]
    assert network.cells_of("central").tolist() == [-1, -1, -1, 2, -1, -1, -1]
    assert network.cell_index("central") == 2
    with pytest.raises(ValueError, match="u=1"):
        network.cell_index("central", u=1)
    with pytest.raises(ValueError, match="did you mean 'central'"):
        network.cells_of("centrl")
    with pytest.raises(ValueError, match=r"one cell or 7 cells \(columns\) for a, got 2"):
        ModuleNetwork(ConvRecurrent(), {"a": [0, 1]}, extent=1)
    with pytest.raises(ValueError, match=r"one cell or 7 cells .* got 7 of torch\.float"):
        ModuleNetwork(ConvRecurrent(), {"a": [0.5] * 7}, extent=1)
    with pytest.raises(
        ValueError, match=r"cells of b within the module's 0 to 2, or -1, got \[3\]"
    ):
        ModuleNetwork(ConvRecurrent(), {"a": 2, "b": 3}, extent=1)
    indices = np.arange(7) % 3
    network = ModuleNetwork(ConvRecurrent(), {"a": indices, "b": indices[1]}, extent=1)
    assert network.cells_of("a").tolist() == indices.tolist() and network.cell_index("b") == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_module_is_shown_luminance_of_its_own_precision(dtype: torch.dtype) -> None:
    network = ModuleNetwork(ConvRecurrent().to(dtype), {"a": 0}, extent=1)
    luminance = torch.rand((1, 4, 7), requires_grad=True)
    responses = network.respond(luminance, Protocol(t_pre=0.1))
    assert responses.dtype == torch.promote_types(dtype, torch.float32)
    responses.sum().backward()
    assert luminance.grad is not None and luminance.grad.dtype == torch.float32


def test_a_module_without_a_gradient_is_refused_unless_unchecked() -> None:
    with pytest.raises(ValueError, match="gradient"):
        ModuleNetwork(nn.Threshold(2.0, 0.0), {"a": 0}, extent=1)
    ModuleNetwork(nn.Threshold(2.0, 0.0), {"a": 0}, extent=1, check=False)


def test_the_hash_depends_on_state_and_cells() -> None:
    torch.manual_seed(0)
    module = nn.Linear(7, 3)

    def content(cells: dict[str, int]) -> str:
        return ModuleNetwork(module, cells, extent=1, check=False).content_hash

    first = content({"cell": 0})
    assert first == content({"cell": 0})
    assert first not in (content({"cell": 2}), content({"neuron": 0}))
    with torch.no_grad():
        module.bias += 1
    assert first != content({"cell": 0})


class Scaled(nn.Module):
    """A weight that no state_dict has, and a state that is no tensor."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(weight), persistent=False)

    def forward(self, luminance: Tensor) -> Tensor:
        return self.weight * luminance  # type: ignore[operator]

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}


def test_the_hash_depends_on_all_buffers_and_on_nothing_but_tensors() -> None:
    one, same, other = (ModuleNetwork(Scaled(w), {"a": 0}, extent=1) for w in (1.0, 1.0, 2.0))
    assert one.content_hash == same.content_hash != other.content_hash
