"""Eight items at once: each is bit for bit what it is alone, on any lattice and in any company."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stimopt.connectome import Connectome
from stimopt.dynamics import fused
from stimopt.dynamics.fused import FusedStep
from stimopt.dynamics.layout import Drive
from stimopt.dynamics.simulate import simulate
from stimopt.networks.opening import builtin_network
from tests.dynamics.cases import DT, Case, assert_close, outputs_and_gradients

FLOATS = [torch.float32, torch.float64]


def together_and_alone(case: Case, step: FusedStep) -> list[tuple[Tensor, Tensor]]:
    """Outputs and gradients of all items in one call, and of each in a call of its own."""
    together = outputs_and_gradients(case, step)
    alone = [
        outputs_and_gradients(case, step, slice(item, item + 1))
        for item in range(len(case.network_index))
    ]
    each = [torch.cat(values) for values in zip(*alone, strict=True)]
    return list(zip(together, each, strict=True))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("extent", [0, 1, 2, 3, 4, 5, 7, 15])
def test_eight_items_agree_with_the_dense_equation_and_with_each_alone(
    extent: int, dtype: torch.dtype
) -> None:
    frames = 2 if extent > 7 else 6
    case = Case(extent, items=8, frames=frames, dtype=dtype, networks=1)
    for together, alone in together_and_alone(case, FusedStep(case.layout)):
        assert torch.equal(together, alone)
    if extent <= 5:
        luminance = case.luminance.double().requires_grad_()
        initial = case.initial.double().requires_grad_()
        voltages = case.dense(luminance, initial)
        objective = voltages.square().sum() + voltages[:, -1].sin().sum()
        gradients = torch.autograd.grad(objective, (luminance, initial))
        expected = [voltages.detach(), voltages[:, -1].detach(), *gradients]
        results = outputs_and_gradients(case, FusedStep(case.layout))
        for a, b in zip(results, expected, strict=True):
            assert_close(a, b, dtype)


@pytest.mark.parametrize("items", range(1, 21))
def test_any_number_of_items_of_three_networks(eager: None, items: int) -> None:
    case = Case(extent=3, items=items, frames=4, dtype=torch.float32, networks=3)
    # Mostly of one network, as in a fit, and in no order.
    case.network_index = np.random.default_rng(items).choice(3, items, p=[0.7, 0.2, 0.1])
    step = FusedStep(case.layout)
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        for together, alone in together_and_alone(case, step):
            assert torch.equal(together, alone)


def test_items_are_divided_into_groups_of_one_network() -> None:
    groups, single = fused.divide([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0] + [2] * 7)
    assert groups == [[1, 2, 3, 5, 6, 7, 8, 9], list(range(11, 18))]
    assert sorted(single) == [0, 4, 10]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", FLOATS)
def test_an_item_that_is_not_finite_touches_no_other(value: float, dtype: torch.dtype) -> None:
    case = Case(extent=4, items=8, frames=5, dtype=dtype, networks=1)
    step = FusedStep(case.layout)
    expected = outputs_and_gradients(case, step)
    case.luminance[3, 1, 7] = value
    case.initial[5, 11] = value
    results = outputs_and_gradients(case, step)
    others = [0, 1, 2, 4, 6, 7]
    for a, b in zip(results, expected, strict=True):
        assert torch.equal(a[others], b[others])
    for together, alone in together_and_alone(case, step):
        torch.testing.assert_close(together, alone, rtol=0, atol=0, equal_nan=True)
    assert not results[0][3].isfinite().all() and not results[0][5].isfinite().all()


def test_items_that_were_not_finite_leave_nothing_behind() -> None:
    case = Case(extent=4, items=8, frames=5, networks=1)
    step = FusedStep(case.layout)
    expected = outputs_and_gradients(case, step)
    light = case.luminance
    case.luminance = torch.full_like(light, float("nan"))
    outputs_and_gradients(case, step)
    case.luminance = light
    for a, b in zip(outputs_and_gradients(case, step), expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("items", [7, 8, 10])
def test_gradients_agree_with_differences(items: int) -> None:
    case = Case(extent=1, items=items, frames=3, networks=1)
    step = FusedStep(case.layout)

    def last(light: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        return simulate(step, case.drive(), light, start)

    inputs = (case.luminance.requires_grad_(), case.initial.requires_grad_())
    assert torch.autograd.gradcheck(last, inputs, fast_mode=True)


def test_the_motion_circuit_with_a_read_out_of_its_own_for_each_item() -> None:
    network = builtin_network(6)
    layout = network.layout
    generator = torch.Generator().manual_seed(0)
    light = torch.rand((9, 12, layout.lattice.n_columns), generator=generator)
    start = torch.randn((9, layout.n_cells), generator=generator)
    readout = torch.randint(layout.n_cells, (9, 4), generator=generator)
    grad = torch.randn((9, 12, 4), generator=generator)
    step = FusedStep(layout)

    def run(items: slice) -> list[Tensor]:
        index = torch.zeros(9, dtype=torch.int64)[items]
        parameters = (network.bias, network.time_const, network.tap_weight)
        drive = Drive(*parameters, network_index=index, dt=DT, readout=readout[items])
        x, v0 = light[items].clone().requires_grad_(), start[items].clone().requires_grad_()
        voltages, final = simulate(step, drive, x, v0)
        gradients = torch.autograd.grad(voltages, (x, v0), grad[items])
        return [voltages.detach(), final.detach(), *gradients]

    alone = [
        torch.cat(each) for each in zip(*(run(slice(i, i + 1)) for i in range(9)), strict=True)
    ]
    for a, b in zip(run(slice(None)), alone, strict=True):
        assert torch.equal(a, b)


@st.composite
def connectomes(draw: st.DrawFn) -> Connectome:
    """Up to four types on lattices of their own, with any taps between them."""
    names = ["R", "A", "B", "C"][: draw(st.integers(1, 4))]
    step = st.integers(1, 3)
    nodes = [{"name": n, "pattern": ["stride", [draw(step), draw(step)]]} for n in names]
    reach = draw(st.integers(0, 5))
    offset = st.tuples(st.integers(-reach, reach), st.integers(-reach, reach))
    edges = []
    for pair in draw(st.sets(st.tuples(st.sampled_from(names), st.sampled_from(names)))):
        places = draw(st.sets(offset, min_size=1, max_size=12))
        edges.append(
            {
                "src": pair[0],
                "tar": pair[1],
                "alpha": draw(st.sampled_from([-1, 1])),
                "offsets": [[list(place), 1.0] for place in sorted(places)],
            }
        )
    return Connectome.from_spec(
        {"nodes": nodes, "edges": edges, "input_units": ["R"], "output_units": [names[-1]]}
    )


@settings(deadline=None, max_examples=25)
@given(connectome=connectomes(), extent=st.integers(0, 5), seed=st.integers(0, 100))
def test_any_connectome(connectome: Connectome, extent: int, seed: int) -> None:
    options = {"items": 8, "frames": 3, "networks": 1, "seed": seed}
    case = Case(extent, dtype=torch.float32, connectome=connectome, **options)
    for together, alone in together_and_alone(case, FusedStep(case.layout)):
        assert torch.equal(together, alone)
