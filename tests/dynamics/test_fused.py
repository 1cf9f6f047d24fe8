"""The fused step: its memory layout, threads, cache of compiled code, and the published network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import stimopt
from stimopt.connectome import Connectome
from stimopt.dynamics import fused, threads
from stimopt.dynamics.fused import FusedStep
from stimopt.dynamics.layout import CellLayout, Drive
from stimopt.dynamics.padded_grid import GROUP, LANES, PaddedGrid, TapTable
from stimopt.dynamics.select import choose_step
from stimopt.dynamics.simulate import simulate
from stimopt.lattice import HexLattice
from stimopt.networks.frozen import FrozenNetwork
from stimopt.optimize.generate import StimulusGenerator
from tests.dynamics.test_sparse import CPU, DT, Case

ROOT = Path(stimopt.__file__).parents[1]


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use threads however small the network."""
    monkeypatch.setattr(fused, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(fused, "WORTH_WAKING", 0)


@pytest.fixture(autouse=True)
def same_threads_afterwards() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(case: Case, step: Any, items: slice = slice(None)) -> list[torch.Tensor]:
    """Voltages, last state, and gradients of an objective that touches everything."""
    light = case.luminance[items].clone().requires_grad_()
    start = case.initial[items].clone().requires_grad_()
    voltages, final = simulate(step, case.drive(items=items), light, start)
    objective = voltages.square().sum() + final.sin().sum()
    return [voltages.detach(), final.detach(), *torch.autograd.grad(objective, (light, start))]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("extent", "reach"), [(0, 6), (1, 6), (2, 6), (4, 0), (4, 1), (5, 6), (8, 6)]
)
def test_a_tap_reads_its_source_or_a_border_of_zeros(
    extent: int, reach: int, transposed: bool
) -> None:
    layout = Case(extent, reach=reach).layout
    grid = PaddedGrid.of(layout)
    taps = layout.connectome.taps
    table = TapTable.of(layout, grid, np.ones(len(taps), dtype=np.bool_), transposed)
    assert sorted(table.tap) == list(range(len(taps)))

    lane_place = (grid.position[:, None] + np.arange(LANES)).reshape(-1)
    width = len(lane_place)
    types, lanes = np.divmod(grid.lane_of_cell, width)
    np.testing.assert_array_equal(types, layout.type_of_cell)
    np.testing.assert_array_equal(grid.column_of_lane[lanes], layout.column_of_cell)
    place = types * grid.stride + lane_place[lanes]
    assert len(set(place.tolist())) == layout.n_cells
    cell_at = dict(zip(place.tolist(), range(layout.n_cells), strict=True))

    connected = set()
    for kind in range(len(layout.connectome.cell_types)):
        for j in range(table.first[kind], table.first[kind + 1]):
            # Also what no cell needs is read from within the array.
            assert lane_place.min() + table.shift[j] >= 0
            assert lane_place.max() + table.shift[j] < grid.size
            for cell in np.flatnonzero(layout.type_of_cell == kind):
                source = cell_at.get(int(lane_place[lanes[cell]] + table.shift[j]))
                if source is not None:
                    connected.add((source, int(cell), int(table.tap[j])))
    sources, targets, numbers = layout.synapses
    if transposed:
        sources, targets = targets, sources
    expected = set(zip(sources.tolist(), targets.tolist(), numbers.tolist(), strict=True))
    assert connected == expected


@pytest.mark.parametrize("extent", [0, 1, 4, 15])
def test_the_mask_has_a_bit_for_every_cell_and_no_other(extent: int) -> None:
    layout = Case(extent).layout
    grid = PaddedGrid.of(layout)
    assert grid.n_vectors % GROUP == 0
    bits = np.unpackbits(grid.mask, axis=1, bitorder="little").reshape(-1)
    np.testing.assert_array_equal(np.flatnonzero(bits), grid.lane_of_cell)
    for kind in range(len(grid.mask)):
        cells = np.arange(grid.first_cell[kind], grid.first_cell[kind + 1])
        np.testing.assert_array_equal(cells, np.flatnonzero(layout.type_of_cell == kind))


