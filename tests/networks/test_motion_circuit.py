"""The built-in motion circuit: its form, its facts against the published file, and what it prefers.

The network that simulates it is tested against the dense equation in test_frozen.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stimopt.connectome import CONNECTOME_FILE, Connectome
from stimopt.networks.motion_circuit import motion_circuit_parameters, motion_circuit_spec
from stimopt.networks.opening import builtin_network
from stimopt.protocol import GREY, Protocol

Floats = NDArray[np.float64]
Peaks = dict[str, dict[str, Floats]]

DETECTORS = [f"{kind}{subtype}" for kind in ("T4", "T5") for subtype in "abcd"]
# Horizontal ones as on the trained network 000 (T4a 176, T4b 351, T5a 187, T5b 348 degrees).
PREFERRED = {"a": 180.0, "b": 0.0, "c": 90.0, "d": 270.0}
ANGLES = np.arange(0.0, 360.0, 30.0)
SPEED = 19.0  # Column spacings a second.
INHIBITORY = {*(f"R{i}" for i in range(1, 9)), "L1", "Mi4", "Mi9", "C3", "CT1(M10)", "CT1(Lo1)"}


def central(luminance: Floats, extent: int, protocol: Protocol, names: list[str]) -> Floats:
    """Central voltages `(items, frames, types)` in double precision."""
    network = builtin_network(extent).double()
    cells = torch.tensor([network.cell_index(name) for name in names])
    return network.respond(torch.as_tensor(luminance), protocol, cells).numpy()


def edges(extent: int, dt: float, polarity: float) -> Floats:
    """Edges from grey to `polarity`, an item a direction; in one frame the front is at 0."""
    places = builtin_network(extent).lattice.positions()
    lead = round((extent + 1) / SPEED / dt)
    front = SPEED * dt * np.arange(-lead, lead + round(0.3 / dt))
    along = np.stack([np.cos(np.radians(ANGLES)), np.sin(np.radians(ANGLES))], axis=1) @ places.T
    # Columns on the front count as passed; the margin hides the rounding of sine and cosine.
    return np.where(along[:, None] <= front[:, None] + 1e-9, polarity, GREY)


@pytest.fixture(scope="module", params=[(5, 0.01), (8, 0.01), (5, 0.005)], ids=str)
def peaks(request: pytest.FixtureRequest) -> Peaks:
    """Half-rectified peaks over time for ON and OFF edges, `(directions,)` by detector."""
    extent, dt = request.param
    protocol = Protocol(dt=dt, baseline="grey")
    by_polarity = {}
    for name, polarity in (("ON", 1.0), ("OFF", 0.0)):
        voltages = central(edges(extent, dt, polarity), extent, protocol, DETECTORS)
        peak = np.maximum(voltages.max(axis=1), 0)
        by_polarity[name] = dict(zip(DETECTORS, peak.T, strict=True))
    return by_polarity


def polarity_of(cell: str) -> tuple[str, str]:
    return ("ON", "OFF") if cell.startswith("T4") else ("OFF", "ON")


@pytest.mark.parametrize("cell", DETECTORS)
def test_a_detector_prefers_its_direction(peaks: Peaks, cell: str) -> None:
    response = peaks[polarity_of(cell)[0]][cell]
    vector = np.sum(response * np.exp(1j * np.radians(ANGLES)))
    deviation = np.angle(vector * np.exp(-1j * np.radians(PREFERRED[cell[2]])), deg=True)
    assert abs(deviation) < 10
    assert np.abs(vector) / response.sum() > 0.4
    preferred, null = response.max(), response[(response.argmax() + 6) % 12]
    assert (preferred - null) / (preferred + null) > 0.7


@pytest.mark.parametrize("cell", DETECTORS)
def test_a_detector_prefers_its_polarity(peaks: Peaks, cell: str) -> None:
    preferred, other = polarity_of(cell)
    assert peaks[preferred][cell].max() >= 5 * peaks[other][cell].max()
    assert 0.3 < peaks[preferred][cell].max() < 3


def test_the_centre_does_not_depend_on_the_extent() -> None:
    # No path from a column further than 5 rings leads to the centre. Three seconds of grey, because
    # after one the slowest cells still move by 1e-5.
    protocol = Protocol(t_pre=3.0, baseline="grey")
    few, many = (central(edges(n, 0.01, 1.0), n, protocol, DETECTORS) for n in (5, 7))
    start = round(8 / SPEED / 0.01) - round(6 / SPEED / 0.01)
    np.testing.assert_allclose(few, many[:, start : start + few.shape[1]], rtol=0, atol=1e-10)


def test_rest_is_steady_and_passes_a_gradient() -> None:
    names = list(builtin_network(0).cell_types)
    grey = np.full((1, 1, 91), GREY)
    one, three = (central(grey, 5, Protocol(t_pre=t), names)[0, 0] for t in (1.0, 3.0))
    np.testing.assert_allclose(one, three, rtol=0, atol=1e-3)
    for name, voltage in zip(names, three, strict=True):
        if name in DETECTORS:
            assert abs(voltage) < 0.01, name
        else:
            assert 0.1 < voltage < 1.5, name


def test_weak_luminance_reaches_the_detectors() -> None:
    luminance = GREY + np.array([0.01, -0.01])[:, None, None] * np.ones((2, 10, 91))
    brighter, darker = central(luminance, 5, Protocol(baseline="grey"), DETECTORS)
    # All gates are open at grey, so that the response is linear and turns its sign with the input.
    np.testing.assert_allclose(brighter, -darker, rtol=0, atol=1e-5)
    assert (np.abs(brighter).max(0) > 1e-3).all()


def test_full_field_steps_settle_and_flicker_stays_bounded() -> None:
    names = list(builtin_network(0).cell_types)
    steps = np.array([0.0, 1.0])[:, None, None] * np.ones((2, 300, 91))
    voltages = central(steps, 5, Protocol(), names)
    assert np.abs(voltages).max() < 10
    np.testing.assert_allclose(voltages[:, -1], voltages[:, -2], rtol=0, atol=1e-9)
    flicker = np.random.default_rng(0).choice([0.0, 1.0], (1, 300, 91))
    assert np.abs(central(flicker, 5, Protocol(), names)).max() < 10


def test_the_specification_is_plain_json_and_complete() -> None:
    spec = motion_circuit_spec()
    assert json.loads(json.dumps(spec)) == spec
    connectome = Connectome.from_spec(spec)
    # Nothing is filled in or merged: the taps are the offsets listed.
    assert len(connectome.taps) == sum(len(e["offsets"]) for e in spec["edges"])
    assert (connectome.taps.multiplicity == 1).all()
    assert set(DETECTORS) <= set(connectome.cell_types)
    assert all(name.startswith("R") for name in connectome.input_types)
    # The caller owns the dictionary.
    spec["edges"].clear()
    assert motion_circuit_spec()["edges"]


def test_parameters_follow_the_connectome() -> None:
    connectome = Connectome.from_spec(motion_circuit_spec())
    parameters = motion_circuit_parameters()
    assert parameters.bias.shape == parameters.time_const.shape == (len(connectome.cell_types),)
    assert parameters.syn_strength.shape == (len(connectome.pairs),)
    assert (parameters.syn_strength > 0).all()
    seconds = dict(zip(connectome.cell_types, parameters.time_const, strict=True))
    assert all(0.01 <= t <= 0.2 for t in seconds.values())
    for slow, fast in (
        ("Mi4", "Mi1"),
        ("Mi9", "Mi1"),
        ("CT1(M10)", "Tm3"),
        ("Mi1", "Tm3"),
        ("Tm9", "Tm1"),
        ("CT1(Lo1)", "Tm2"),
        ("Tm1", "Tm2"),
    ):
        assert seconds[slow] > seconds[fast], (slow, fast)


def test_signs_follow_the_transmitters() -> None:
    for edge in motion_circuit_spec()["edges"]:
        assert edge["alpha"] == (-1 if edge["src"] in INHIBITORY else 1), edge["src"]


@pytest.mark.parametrize("subtype", "abcd")
def test_subtypes_are_images_of_each_other(subtype: str) -> None:
    mirrored = {"a": "b", "b": "a", "c": "d", "d": "c"}[subtype]
    sides = {}
    for edge in motion_circuit_spec()["edges"]:
        sides[edge["src"], edge["tar"]] = {tuple(o): n for o, n in edge["offsets"]}
    for (source, target), offsets in sides.items():
        if target[:2] in ("T4", "T5") and target.endswith(subtype):
            image = sides[source, target[:2] + mirrored]
            assert {(-u, -v): n for (u, v), n in offsets.items()} == image


def test_facts_agree_with_the_published_file(shared: Path) -> None:
    path = shared / "data/flyvis/connectome" / CONNECTOME_FILE
    published = {(e["src"], e["tar"]): e for e in json.loads(path.read_text())["edges"]}
    counts: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for edge in motion_circuit_spec()["edges"]:
        source, target = edge["src"], edge["tar"]
        other = published[source, target]
        assert edge["alpha"] == other["alpha"], (source, target)
        detector = target in DETECTORS
        receptor = source in ("R1", "R2", "R3", "R4", "R5", "R6")
        pair = ("R1-R6" if receptor else source, target[:2] if detector else target)
        sums = [sum(n for _, n in e["offsets"]) for e in (edge, other)]
        counts.setdefault(pair, []).append((sums[0], sums[1]))
        if detector and source in ("Mi9", "Mi4", "C3", "CT1(M10)", "CT1(Lo1)", "Tm9"):
            side, other_side = (side_of_source(e["offsets"]) for e in (edge, other))
            cosine = side @ other_side / np.linalg.norm(side) / np.linalg.norm(other_side)
            assert cosine > np.cos(np.radians(45)), (source, target)
    # Counts are rounded, the same for R1-R6 and for the four subtypes: compare means over these.
    for pair, sums in counts.items():
        mean, published_mean = np.mean(sums, axis=0)
        assert 0.8 < mean / published_mean < 1.25, (pair, mean, published_mean)


def side_of_source(offsets: list[tuple[tuple[int, int], float]]) -> Floats:
    """Picture coordinates of the sources' centre of mass, seen from the target."""
    # A single far outlier would outweigh the dendrite, which spans about two columns.
    near = [(-np.array(o, float), n) for o, n in offsets if max(map(abs, o)) <= 2]
    u, v = sum(n * place for place, n in near) / sum(n for _, n in near)
    return np.array([1.5 * v, -np.sqrt(3) * (u + 0.5 * v)])
