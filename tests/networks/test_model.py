"""What all networks share: the cell of a column, fade-in, read-out, device."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.model import ResponseModel, device_of, fade_in, select_cells
from stimopt.networks.module import ModuleNetwork
from stimopt.protocol import Protocol


def test_a_network_must_define_its_responses() -> None:
    with pytest.raises(TypeError, match=r"abstract.* respond"):
        ResponseModel()  # type: ignore[abstract]


def test_calling_a_network_is_asking_for_responses(small_network: FrozenNetwork) -> None:
    luminance, protocol = torch.rand((1, 3, 61)), Protocol(baseline="grey")
    cell = torch.tensor([3])
    assert torch.equal(small_network(luminance), small_network.respond(luminance, Protocol()))
    assert torch.equal(
        small_network(luminance, protocol, readout=cell),
        small_network.respond(luminance, protocol, cell),
    )


def test_the_cell_of_a_column(small_network: FrozenNetwork) -> None:
    lattice = small_network.lattice
    cells = small_network.cells_of("T4c")
    assert small_network.cell_index("T4c") == cells[lattice.center]
    assert small_network.cell_index("T4c", 2, -1) == cells[lattice.index(2, -1)]
    with pytest.raises(ValueError, match=r"did you mean 'T4c'"):
        small_network.cell_index("t4C")
    with pytest.raises(ValueError, match=r"column of extent 4 with a T4c cell, got u=9, v=0"):
        small_network.cell_index("T4c", u=9)


def test_the_fade_in_leads_from_grey_to_the_first_frame() -> None:
    luminance = torch.rand((2, 4, 7), requires_grad=True)
    frames = fade_in(luminance, Protocol(t_fade_in=0.05))
    first = luminance[:, :1].detach()
    expected = torch.cat([0.5 + (first - 0.5) * share for share in (0, 0.25, 0.5, 0.75, 1)], dim=1)
    torch.testing.assert_close(frames, expected, atol=1e-6, rtol=0)
    # The gradient runs through it to the first frame.
    (gradient,) = torch.autograd.grad(frames.sum(), luminance)
    torch.testing.assert_close(gradient[:, 0], torch.full((2, 7), 2.5))
    assert (gradient[:, 1:] == 0).all()
    assert fade_in(luminance, Protocol()).shape == (2, 0, 7)


def test_cells_to_read_out_are_chosen_for_all_items_or_for_each() -> None:
    responses = torch.arange(12.0).reshape(2, 3, 2)
    assert select_cells(responses, None) is responses
    torch.testing.assert_close(select_cells(responses, torch.tensor([1])), responses[..., 1:])
    each = select_cells(responses, torch.tensor([[1, 1], [0, 1]]))
    torch.testing.assert_close(each, torch.stack([responses[0][:, [1, 1]], responses[1]]))


class Echo(nn.Module):
    def forward(self, luminance: Tensor) -> Tensor:
        return luminance


def test_the_device_is_that_of_a_parameter_a_buffer_or_another() -> None:
    def network(module: nn.Module) -> ModuleNetwork:
        return ModuleNetwork(module, {"cell": 0}, extent=1, check=False)

    normed = nn.BatchNorm1d(3, affine=False, device="meta")  # Buffers alone.
    for module in (nn.Linear(7, 3, device="meta"), normed):
        assert device_of(network(module), "cpu").type == "meta"
    assert device_of(network(Echo())).type == "cpu"
    assert device_of(network(Echo()), torch.device("meta")).type == "meta"
