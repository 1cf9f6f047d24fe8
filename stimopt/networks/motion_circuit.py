"""The built-in motion circuit: a small fly network with T4 and T5, in the connectome file's terms.

With it everything in stimopt runs without a download. It is a sketch of the published circuit, for
examples and tests; results about the fly need a trained network.

From the literature: the cells, their connections and signs, the side of a T4 or T5 dendrite on
which each input lies, which inputs are fast and which slow, and the synapse counts, rounded:

* Photoreceptors and lamina: histamine inhibits L1-L3 (Hardie, Nature 1989). R1-R6 only: the
  chromatic R7 and R8 are not needed.
* Transmitters, hence signs: Davis et al., eLife 2020. Glutamate (L1, Mi9) and GABA (Mi4, C3, CT1)
  inhibit, acetylcholine (L2, L3, Mi1, Tm1, Tm2, Tm3, Tm4, Tm9) excites.
* Inputs to T4 and their place: Takemura et al., eLife 2017. Mi9 on the side where motion in the
  preferred direction comes from, Mi1 and Tm3 in the centre, Mi4, C3 and CT1 on the far side.
* Inputs to T5, and CT1 with Mi1, Tm1 and Tm9: Shinomiya et al., eLife 2019. Tm9 on the near side,
  Tm1, Tm2 and Tm4 in the centre, CT1 on the far side. The terminals of the single CT1 act column by
  column (Meier and Borst, Curr Biol 2019).
* Slow Mi4, Mi9, Tm9 and CT1 against fast Mi1, Tm3, C3, Tm1, Tm2 and Tm4: Behnia et al., Nature
  2014; Serbe et al., Neuron 2016; Arenz et al., Curr Biol 2017; Strother et al., Neuron 2017.
* How it computes: ON releases T4 from Mi9, then excites it through Mi1 and Tm3, then inhibits it
  (Groschner et al., Nature 2022; Borst, Haag and Mauss, J Comp Physiol A 2020).
* The equation, and the synapse counts, as means over R1-R6 and over the four subtypes of T4 and T5:
  Lappalainen et al., Nature 2024 (the connectome file of flyvis).

Chosen for this circuit: the strengths, biases and single time constants below. They were set by
hand until moving edges gave direction-selective T4 and T5; no trained value was used. Simplified:
counts are mirrored so that a and b, and c and d, are each other's image; many weaker connections,
L4, L5 and the contacts among T4 and T5 are left out; Mi9's release adds to the excitation of T4
where in the fly it multiplies.

T4a-d prefer ON edges that move to 180, 0, 90 and 270 degrees (left, right, up, down), T5a-d OFF
edges in the same directions; `tests/networks/test_motion_circuit.py` says how clearly. Selectivity
falls with speed, and the preference for a polarity with slowness.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from stimopt.connectome import Connectome, NetworkParameters
from stimopt.lattice import NEIGHBOURS

Synapses = dict[tuple[int, int], float]
"""Synapse count by the source's place relative to the target, (du, dv)."""


def motion_circuit_spec() -> dict[str, Any]:
    """The circuit's cell types and connections, as `Connectome.from_spec` reads them.

    Returns:
        A new dictionary with `nodes`, `edges`, `input_units` and `output_units`; plain numbers,
        strings and lists, so that `json.dump` writes it.
    """
    return {
        "nodes": [{"name": name, "pattern": ["stride", [1, 1]]} for name in CELLS],
        "edges": [
            {
                "src": edge.source,
                "tar": edge.target,
                "alpha": edge.sign,
                # The file has offsets from source to target, the tables here from the target.
                "offsets": [[[-du, -dv], n] for (du, dv), n in edge.synapses.items()],
            }
            for edge in EDGES
        ],
        "input_units": list(PHOTORECEPTORS),
        "output_units": list(MOTION_DETECTORS),
    }


def motion_circuit_parameters() -> NetworkParameters:
    """The circuit's parameters, in the order of the `Connectome` built from its specification."""
    connectome = Connectome.from_spec(motion_circuit_spec(), "the built-in motion circuit")
    cells = [CELLS[name] for name in connectome.cell_types]
    strength = {(e.source, e.target): e.gain / sum(e.synapses.values()) for e in EDGES}
    return NetworkParameters(
        name="builtin",
        bias=np.array([cell.bias for cell in cells]),
        time_const=np.array([cell.time_const for cell in cells]),
        syn_strength=np.array([strength[pair] for pair in connectome.pairs]),
        sign=connectome.signs,
        syn_count=connectome.taps.n_syn,
    )


class Cell(NamedTuple):
    """A cell type: bias (voltage without input) and time constant in seconds."""

    bias: float
    time_const: float


class Edge(NamedTuple):
    """A connection: `gain` is its weight summed over synapses, without the sign."""

    source: str
    target: str
    sign: int
    synapses: Synapses
    gain: float


PHOTORECEPTORS = ("R1", "R2", "R3", "R4", "R5", "R6")
MOTION_DETECTORS = tuple(f"{kind}{subtype}" for kind in ("T4", "T5") for subtype in "abcd")

