"""The built-in motion circuit: its form, its facts against the published file, and what it prefers.

Responses come from a slow simulation written here, which reads only the circuit's specification and
parameters: a loop over connections that shifts square maps of columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stimopt.connectome import CONNECTOME_FILE, Connectome
from stimopt.networks.motion_circuit import motion_circuit_parameters, motion_circuit_spec

Floats = NDArray[np.float64]

DETECTORS = [f"{kind}{subtype}" for kind in ("T4", "T5") for subtype in "abcd"]
# Horizontal ones as on the trained network 000 (T4a 176, T4b 351, T5a 187, T5b 348 degrees).
PREFERRED = {"a": 180.0, "b": 0.0, "c": 90.0, "d": 270.0}
ANGLES = np.arange(0.0, 360.0, 30.0)
SPEED = 19.0  # column spacings a second; neighbouring columns are sqrt(3) apart
INHIBITORY = {*(f"R{i}" for i in range(1, 9)), "L1", "Mi4", "Mi9", "C3", "CT1(M10)", "CT1(Lo1)"}


class SlowCircuit:
    """Explicit Euler on square maps `(types, 2 extent + 1, 2 extent + 1, items)`, zero outside."""

    def __init__(self, extent: int, dt: float) -> None:
        spec = motion_circuit_spec()
        self.names = [node["name"] for node in spec["nodes"]]
        parameters = motion_circuit_parameters()
        self.bias, strength = parameters.bias, parameters.syn_strength
        self.rate = dt / np.maximum(parameters.time_const, dt)
        self.inputs = [self.names.index(name) for name in spec["input_units"]]
        self.dt, self.extent = dt, extent
        self.taps = [
            (self.names.index(e["src"]), self.names.index(e["tar"]), offset, e["alpha"] * n * s)
            for e, s in zip(spec["edges"], strength, strict=True)
            for offset, n in e["offsets"]
        ]
        axis = np.arange(-extent, extent + 1)
        self.u, self.v = np.meshgrid(axis, axis, indexing="ij")
        self.column = np.abs(self.u + self.v) <= extent

    def grey(self, seconds: float = 1.0) -> Floats:
        """State after grey, from the bias, one item."""
        side = 2 * self.extent + 1
        state = np.broadcast_to(self.bias[:, None, None, None], (len(self.names), side, side, 1))
        frames = np.full((round(seconds / self.dt), side, side, 1), 0.5)
        return list(self.states(frames, state * self.column[None, :, :, None]))[-1]

    def states(self, luminance: Floats, state: Floats) -> Iterator[Floats]:
        """State after each frame of luminance `(frames, side, side, items)`."""
        column = self.column[None, :, :, None]
        state = np.repeat(state, luminance.shape[-1] // state.shape[-1], axis=-1)
        for x in luminance:
            drive = np.zeros_like(state) + self.bias[:, None, None, None]
            drive[self.inputs] += x
            output = np.maximum(state, 0)
            for source, target, (du, dv), weight in self.taps:
                drive[target] += weight * shift(output[source], du, dv)
            state = (state + self.rate[:, None, None, None] * (drive - state)) * column
            yield state

    def central(self, luminance: Floats, grey_seconds: float = 1.0) -> Floats:
        """Central voltages minus those at grey, `(frames, types, items)`."""
        grey = self.grey(grey_seconds)
        here = self.extent
        states = self.states(luminance, grey)
        return np.stack([s[:, here, here] - grey[:, here, here] for s in states])

    def edges(self, polarity: float) -> Floats:
        """Edges from grey to `polarity`, an item a direction; one frame has its front at 0."""
        x, y = 1.5 * self.v, -np.sqrt(3) * (self.u + 0.5 * self.v)
        lead = round((self.extent + 1) / SPEED / self.dt)
        front = np.sqrt(3) * SPEED * self.dt * np.arange(-lead, lead + round(0.3 / self.dt))
        angles = np.radians(ANGLES)
        along = x[..., None] * np.cos(angles) + y[..., None] * np.sin(angles)
        # Columns on the front count as passed; the margin hides the rounding of sine and cosine.
        return np.where(along <= front[:, None, None, None] + 1e-9, polarity, 0.5)


def shift(plane: Floats, du: int, dv: int) -> Floats:
    """The map moved by (du, dv), zeros coming in."""
    side = len(plane)
    moved = np.zeros_like(plane)
    to_u, to_v = (slice(max(d, 0), side + min(d, 0)) for d in (du, dv))
    from_u, from_v = (slice(max(-d, 0), side + min(-d, 0)) for d in (du, dv))
    moved[to_u, to_v] = plane[from_u, from_v]
    return moved


def edge_peaks(extent: int, dt: float) -> dict[str, dict[str, Floats]]:
    """Half-rectified peaks over time for ON and OFF edges, `(directions,)` by detector."""
    circuit = SlowCircuit(extent, dt)
    peaks = {}
    for name, polarity in (("ON", 1.0), ("OFF", 0.0)):
        peak = np.maximum(circuit.central(circuit.edges(polarity)).max(0), 0)
        peaks[name] = {cell: peak[circuit.names.index(cell)] for cell in DETECTORS}
    return peaks


@pytest.fixture(scope="module", params=[(5, 0.01), (8, 0.01), (5, 0.005)], ids=str)
def peaks(request: pytest.FixtureRequest) -> dict[str, dict[str, Floats]]:
    return edge_peaks(*request.param)


def polarity_of(cell: str) -> tuple[str, str]:
    return ("ON", "OFF") if cell.startswith("T4") else ("OFF", "ON")


@pytest.mark.parametrize("cell", DETECTORS)
def test_detector_prefers_its_direction(peaks: dict[str, dict[str, Floats]], cell: str) -> None:
    response = peaks[polarity_of(cell)[0]][cell]
    vector = np.sum(response * np.exp(1j * np.radians(ANGLES)))
    deviation = np.angle(vector * np.exp(-1j * np.radians(PREFERRED[cell[2]])), deg=True)
    assert abs(deviation) < 10
    assert np.abs(vector) / response.sum() > 0.4
    pref, null = response.max(), response[(response.argmax() + 6) % 12]
    assert (pref - null) / (pref + null) > 0.7


@pytest.mark.parametrize("cell", DETECTORS)
def test_detector_prefers_its_polarity(peaks: dict[str, dict[str, Floats]], cell: str) -> None:
    preferred, other = polarity_of(cell)
    assert peaks[preferred][cell].max() >= 5 * peaks[other][cell].max()
    assert 0.3 < peaks[preferred][cell].max() < 3


def test_centre_does_not_depend_on_the_extent() -> None:
    # No path from a column further than 5 rings leads to the centre.
    small, large = SlowCircuit(5, 0.01), SlowCircuit(7, 0.01)
    start = round(8 / SPEED / 0.01) - round(6 / SPEED / 0.01)
    # Three seconds, because after one the slowest cells still move by 1e-5.
    few = small.central(small.edges(1.0), grey_seconds=3.0)
    many = large.central(large.edges(1.0), grey_seconds=3.0)[start : start + len(few)]
    np.testing.assert_allclose(few, many, rtol=0, atol=1e-10)


def test_rest_is_steady_and_passes_a_gradient() -> None:
    circuit = SlowCircuit(5, 0.01)
    one, three = circuit.grey(1.0)[:, 5, 5, 0], circuit.grey(3.0)[:, 5, 5, 0]
    np.testing.assert_allclose(one, three, rtol=0, atol=1e-3)
    for name, voltage in zip(circuit.names, three, strict=True):
        if name in DETECTORS:
            assert abs(voltage) < 0.01, name
        else:
            assert 0.1 < voltage < 1.5, name


def test_weak_luminance_reaches_the_detectors() -> None:
    circuit = SlowCircuit(5, 0.01)
    side = 2 * circuit.extent + 1
    luminance = np.full((10, side, side, 2), 0.5)
    luminance[..., 0] += 0.01 * circuit.column
    luminance[..., 1] -= 0.01 * circuit.column
    brighter, darker = circuit.central(luminance)[:, [circuit.names.index(n) for n in DETECTORS]].T
    # All gates are open at grey, so that the answer is linear and its sign turns with the input's.
    np.testing.assert_allclose(brighter, -darker, rtol=0, atol=1e-5)
    assert (np.abs(brighter).max(1) > 1e-3).all()


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_full_field_steps_settle(level: float) -> None:
    circuit = SlowCircuit(5, 0.01)
    side = 2 * circuit.extent + 1
    states = list(circuit.states(np.full((300, side, side, 1), level), circuit.grey()))
    assert np.abs(np.stack(states)).max() < 10
    np.testing.assert_allclose(states[-1], states[-2], rtol=0, atol=1e-9)


def test_flicker_stays_bounded() -> None:
    circuit = SlowCircuit(5, 0.01)
    side = 2 * circuit.extent + 1
    noise = np.random.default_rng(0).choice([0.0, 1.0], (300, side, side, 1))
    assert max(np.abs(s).max() for s in circuit.states(noise, circuit.grey())) < 10


def test_specification_is_plain_json_and_complete() -> None:
    spec = motion_circuit_spec()
    assert json.loads(json.dumps(spec)) == spec
    connectome = Connectome.from_spec(spec)
    # Nothing is filled in or merged: the taps are the offsets listed.
    assert len(connectome.taps) == sum(len(e["offsets"]) for e in spec["edges"])
    assert (connectome.taps.multiplicity == 1).all()
    assert set(DETECTORS) <= set(connectome.cell_types)
    assert all(name.startswith("R") for name in connectome.input_types)
    # The caller owns what it got.
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
