from __future__ import annotations

from collections.abc import Callable

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.model import ResponseModel, device_of
from stimopt.networks.module import ModuleNetwork
from stimopt.networks.validate import check_module
from stimopt.optimize.generate import StimulusGenerator
from stimopt.protocol import Protocol


class ConvRecurrent(nn.Module):
    """A tiny network of another kind: a convolution over columns and a leaky recurrent state."""

    def __init__(self, n_columns: int = 7, n_cells: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.read = nn.Conv1d(1, 4, 3, padding=1)
        self.drive = nn.Linear(4 * n_columns, n_cells)
        self.recur = nn.Linear(n_cells, n_cells)

    def forward(self, luminance: Tensor) -> Tensor:
        items, frames, columns = luminance.shape
        read = torch.tanh(self.read(luminance.reshape(items * frames, 1, columns)))
        drive = self.drive(read.reshape(items, frames, -1))
        state = drive.new_zeros((items, drive.shape[-1]))
        states = []
        for t in range(frames):
            state = state + 0.2 * (-state + torch.tanh(self.recur(state)) + drive[:, t])
            states.append(state)
        return torch.stack(states, dim=1)


def frozen(module: nn.Module) -> nn.Module:
    return module.eval().requires_grad_(False)


def test_both_kinds_of_network_fit_the_protocol(small_network: FrozenNetwork) -> None:
    assert isinstance(small_network, ResponseModel)
    assert isinstance(ModuleNetwork(ConvRecurrent(), {"a": 0}, extent=1), ResponseModel)


def test_another_module_can_be_asked(make_trainer: Callable[..., pl.Trainer]) -> None:
    module = ConvRecurrent()
    weights = {k: v.clone() for k, v in module.state_dict().items()}
    network = ModuleNetwork(module, {"a": 0, "b": 2}, extent=1)
    fit = StimulusGenerator(
        network, ["a", "b"], t_stim=0.1, objective="last_frame", grey_weight=0.0
    )
    make_trainer(60).fit(fit)
    peaks = fit.history["response/peak"]
    assert (peaks[-1] > peaks[0]).all()
    assert all(torch.equal(weights[k], v) for k, v in module.state_dict().items())
    assert not any(child.training for child in module.modules())


def test_pre_stimulus_is_shown_and_dropped() -> None:
    module = ConvRecurrent()
    network = ModuleNetwork(module, {"a": 1}, extent=1)
    luminance = torch.rand((2, 4, 7))
    protocol = Protocol(t_pre=0.05)
    grey = torch.full((2, 5, 7), 0.5)
    expected = module(torch.cat([grey, luminance], dim=1))[:, 5:]
    assert torch.allclose(network.respond(luminance, protocol), expected)
    relative = network.respond(luminance, Protocol(t_pre=0.05, baseline="grey"))
    assert torch.allclose(relative, expected - module(grey)[:, -1:], atol=1e-6)


class Broken(ConvRecurrent):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def forward(self, luminance: Tensor) -> Tensor:
        responses = super().forward(luminance)
        if self.fault == "shape":
            return responses[:, :-1]
        if self.fault == "nan":
            return responses / 0 * 0
        if self.fault == "gradient":
            return responses.detach()
        if self.fault == "future":
            return responses + responses.mean(dim=1, keepdim=True)
        if self.fault == "batch":
            return responses - responses.mean(dim=0, keepdim=True) * 0.5
        raise RuntimeError("no such input")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("shape", r"expected responses \(2, 6, cells\)"),
        ("nan", "finite responses"),
        ("gradient", r"gradient.*got none"),
        ("future", "causal"),
        ("batch", "its own stimulus only"),
        ("raises", "no such input"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(fault: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_module(frozen(Broken(fault)), 7)


def test_opposed_cells_do_not_cancel() -> None:
    class Opposed(nn.Module):
        def forward(self, luminance: Tensor) -> Tensor:
            mean = luminance.mean(dim=2, keepdim=True)
            return torch.cat([mean, -mean], dim=2)

    check_module(Opposed().eval(), 7)


def test_training_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="frozen"):
        check_module(ConvRecurrent().eval(), 7)
    with pytest.raises(ValueError, match="eval"):
        check_module(ConvRecurrent().requires_grad_(False).train(), 7)


def test_cells_that_are_not_there() -> None:
    network = ModuleNetwork(ConvRecurrent(), {"alpha": 0}, extent=1)
    with pytest.raises(ValueError, match="nearest: alpha"):
        network.cell_index("alfa")
    with pytest.raises(ValueError, match="u=1"):
        network.cell_index("alpha", u=1)
    with pytest.raises(ValueError, match="7 cells"):
        ModuleNetwork(ConvRecurrent(), {"a": [0, 1]}, extent=1)


def test_the_hash_tells_which_cells_are_meant() -> None:
    torch.manual_seed(0)
    module = nn.Linear(7, 3)
    first, same, other = (
        ModuleNetwork(module, {"cell": cell}, extent=1, check=False) for cell in (0, 0, 2)
    )
    assert first.content_hash == same.content_hash != other.content_hash
    named = ModuleNetwork(module, {"neuron": 0}, extent=1, check=False)
    assert named.content_hash != first.content_hash


def test_where_a_network_is() -> None:
    luminance = torch.zeros(1, 2, 7)
    linear = ModuleNetwork(nn.Linear(7, 3, device="meta"), {"cell": 0}, extent=1, check=False)
    # It has parameters and no buffers.
    assert device_of(linear, luminance).type == "meta"
    empty = ModuleNetwork(nn.Identity(), {"cell": 0}, extent=1, check=False)
    assert device_of(empty, luminance).type == "cpu"