# At grey (0.5) L1-L3 rest at 1.2 and stay above zero from black to white: the lamina is linear. The
# medulla cells they feed rest 0.2-0.3 above zero, so that they pass one polarity and cut the other,
# and yet pass a gradient at grey. Mi9, in between at 0.7, passes both.
CELLS: dict[str, Cell] = {
    **dict.fromkeys(PHOTORECEPTORS, Cell(0.0, 0.01)),
    "L1": Cell(2.2, 0.01),
    "L2": Cell(2.2, 0.01),
    "L3": Cell(2.2, 0.03),  # sustained, where L1 and L2 are transient
    "Mi1": Cell(1.55, 0.02),
    "Tm3": Cell(1.45, 0.01),  # leads Mi1 (Behnia et al. 2014)
    "Mi4": Cell(0.55, 0.05),
    "Mi9": Cell(0.0, 0.1),
    "C3": Cell(1.45, 0.02),
    "CT1(M10)": Cell(0.0, 0.1),
    "CT1(Lo1)": Cell(-0.05, 0.04),
    "Tm1": Cell(-0.85, 0.02),  # lags Tm2 (Behnia et al. 2014)
    "Tm2": Cell(-0.95, 0.01),
    "Tm4": Cell(-0.95, 0.01),
    "Tm9": Cell(-0.85, 0.04),
    # These two biases put the voltage at grey to zero.
    **dict.fromkeys(MOTION_DETECTORS[:4], Cell(1.38, 0.02)),
    **dict.fromkeys(MOTION_DETECTORS[4:], Cell(-0.06, 0.02)),
}


def _here(n_syn: float) -> Synapses:
    return {(0, 0): n_syn}


def _disc(centre: float, ring: float) -> Synapses:
    """The own column and each of its six neighbours."""
    return {(0, 0): centre, **dict.fromkeys(NEIGHBOURS, ring)}


def _up(near: float, flank: float, far: float = 0.0) -> Synapses:
    """Towards 90 degrees, along a line of columns: the next one, its two flanks, the one after."""
    places = {(-1, 0): near, (-1, 1): flank, (0, -1): flank, (-2, 0): far}
    return {place: n for place, n in places.items() if n}


def _right(near: float, flank: float, far: float = 0.0) -> Synapses:
    """Towards 0 degrees, between two lines of columns: two columns are next and share the count."""
    inner, outer = (near + flank) / 2, flank / 2
    places = {(0, 1): inner, (-1, 1): inner, (1, 1): outer, (-2, 1): outer, (-1, 2): far}
    return {place: n for place, n in places.items() if n}


def _opposite(synapses: Synapses) -> Synapses:
    return {(-du, -dv): n for (du, dv), n in synapses.items()}


def _ahead(subtype: str, near: float, flank: float, far: float = 0.0) -> Synapses:
    """On the side towards which the preferred motion leads (a left, b right, c up, d down)."""
    side = _right if subtype in "ab" else _up
    return side(near, flank, far) if subtype in "bc" else _opposite(side(near, flank, far))


def _behind(subtype: str, near: float, flank: float, far: float = 0.0) -> Synapses:
    """On the side from which preferred motion comes."""
    return _opposite(_ahead(subtype, near, flank, far))


def _lamina() -> list[Edge]:
    counts = {"L1": 40, "L2": 43, "L3": 8.5}
    return [
        Edge(receptor, target, -1, _here(n_syn), 2.0 / len(PHOTORECEPTORS))
        for receptor in PHOTORECEPTORS
        for target, n_syn in counts.items()
    ]


def _on_pathway() -> list[Edge]:
    return [
        Edge("L1", "Mi1", -1, _here(136), 1.0),
        Edge("L1", "Tm3", -1, _disc(14, 8), 1.0),
        Edge("L1", "C3", -1, _here(74), 1.0),
        Edge("L3", "Mi9", +1, _here(37), 0.6),
        Edge("Mi1", "Mi4", +1, _here(12), 0.8),
        Edge("Mi9", "Mi4", -1, _here(25), 0.6),
        Edge("Mi1", "CT1(M10)", +1, _here(4), 1.0),
        # Delayed feedback makes Mi1's answer to a step decay, as its band-pass response does.
        Edge("CT1(M10)", "Mi1", -1, _here(7), 0.5),
    ]


def _off_pathway() -> list[Edge]:
    return [
        Edge("L2", "Tm1", +1, _here(144), 1.0),
        Edge("L2", "Tm2", +1, _here(123), 1.0),
        Edge("L2", "Tm4", +1, _disc(12, 10), 1.0),
        Edge("L3", "Tm9", +1, _here(24), 1.0),
        Edge("Tm9", "CT1(Lo1)", +1, _here(23), 0.8),
        Edge("Tm1", "CT1(Lo1)", +1, _here(8), 0.8),
        Edge("CT1(Lo1)", "Tm9", -1, _here(20), 0.5),
        Edge("CT1(Lo1)", "Tm1", -1, _here(3), 0.3),
    ]


def _t4(subtype: str) -> list[Edge]:
    target = f"T4{subtype}"
    return [
        Edge("Mi9", target, -1, _behind(subtype, 10, 4, 4), 1.6),
        Edge("Mi1", target, +1, _disc(22, 5), 2.2),
        Edge("Tm3", target, +1, _disc(5, 2), 1.2),
        Edge("Mi4", target, -1, _ahead(subtype, 6, 3, 1), 1.2),
        Edge("C3", target, -1, _ahead(subtype, 4, 1), 1.4),
        Edge("CT1(M10)", target, -1, _ahead(subtype, 8, 3, 2), 1.4),
    ]


def _t5(subtype: str) -> list[Edge]:
    target = f"T5{subtype}"
    return [
        Edge("Tm9", target, +1, _behind(subtype, 24, 8, 8), 1.2),
        Edge("Tm1", target, +1, _disc(9, 3), 1.0),
        Edge("Tm2", target, +1, _disc(9, 3), 1.0),
        Edge("Tm4", target, +1, _disc(4, 2), 0.5),
        Edge("CT1(Lo1)", target, -1, _ahead(subtype, 20, 6, 4), 2.6),
    ]


EDGES: tuple[Edge, ...] = (
    *_lamina(),
    *_on_pathway(),
    *_off_pathway(),
    *(edge for subtype in "abcd" for edge in _t4(subtype)),
    *(edge for subtype in "abcd" for edge in _t5(subtype)),
)
