"""Every implementation of the step against the dense equation, finite differences and causality."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from stimopt.connectome import Connectome
from stimopt.dynamics.layout import CellLayout, Drive
from stimopt.dynamics.select import BACKENDS, choose_step
from stimopt.dynamics.simulate import simulate
from stimopt.lattice import HexLattice
from tests.dynamics.dense_step import dense_weights, simulate_dense

DT = 0.01
CPU = torch.device("cpu")

# Rounding only: a sum of some hundred terms of either sign, repeated over the frames.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def spec(reach: int = 6) -> dict[str, Any]:
    """Six types, two of them photoreceptors and one sparse, with long, short and doubled taps.

    Args:
        reach: leave out taps to columns further away.
    """

    def node(name: str, stride: tuple[int, int] = (1, 1)) -> dict[str, Any]:
        return {"name": name, "pattern": ["stride", list(stride)]}

    def edge(src: str, tar: str, alpha: int, *offsets: tuple[int, int, float]) -> dict[str, Any]:
        return {
            "src": src,
            "tar": tar,
            "alpha": alpha,
            "offsets": [[[du, dv], n] for du, dv, n in offsets if max(abs(du), abs(dv)) <= reach],
        }

    return {
        "nodes": [node("R1"), node("A"), node("Wide", (2, 3)), node("B"), node("R2"), node("C")],
        "edges": [
            edge("R1", "A", 1, (0, 0, 5.0), (1, -1, 2.0)),
            edge("R2", "A", -1, (0, 0, 1.0), (0, 1, 3.0), (-1, 0, 2.0), (1, 0, 1.5)),
            edge("A", "Wide", 1, (0, 0, 2.0), (1, 0, 1.0), (0, -2, 1.0)),
            edge("Wide", "B", -1, (0, 0, 4.0), (1, 1, 2.0), (-1, -2, 1.0)),
            edge("Wide", "Wide", 1, (2, 0, 1.0), (0, 3, 2.0)),
            edge("A", "B", 1, (6, -3, 1.0), (-6, 1, 2.0), (0, 6, 1.0)),
            edge("B", "A", -1, (0, 0, 3.0), (0, -1, 1.0)),
            edge("B", "B", 1, (1, 0, 0.5)),
            edge("B", "C", 1, (0, 0, 1.0), (3, 2, 1.0)),
            edge("B", "C", 1, (0, 0, 2.0)),
            edge("C", "R2", -1, (0, 0, 1.0)),
        ],
        "input_units": ["R1", "R2"],
        "output_units": ["C"],
    }


class Case:
    """A random network of several parameter sets, a stimulus and a state."""

    def __init__(
        self,
        extent: int = 3,
        items: int = 3,
        frames: int = 7,
        dtype: torch.dtype = torch.float64,
        networks: int = 2,
        seed: int = 0,
        reach: int = 6,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.connectome = Connectome.from_spec(spec(reach))
        self.lattice = HexLattice(extent)
        self.layout = CellLayout(self.connectome, self.lattice)
        n_types, taps = len(self.connectome.cell_types), self.connectome.taps
        self.bias = rng.normal(0.2, 0.3, (networks, n_types))
        # Some shorter than dt, for which a step goes all the way.
        self.time_const = rng.uniform(0.005, 0.05, (networks, n_types))
        sign = self.connectome.signs[taps.pair]
        self.tap_weight = 0.15 * sign * taps.n_syn * taps.multiplicity
        self.tap_weight = self.tap_weight * rng.uniform(0.2, 1.0, (networks, len(taps)))
        self.tap_weight[0, ::7] = 0.0
        self.network_index = np.arange(items) % networks
        self.luminance = torch.as_tensor(rng.uniform(0, 1, (items, frames, self.lattice.n_columns)))
        self.initial = torch.as_tensor(rng.normal(0, 0.5, (items, self.layout.n_cells)))
        self.luminance, self.initial = self.luminance.to(dtype), self.initial.to(dtype)
        self.dtype = dtype

    def drive(self, readout: torch.Tensor | None = None, items: slice = slice(None)) -> Drive:
        return Drive(
            bias=torch.as_tensor(self.bias, dtype=self.dtype),
            time_const=torch.as_tensor(self.time_const, dtype=self.dtype),
            tap_weight=torch.as_tensor(self.tap_weight, dtype=self.dtype),
            network_index=torch.as_tensor(self.network_index)[items],
            dt=DT,
            readout=None if readout is None else readout[items],
        )

    def dense(self, luminance: torch.Tensor | None = None) -> np.ndarray:
        luminance = self.luminance if luminance is None else luminance
        return np.stack(
            [
                simulate_dense(
                    self.connectome,
                    self.lattice,
                    self.bias[network],
                    self.time_const[network],
                    self.tap_weight[network],
                    luminance[item].double().numpy(),
                    self.initial[item].double().numpy(),
                    DT,
                )
                for item, network in enumerate(self.network_index)
            ]
        )


def assert_close(actual: torch.Tensor, expected: Any, dtype: torch.dtype) -> None:
    """Within the tolerance relative to the largest value."""
    expected = torch.as_tensor(np.asarray(expected))
    assert actual.dtype == dtype
    assert actual.shape == expected.shape
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    error = float((actual.double() - expected).abs().max()) if expected.numel() else 0.0
    assert error <= TOLERANCE[dtype] * scale, f"{error} of {scale}"


@pytest.fixture(params=[b for b in BACKENDS if b != "auto"])
def make(request: pytest.FixtureRequest) -> Callable[[CellLayout], Any]:
    return lambda layout: choose_step(layout, request.param, CPU)


def dense_gradients(case: Case, grad: np.ndarray, grad_final: np.ndarray) -> tuple[Any, Any]:
    """Gradients by torch's own differentiation of the equation with dense matrices."""
    light = case.luminance.double().requires_grad_()
    start = case.initial.double().requires_grad_()
    type_of_cell = case.layout.type_of_cell
    inputs, columns = (torch.as_tensor(a) for a in case.layout.input_cells)
    total = torch.zeros((), dtype=torch.float64)
    for item, network in enumerate(case.network_index):
        matrix, _ = dense_weights(case.connectome, case.lattice, case.tap_weight[network])
        weights = torch.as_tensor(matrix)
        leak = torch.as_tensor(DT / np.maximum(case.time_const[network], DT))[type_of_cell]
        bias = torch.as_tensor(case.bias[network])[type_of_cell]
        voltage = start[item]
        for t in range(light.shape[1]):
            x = torch.zeros_like(voltage).index_put((inputs,), light[item, t, columns])
            voltage = voltage + leak * (-voltage + bias + weights @ torch.relu(voltage) + x)
            total = total + (voltage * torch.as_tensor(grad[item, t])).sum()
        total = total + (voltage * torch.as_tensor(grad_final[item])).sum()
    return torch.autograd.grad(total, (light, start))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("extent", "items", "frames", "reach"),
    # With a reach of 1 the rows of extent 4 and 8, of 9 and 17 columns, lie closest together.
    [(0, 2, 4, 6), (1, 1, 5, 6), (2, 5, 6, 0), (4, 2, 6, 1), (5, 3, 8, 6), (8, 2, 5, 1)],
)
def test_voltages_and_gradients_are_those_of_the_dense_equation(
    make: Any, extent: int, items: int, frames: int, reach: int, dtype: torch.dtype
) -> None:
    case = Case(extent, items, frames, dtype, reach=reach)
    step = make(case.layout)
    light = case.luminance.clone().requires_grad_()
    start = case.initial.clone().requires_grad_()
    voltages, final = simulate(step, case.drive(), light, start)
    assert_close(voltages.detach(), case.dense(), dtype)
    assert torch.equal(voltages[:, -1], final)

    rng = np.random.default_rng(1)
    grad, grad_final = rng.normal(size=voltages.shape), rng.normal(size=final.shape)
    actual = torch.autograd.grad(
        (voltages, final),
        (light, start),
        (torch.as_tensor(grad, dtype=dtype), torch.as_tensor(grad_final, dtype=dtype)),
    )
    expected = dense_gradients(case, grad, grad_final)
    for a, e in zip(actual, expected, strict=True):
        assert_close(a, e.numpy(), dtype)


