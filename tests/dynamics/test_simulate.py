"""Every implementation of the step against the dense equation, and what all of them promise."""

from __future__ import annotations

import pytest
import torch

from stimopt.dynamics.layout import CellLayout, Drive
from stimopt.dynamics.select import BACKENDS, choose_step
from stimopt.dynamics.simulate import Step, simulate
from tests.dynamics.cases import CPU, DT, Case, assert_close, outputs_and_gradients


@pytest.fixture(params=[backend for backend in BACKENDS if backend != "auto"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def step_of(layout: CellLayout, backend: str) -> Step:
    return choose_step(layout, backend, CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("extent", "items", "frames", "reach"),
    # With a reach of 1 the rows of extent 4 and 8, of 9 and 17 columns, lie closest together.
    [(0, 2, 4, 6), (1, 1, 5, 6), (2, 5, 6, 0), (4, 2, 6, 1), (5, 3, 8, 6), (8, 2, 5, 1)],
)
def test_voltages_and_gradients_are_those_of_the_dense_equation(
    backend: str, extent: int, items: int, frames: int, reach: int, dtype: torch.dtype
) -> None:
    case = Case(extent, items, frames, dtype, reach=reach)
    light = case.luminance.clone().requires_grad_()
    start = case.initial.clone().requires_grad_()
    voltages, final = simulate(step_of(case.layout, backend), case.drive(), light, start)
    dense = case.dense(light, start)
    assert_close(voltages.detach(), dense.detach(), dtype)
    assert torch.equal(voltages[:, -1], final)

    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(voltages.shape, generator=generator, dtype=dtype)
    grad_final = torch.randn(final.shape, generator=generator, dtype=dtype)
    actual = torch.autograd.grad((voltages, final), (light, start), (grad, grad_final))
    outputs, grads = (dense, dense[:, -1]), (grad.double(), grad_final.double())
    for a, e in zip(actual, torch.autograd.grad(outputs, (light, start), grads), strict=True):
        assert_close(a, e.double(), dtype)


def test_a_readout_selects_voltages_and_their_gradients(backend: str) -> None:
    case = Case(extent=3, items=4)
    step = step_of(case.layout, backend)
    readout = torch.tensor([[0, 5, 5], [1, 2, 3], [150, 0, 9], [case.layout.n_cells - 1, 80, 81]])
    results = []
    for drive in (case.drive(), case.drive(readout)):
        light = case.luminance.clone().requires_grad_()
        voltages, final = simulate(step, drive, light, case.initial)
        if drive.readout is None:
            voltages = voltages.gather(2, readout[:, None].expand(-1, voltages.shape[1], -1))
        (grad,) = torch.autograd.grad(voltages.square().sum(), light)
        results.append((voltages.detach(), final.detach(), grad))
    (every, final, grad), (chosen, last, chosen_grad) = results
    assert torch.equal(chosen, every)
    assert torch.equal(last, final)
    assert_close(chosen_grad, grad, torch.float64)
    no_cells = case.drive(torch.empty((4, 0), dtype=torch.int64))
    nothing, last = simulate(step, no_cells, case.luminance, case.initial)
    assert nothing.shape == (4, 7, 0)
    assert torch.equal(last, final)


def test_later_frames_do_not_change_earlier_voltages_and_gradients(backend: str) -> None:
    case = Case(extent=3, items=2, frames=8)
    step = step_of(case.layout, backend)
    before, _ = simulate(step, case.drive(), case.luminance, case.initial)
    changed = case.luminance.clone()
    changed[:, 5:] = 1 - changed[:, 5:]
    after, _ = simulate(step, case.drive(), changed, case.initial)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.equal(before[:, 5], after[:, 5])  # Frame t of the input acts on output t.

    light = case.luminance.clone().requires_grad_()
    voltages, _ = simulate(step, case.drive(), light, case.initial)
    (grad,) = torch.autograd.grad(voltages[:, 4].sum(), light)
    assert torch.count_nonzero(grad[:, 5:]) == 0
    assert torch.count_nonzero(grad[:, 4]) > 0


@pytest.mark.parametrize("segment", [1, 3, 8])
def test_recomputing_in_segments_changes_nothing(backend: str, segment: int) -> None:
    case = Case(extent=3, items=2, frames=8)
    step = step_of(case.layout, backend)
    whole = outputs_and_gradients(case, step)
    pieces = outputs_and_gradients(case, step, segment=segment)
    for a, b in zip(whole, pieces, strict=True):
        assert_close(b, a, torch.float64)


def test_no_frames_and_no_items(backend: str) -> None:
    case = Case(extent=1, items=2, frames=3)
    step = step_of(case.layout, backend)
    light = case.luminance[:, :0].clone().requires_grad_()
    start = case.initial.clone().requires_grad_()
    voltages, final = simulate(step, case.drive(), light, start)
    assert voltages.shape == (2, 0, case.layout.n_cells)
    assert torch.equal(final, start)
    _, grad_start = torch.autograd.grad(final.sum(), (light, start), allow_unused=True)
    assert torch.equal(grad_start, torch.ones_like(start))
    none = slice(0, 0)
    voltages, final = simulate(
        step, case.drive(items=none), case.luminance[none], case.initial[none]
    )
    assert voltages.shape == (0, 3, case.layout.n_cells)
    assert final.shape == (0, case.layout.n_cells)


def test_parameters_in_another_precision_than_the_stimulus(backend: str) -> None:
    case = Case(extent=2, dtype=torch.float64)
    step = step_of(case.layout, backend)
    coarse = Drive(
        bias=torch.as_tensor(case.bias, dtype=torch.float32),
        time_const=torch.as_tensor(case.time_const, dtype=torch.float32),
        tap_weight=torch.as_tensor(case.tap_weight, dtype=torch.float32),
        network_index=torch.as_tensor(case.network_index),
        dt=DT,
    )
    voltages, _ = simulate(step, coarse, case.luminance, case.initial)
    assert voltages.dtype == torch.float64
    # The parameters are rounded to float32, no more.
    torch.testing.assert_close(voltages, case.dense(), rtol=0, atol=1e-6)
    fine, _ = simulate(step, case.drive(), case.luminance.float(), case.initial.float())
    assert fine.dtype == torch.float32
    half, _ = simulate(step, coarse, case.luminance.bfloat16(), case.initial.bfloat16())
    assert half.dtype == torch.float32


def test_autocast_does_not_reach_the_step(backend: str) -> None:
    case = Case(extent=2, dtype=torch.float32)
    step = step_of(case.layout, backend)
    expected = outputs_and_gradients(case, step)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = outputs_and_gradients(case, step)
    for a, b in zip(actual[:2], expected[:2], strict=True):
        assert torch.equal(a, b)


def test_changed_weights_are_noticed(backend: str) -> None:
    case = Case(extent=2, items=3)
    step = step_of(case.layout, backend)
    simulate(step, case.drive(), case.luminance, case.initial)
    case.tap_weight = case.tap_weight * 0.5
    voltages, _ = simulate(step, case.drive(), case.luminance, case.initial)
    assert_close(voltages, case.dense(), torch.float64)


def test_an_infinite_pixel_shows_in_its_item_alone(backend: str) -> None:
    case = Case(extent=3, items=3, frames=6)
    step = step_of(case.layout, backend)
    sound, _ = simulate(step, case.drive(), case.luminance, case.initial)
    for value in (float("inf"), float("nan")):
        broken = case.luminance.clone()
        broken[1, 2, 4] = value
        voltages, final = simulate(step, case.drive(), broken, case.initial)
        # It spreads through the taps, not only within the cell that receives it.
        assert int((~torch.isfinite(final[1])).sum()) > 20
        assert torch.equal(voltages[1, :2], sound[1, :2])
        torch.testing.assert_close(voltages[[0, 2]], sound[[0, 2]], rtol=1e-12, atol=0)


def test_a_voltage_of_zero_passes_no_gradient(backend: str) -> None:
    case = Case(extent=1, items=1, frames=1)
    case.bias[:], case.luminance[:], case.initial[:] = 0.0, 0.0, 0.0
    start = case.initial.clone().requires_grad_()
    _, final = simulate(step_of(case.layout, backend), case.drive(), case.luminance, start)
    (grad,) = torch.autograd.grad(final.sum(), start)
    # Each cell's own leak, and nothing through the synapses.
    leak = (DT / case.drive().time_const[0].clamp(min=DT))[case.layout.type_of_cell]
    torch.testing.assert_close(grad[0], 1 - leak)
