"""The trial of a module: one fault for each property that it checks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from stimopt.networks.validate import check_module
from tests.networks.modules import ConvRecurrent


class Changed(ConvRecurrent):
    """A sound module whose responses are changed."""

    def __init__(self, change: Callable[[Tensor], object] = lambda responses: responses) -> None:
        super().__init__()
        self.change = change
        self.eval().requires_grad_(False)

    def forward(self, luminance: Tensor) -> Tensor:
        return self.change(super().forward(luminance))  # type: ignore[return-value]


def fail(_: Tensor) -> Tensor:
    raise RuntimeError("no such input")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_sound_module_passes_in_its_own_precision(dtype: torch.dtype) -> None:
    check_module(Changed().to(dtype), 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (fail, r"takes luminance \(items, frames, 7\), got RuntimeError: no such input"),
        (lambda r: r[:, :-1], r"expected responses \(2, 6, cells\) .*, got \(2, 5, 3\)"),
        (lambda r: [r], r"expected responses \(2, 6, cells\) .*, got list"),
        (lambda r: r / 0 * 0, "finite responses"),
        (lambda r: r.detach(), "gradient .* got none"),
        (lambda r: 0 * r, "gradient .* got none"),
        (lambda r: r + r.mean(dim=1, keepdim=True), "causal"),
        (lambda r: r - r.mean(dim=0, keepdim=True) / 2, "its own stimulus only"),
    ],
)
def test_a_faulty_module_is_refused_with_the_reason(
    change: Callable[[Tensor], object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_module(Changed(change), 7)


def test_a_module_that_would_train_is_refused() -> None:
    with pytest.raises(ValueError, match="frozen parameters"):
        check_module(ConvRecurrent().eval(), 7)
    with pytest.raises(ValueError, match="eval mode"):
        check_module(ConvRecurrent().requires_grad_(False).train(), 7)


def test_the_gradients_of_opposed_cells_do_not_cancel() -> None:
    class Opposed(nn.Module):
        def forward(self, luminance: Tensor) -> Tensor:
            mean = luminance.mean(dim=2, keepdim=True)
            return torch.cat([mean, -mean], dim=2)

    check_module(Opposed().eval(), 7)