def test_gradients_agree_with_finite_differences(make: Any) -> None:
    case = Case(extent=2, items=2, frames=5)
    step = make(case.layout)
    readout = torch.tensor([[3, 40, 3], [7, 7, 60]])
    drive = case.drive(readout)

    def objective(light: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        voltages, final = simulate(step, drive, light, start)
        return voltages.square().sum() + final.sin().sum()

    light = case.luminance.clone().requires_grad_()
    start = case.initial.clone().requires_grad_()
    gradients = torch.autograd.grad(objective(light, start), (light, start))
    rng = np.random.default_rng(2)
    for _ in range(6):
        along = [torch.as_tensor(rng.normal(size=x.shape)) for x in (light, start)]
        h = 1e-6
        with torch.no_grad():
            above = objective(light + h * along[0], start + h * along[1])
            below = objective(light - h * along[0], start - h * along[1])
        slope = sum(float((g * d).sum()) for g, d in zip(gradients, along, strict=True))
        # Third-order error of the central difference, and the odd gate within h of its threshold.
        assert float(above - below) / (2 * h) == pytest.approx(slope, rel=1e-6)


def test_a_readout_is_a_selection_of_all_voltages(make: Any) -> None:
    case = Case(extent=3, items=4)
    step = make(case.layout)
    every, final = simulate(step, case.drive(), case.luminance, case.initial)
    readout = torch.tensor([[0, 5, 5], [1, 2, 3], [150, 0, 9], [case.layout.n_cells - 1, 80, 81]])
    chosen, last = simulate(step, case.drive(readout), case.luminance, case.initial)
    expected = torch.gather(every, 2, readout[:, None].expand(-1, every.shape[1], -1))
    assert torch.equal(chosen, expected)
    assert torch.equal(last, final)
    nothing, last = simulate(
        step, case.drive(torch.empty((4, 0), dtype=torch.int64)), case.luminance, case.initial
    )
    assert nothing.shape == (4, 7, 0)
    assert torch.equal(last, final)


def test_later_frames_leave_earlier_voltages_and_gradients_alone(make: Any) -> None:
    case = Case(extent=3, items=2, frames=8)
    step = make(case.layout)
    before, _ = simulate(step, case.drive(), case.luminance, case.initial)
    changed = case.luminance.clone()
    changed[:, 5:] = 1 - changed[:, 5:]
    after, _ = simulate(step, case.drive(), changed, case.initial)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.equal(before[:, 5], after[:, 5])  # frame t of the input acts on output t

    light = case.luminance.clone().requires_grad_()
    voltages, _ = simulate(step, case.drive(), light, case.initial)
    (grad,) = torch.autograd.grad(voltages[:, 4].sum(), light)
    assert torch.count_nonzero(grad[:, 5:]) == 0
    assert torch.count_nonzero(grad[:, 4]) > 0


@pytest.mark.parametrize("segment", [1, 3, 8])
def test_recomputing_in_segments_changes_nothing(make: Any, segment: int) -> None:
    case = Case(extent=3, items=2, frames=8)
    step = make(case.layout)
    results = []
    for length in (None, segment):
        light = case.luminance.clone().requires_grad_()
        start = case.initial.clone().requires_grad_()
        voltages, final = simulate(step, case.drive(), light, start, segment=length)
        grads = torch.autograd.grad(voltages.square().sum() + final.sum(), (light, start))
        results.append((voltages, final, *grads))
    for whole, pieces in zip(*results, strict=True):
        assert_close(pieces.detach(), whole.detach(), torch.float64)


def test_no_frames_and_no_items(make: Any) -> None:
    case = Case(extent=1, items=2, frames=3)
    step = make(case.layout)
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


def test_parameters_in_another_precision_than_the_stimulus(make: Any) -> None:
    case = Case(extent=2, dtype=torch.float64)
    expected = case.dense()
    step = make(case.layout)
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
    np.testing.assert_allclose(voltages.numpy(), expected, rtol=0, atol=1e-6)
    fine, _ = simulate(step, case.drive(), case.luminance.float(), case.initial.float())
    assert fine.dtype == torch.float32


def test_changed_weights_are_noticed(make: Any) -> None:
    case = Case(extent=2, items=3)
    step = make(case.layout)
    simulate(step, case.drive(), case.luminance, case.initial)
    case.tap_weight = case.tap_weight * 0.5
    voltages, _ = simulate(step, case.drive(), case.luminance, case.initial)
    assert_close(voltages, case.dense(), torch.float64)


def test_an_infinite_pixel_shows_in_its_item_alone(make: Any) -> None:
    case = Case(extent=3, items=3, frames=6)
    step = make(case.layout)
    sound, _ = simulate(step, case.drive(), case.luminance, case.initial)
    for value in (float("inf"), float("nan")):
        broken = case.luminance.clone()
        broken[1, 2, 4] = value
        voltages, final = simulate(step, case.drive(), broken, case.initial)
        assert not torch.isfinite(final[1]).all()
        # It spreads through the taps, not only within the cell that was hit.
        assert int((~torch.isfinite(final[1])).sum()) > 20
        assert torch.equal(voltages[1, :2], sound[1, :2])
        np.testing.assert_allclose(voltages[[0, 2]], sound[[0, 2]], rtol=1e-12)


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"expected a backend of .*'auto', 'sparse', 'fused', 'graph'"
    ):
        choose_step(Case().layout, "fast", CPU)
    with pytest.raises(ValueError, match="expected the CPU for the backend 'fused', got meta"):
        choose_step(Case().layout, "fused", torch.device("meta"))


