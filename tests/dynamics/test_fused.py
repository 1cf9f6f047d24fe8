"""The fused step: items on their own, little memory, and the published networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stimopt.dynamics.fused import FusedStep
from stimopt.dynamics.layout import CellLayout, Drive
from stimopt.dynamics.simulate import simulate
from stimopt.dynamics.sparse import SparseStep
from stimopt.lattice import HexLattice
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import flyvis_network
from tests.dynamics.cases import DT, Case, outputs_and_gradients


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_item_does_not_depend_on_threads_or_other_items(eager: None, dtype: torch.dtype) -> None:
    case = Case(extent=5, items=5, frames=9, dtype=dtype)
    step = FusedStep(case.layout)
    torch.set_num_threads(1)
    expected = outputs_and_gradients(case, step)
    for n in (2, 3, 4):
        torch.set_num_threads(n)
        # 5 items: side by side, and the odd ones left over cut by types.
        for a, b in zip(outputs_and_gradients(case, step), expected, strict=True):
            assert torch.equal(a, b)
        for item in range(5):
            alone = outputs_and_gradients(case, step, slice(item, item + 1))
            for a, b in zip(alone, expected, strict=True):
                assert torch.equal(a[0], b[item])
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("items", [2, 8, 18])
def test_one_bit_a_cell_and_frame_is_stored_and_nothing_without_a_gradient(items: int) -> None:
    case = Case(extent=15, items=items, frames=5, dtype=torch.float32, networks=1)
    step = FusedStep(case.layout)
    _, _, gates = step.forward(case.drive(), case.luminance, case.initial, keep=True)
    # Eight items have a byte for each cell; a single one has 104 vectors of 8 for 721 columns.
    n_types = len(case.connectome.cell_types)
    expected = 5 * (items // 8 * case.layout.n_cells + items % 8 * n_types * 104)
    assert sum(each.numel() * each.element_size() for each in gates) == expected
    _, _, gates = step.forward(case.drive(), case.luminance, case.initial, keep=False)
    assert sum(each.numel() for each in gates) == 0


@pytest.fixture(scope="module")
def published(trained_folder: Path, connectome_file: Path) -> FrozenNetwork:
    folders = [trained_folder / name for name in ("000", "001", "002")]
    return flyvis_network(folders, connectome_file, extent=0)


@pytest.mark.parametrize(("extent", "frames"), [(2, 20), (15, 20), (25, 6)])
def test_the_published_networks_agree_with_the_sparse_step_in_double_precision(
    published: FrozenNetwork, extent: int, frames: int
) -> None:
    layout = CellLayout(published.connectome, HexLattice(extent))
    generator = torch.Generator().manual_seed(0)
    light = torch.rand((3, frames, layout.lattice.n_columns), generator=generator).double()
    index = torch.tensor([2, 0, 1])
    start = published.bias[index][:, layout.type_of_cell].double()
    readout = torch.randint(layout.n_cells, (3, 50), generator=generator)
    grad = torch.randn((3, frames, 50), generator=generator).double()
    results = []
    for step, dtype in (
        (SparseStep(layout), torch.float64),
        (FusedStep(layout), torch.float64),
        (FusedStep(layout), torch.float32),
    ):
        parameters = (published.bias, published.time_const, published.tap_weight)
        drive = Drive(*parameters, network_index=index, dt=DT, readout=readout)
        x, v0 = light.to(dtype).requires_grad_(), start.to(dtype).requires_grad_()
        voltages, final = simulate(step, drive, x, v0)
        grads = torch.autograd.grad(voltages, (x, v0), grad.to(dtype))
        results.append([voltages.detach(), final.detach(), *grads])
    for expected, double, single in zip(*results, strict=True):
        scale = float(expected.abs().max())
        assert float((double - expected).abs().max()) <= 1e-10 * scale
        assert float((single - expected).abs().max()) <= 1e-5 * scale