def test_types_are_split_into_runs_that_cover_all() -> None:
    layout = Case().layout
    used = np.ones(len(layout.connectome.taps), dtype=np.bool_)
    table = TapTable.of(layout, PaddedGrid.of(layout), used, transposed=False)
    for parts in (1, 2, 3, 6, 20):
        bounds = table.split(parts)
        assert bounds[0] == 0
        assert bounds[-1] == len(layout.connectome.cell_types)
        assert (np.diff(bounds) >= 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_item_does_not_depend_on_threads_or_company(eager: None, dtype: torch.dtype) -> None:
    case = Case(extent=5, items=5, frames=9, dtype=dtype)
    step = FusedStep(case.layout)
    torch.set_num_threads(1)
    expected = run(case, step)
    for n in (2, 3, 4):
        torch.set_num_threads(n)
        # 5 items: side by side, and the odd ones left over cut by types.
        for a, b in zip(run(case, step), expected, strict=True):
            assert torch.equal(a, b)
        for item in range(5):
            alone = run(case, step, slice(item, item + 1))
            for a, b in zip(alone, expected, strict=True):
                assert torch.equal(a[0], b[item])
    assert torch.get_num_threads() == 4


def test_two_callers_at_once_get_their_own_results(eager: None) -> None:
    torch.set_num_threads(2)
    cases = [Case(extent=4, items=1, frames=20, seed=seed) for seed in range(4)]
    step = FusedStep(cases[0].layout)
    expected = [run(case, step) for case in cases]
    results: dict[int, list[list[torch.Tensor]]] = {}

    def call(number: int) -> None:
        torch.set_num_threads(2)
        results[number] = [run(cases[number], step) for _ in range(10)]

    callers = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
        assert not caller.is_alive()
    for number in range(4):
        for result in results[number]:
            for a, b in zip(result, expected[number], strict=True):
                assert torch.equal(a, b)


def test_a_part_that_cannot_start_frees_the_others(
    eager: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(extent=4, items=1, frames=20)
    step = FusedStep(case.layout)
    torch.set_num_threads(3)
    expected = run(case, step)
    grown = threads.pool._grown

    class Exhausted:
        def __init__(self, pool: Any) -> None:
            self.pool, self.calls = pool, 0

        def submit(self, call: Any) -> Any:
            self.calls += 1
            if self.calls > 1:
                raise RuntimeError("can't start new thread")
            return self.pool.submit(call)

    with monkeypatch.context() as patch:
        patch.setattr(threads.pool, "_grown", lambda size: Exhausted(grown(size)))
        with pytest.raises(RuntimeError, match="can't start new thread"):
            run(case, step)
    for a, b in zip(run(case, step), expected, strict=True):
        assert torch.equal(a, b)


def test_one_bit_a_cell_and_frame_is_kept_and_nothing_without_a_gradient() -> None:
    case = Case(extent=15, items=2, frames=5)
    step = FusedStep(case.layout)
    _, _, saved = step.forward(case.drive(), case.luminance, case.initial, keep=True)
    n_bytes = sum(s.numel() * s.element_size() for s in saved)
    # 721 columns stand in 104 vectors of 8.
    assert n_bytes == 2 * 5 * len(case.connectome.cell_types) * 104
    _, _, saved = step.forward(case.drive(), case.luminance, case.initial, keep=False)
    assert sum(s.numel() for s in saved) == 0


def test_without_numba_auto_is_sparse_and_fused_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "stimopt.dynamics.fused", None)
    layout = Case().layout
    assert choose_step(layout, "auto", CPU).name == "sparse"
    with pytest.raises(RuntimeError, match="pip install numba"):
        choose_step(layout, "fused", CPU)


def python(code: str, path: Path = ROOT, **environment: str) -> str:
    """What a new Python prints, with the tests' own folder and `path` in reach."""
    search = os.pathsep.join([str(path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=path,
        env={**os.environ, "PYTHONPATH": search, "PYTHONDONTWRITEBYTECODE": "1", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SUM = """
import torch
from tests.dynamics.test_sparse import Case
from stimopt.dynamics.fused import FusedStep
from stimopt.dynamics.simulate import simulate
case = Case(extent=2, items=1)
voltages, _ = simulate(FusedStep(case.layout), case.drive(), case.luminance, case.initial)
print(voltages.sum().item())
"""


def test_numba_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, stimopt, stimopt.networks.frozen; print('numba' in sys.modules)"
    assert python(code).strip() == "False"


def test_a_forked_child_simulates_with_threads_of_its_own() -> None:
    code = """
import os, torch
from tests.dynamics.test_sparse import Case
from stimopt.dynamics import fused
from stimopt.dynamics.simulate import simulate
fused.WORTH_A_THREAD, fused.WORTH_WAKING = 1, 0
torch.set_num_threads(2)
case = Case(extent=2, items=3)
step = fused.FusedStep(case.layout)
before, _ = simulate(step, case.drive(), case.luminance, case.initial)
child = os.fork()
if not child:
    after, _ = simulate(step, case.drive(), case.luminance, case.initial)
    os._exit(0 if torch.equal(before, after) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    assert python(code).strip() == "0"


def test_compiled_code_need_not_be_kept(tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "stimopt", tmp_path / "stimopt", ignore=shutil.ignore_patterns("__pycache__")
    )
    # Neither beside the source nor at home: both are files. This also stops the superuser.
    (tmp_path / "stimopt" / "dynamics" / "__pycache__").write_text("")
    home = tmp_path / "home"
    home.write_text("")
    where = "import stimopt\nprint(stimopt.__file__)\n"
    folders = {"HOME": str(home), "XDG_CACHE_HOME": str(home), "NUMBA_CACHE_DIR": ""}
    found, total = python(where + SUM, tmp_path, **folders).split()
    assert found.startswith(str(tmp_path))
    case = Case(extent=2, items=1)
    assert float(total) == pytest.approx(case.dense().sum(), rel=1e-10)


@pytest.mark.slow
def test_processes_may_compile_at_once(tmp_path: Path) -> None:
    totals = []
    callers = [
        threading.Thread(
            target=lambda: totals.append(float(python(SUM, NUMBA_CACHE_DIR=str(tmp_path))))
        )
        for _ in range(3)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert list(tmp_path.rglob("*.nbc"))
    totals.append(float(python(SUM, NUMBA_CACHE_DIR=str(tmp_path))))
    assert len(totals) == 4
    assert len(set(totals)) == 1


@pytest.fixture(scope="module")
def published(shared: Path) -> tuple[Connectome, list[Any]]:
    folder = shared / "data" / "flyvis"
    networks = [folder / "results" / "flow" / "0000" / f"00{i}" for i in range(3)]
    connectome = folder / "connectome" / "fib25-fib19_v2.2.json"
    net = FrozenNetwork.from_flyvis(networks, connectome, extent=0)
    return net.connectome, [net.bias, net.time_const, net.tap_weight]


@pytest.mark.parametrize(("extent", "frames"), [(2, 20), (15, 20), (25, 6)])
def test_the_published_networks_agree_with_double_precision(
    published: tuple[Connectome, list[Any]], extent: int, frames: int
) -> None:
    """Fused in single precision against sparse matrices in double, three networks in a batch."""
    connectome, parameters = published
    layout = CellLayout(connectome, HexLattice(extent))
    rng = np.random.default_rng(0)
    light = torch.as_tensor(rng.uniform(0, 1, (3, frames, layout.lattice.n_columns)))
    index = torch.tensor([2, 0, 1])
    start = parameters[0][index][:, layout.type_of_cell].double()
    readout = torch.as_tensor(rng.integers(0, layout.n_cells, (3, 40)))
    grad = torch.as_tensor(rng.normal(size=(3, frames, 40)))
    results = []
    for backend, dtype in (("sparse", torch.float64), ("fused", torch.float64), ("fused", None)):
        dtype = dtype or torch.float32
        step = choose_step(layout, backend, CPU)
        drive = Drive(*parameters, network_index=index, dt=DT, readout=readout)
        x = light.to(dtype).requires_grad_()
        v0 = start.to(dtype).requires_grad_()
        voltages, final = simulate(step, drive, x, v0)
        grads = torch.autograd.grad(voltages, (x, v0), grad.to(dtype))
        results.append([voltages.detach(), final.detach(), *grads])
    for expected, double, single in zip(*results, strict=True):
        scale = float(expected.abs().max())
        assert float((double - expected).abs().max()) <= 1e-10 * scale
        assert float((single - expected).abs().max()) <= 1e-5 * scale


def test_all_types_at_once_fit_in_memory(shared: Path) -> None:
    """65 items of 80 frames, forward and back, in a process of their own."""
    code = f"""
import torch
from stimopt.networks.frozen import FrozenNetwork
def peak():  # kB; not ru_maxrss, which a child takes over from a large parent
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])
folder = {str(shared / "data" / "flyvis")!r}
net = FrozenNetwork.from_flyvis(
    folder + "/results/flow/0000/000", folder + "/connectome/fib25-fib19_v2.2.json",
    backend="fused",
)
start = net.bias[:, net.layout.type_of_cell].expand(65, -1).contiguous()
readout = torch.tensor([[net.cell_index(name)] for name in net.cell_types])
torch.zeros(1, requires_grad=True).sum().backward()
light = torch.rand(65, 2, 721, requires_grad=True)
net(light, initial_state=start, readout=readout).sum().backward()
before = peak()
light = torch.rand(65, 80, 721, requires_grad=True)
net(light, initial_state=start, readout=readout).sum().backward()
print(before / 1024, peak() / 1024)
"""
    before, peak = map(float, python(code).split())
    # Bits of the gates 35 MB, luminance and its gradient 15 MB each.
    assert peak - before < 120
    assert peak < 1000


def test_torch_leaves_the_cores_to_the_step_while_it_fits(
    eager: None, small_network: FrozenNetwork, make_trainer: Any
) -> None:
    """And has its threads back after a fit, and after one that failed."""
    torch.set_num_threads(2)
    seen: list[tuple[int, int]] = []

    class Watched(StimulusGenerator):
        fails = False

        def losses(self, *args: Any) -> Any:
            seen.append((torch.get_num_threads(), threads.step_threads()))
            if self.fails:
                raise KeyError("on purpose")
            return super().losses(*args)

    module = Watched(small_network, "T4c", t_stim=0.1)
    make_trainer(2).fit(module)
    assert (1, 2) in seen and torch.get_num_threads() == 2
    module.fails = True
    with pytest.raises(KeyError):
        make_trainer(4).fit(module)
    assert torch.get_num_threads() == threads.step_threads() == 2
    with small_network.threads(), small_network.threads():
        assert (torch.get_num_threads(), threads.step_threads()) == (1, 2)
    assert torch.get_num_threads() == 2
    with FrozenNetwork.builtin(4, backend="sparse").threads():
        assert torch.get_num_threads() == 2