def test_the_choice_follows_the_device() -> None:
    assert choose_step(Case().layout, "auto", CPU).name == "fused"
    assert choose_step(Case().layout, "auto", torch.device("meta")).name == "sparse"


class Waits(TorchDispatchMode):
    """Counts the operations that make the host wait for a device."""

    # What torch.cuda.set_sync_debug_mode warns of, among the operations used here.
    NAMES = ("_local_scalar_dense", "nonzero", "unique", "equal", "is_nonzero", "masked_select")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += any(name in str(func).split(".") for name in self.NAMES)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("backend", ["sparse", "graph"])
def test_no_frame_waits_for_the_device(backend: str) -> None:
    counts = []
    for frames in (2, 9):
        case = Case(extent=2, items=3, frames=frames)
        step = choose_step(case.layout, backend, CPU)
        readout = torch.tensor([[1, 2], [3, 4], [5, 5]])
        light = case.luminance.requires_grad_()
        with Waits() as waits:
            voltages, _ = simulate(step, case.drive(readout), light, case.initial)
            voltages.sum().backward()
        counts.append(waits.count)
    assert counts[0] == counts[1] > 0  # before the loop there are some, in it none


def test_replaying_a_recorded_loop_gives_what_recording_anew_gives() -> None:
    step = choose_step(Case().layout, "graph", CPU)
    kept = []
    for seed in range(5):
        # Contents, shapes and weights all change between the calls, and come back.
        case = Case(items=2 + seed % 2, networks=2, seed=seed % 4)
        light = case.luminance.clone().requires_grad_()
        voltages, final = simulate(step, case.drive(), light, case.initial)
        expected, _ = simulate(
            choose_step(case.layout, "sparse", CPU), case.drive(), light, case.initial
        )
        assert torch.equal(voltages, expected)
        kept.append((voltages, expected, final, final.clone()))
        (grad,) = torch.autograd.grad(voltages.sum(), light, retain_graph=True)
        (same,) = torch.autograd.grad(expected.sum(), light)
        assert torch.equal(grad, same)
    for voltages, expected, final, copy in kept:
        assert torch.equal(voltages, expected)
        assert torch.equal(final, copy)
    assert len(step._recorded) <= 8  # type: ignore[attr-defined]
