from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from stimopt.lattice import HexLattice
from stimopt.optimize import penalties
from stimopt.optimize.penalties import find_penalties


def test_penalties_against_loops() -> None:
    lattice = HexLattice(2)
    stimulus = torch.rand((2, 4, lattice.n_columns), generator=torch.Generator().manual_seed(3))
    x = stimulus.numpy().astype(np.float64)
    pairs = torch.as_tensor(lattice.neighbour_pairs())
    # A hexagon of n rings has 3 n (3 n + 1) adjacent pairs.
    assert len(pairs) == 3 * 2 * 7
    for i in range(2):
        grey = [(p - 0.5) ** 2 for p in x[i].ravel()]
        assert float(penalties.grey(stimulus)[i]) == pytest.approx(np.mean(grey), rel=1e-5)
        assert float(penalties.grey_sum(stimulus)[i]) == pytest.approx(np.sum(grey), rel=1e-5)
        jumps = []
        for t in range(4):
            for a in range(lattice.n_columns):
                for b in range(a):
                    du, dv = lattice.u[a] - lattice.u[b], lattice.v[a] - lattice.v[b]
                    if max(abs(du), abs(dv), abs(du + dv)) == 1:
                        jumps.append(abs(x[i, t, a] - x[i, t, b]))
        found = float(penalties.total_variation(stimulus, pairs)[i])
        assert found == pytest.approx(np.mean(jumps), rel=1e-5)
        steps = [(x[i, t + 1, c] - x[i, t, c]) ** 2 for t in range(3) for c in range(19)]
        found = float(penalties.temporal_roughness(stimulus)[i])
        assert found == pytest.approx(np.mean(steps), rel=1e-5)
    assert penalties.temporal_roughness(stimulus[:, :1]).tolist() == [0.0, 0.0]


def test_penalties_are_found_by_name_path_or_function() -> None:
    def dark(luminance: Tensor) -> Tensor:
        return luminance.mean(dim=(1, 2))

    terms = find_penalties(
        {"grey": 3000, "stimopt.optimize.penalties.grey_sum": 0.5, "dark": (2.0, dark)},
        HexLattice(2),
    )
    assert {name: weight for name, (weight, _) in terms.items()} == {
        "grey": 3000.0,
        "grey_sum": 0.5,
        "dark": 2.0,
    }
    assert terms["grey_sum"][1] is penalties.grey_sum and terms["dark"][1] is dark
    stimulus = torch.rand((2, 4, 19))
    pairs = torch.as_tensor(HexLattice(2).neighbour_pairs())
    variation = find_penalties({"variation": 1.0}, HexLattice(2))["variation"][1]
    assert torch.equal(variation(stimulus), penalties.total_variation(stimulus, pairs))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"gray": 1.0}, "a penalty as one of .*got 'gray'; did you mean 'grey'"),
        ({"grey": -1.0}, "weight of penalty grey >= 0"),
        ({"grey": float("nan")}, "weight of penalty grey >= 0"),
        ({"grey": True}, "weight of penalty grey >= 0"),
        ({"no_such_lab.smooth": 1.0}, "dotted path.*No module named 'no_such_lab'.*PYTHONPATH"),
        ({"stimopt.optimize.penalties.GREY": 1.0}, "a function at .*GREY"),
        ({"grey": 1.0, "stimopt.optimize.penalties.grey": 1.0}, "grey twice"),
        ({"mine": (1.0,)}, r"a pair of a weight and a function, for penalty mine, got \(1.0,\)"),
        ({"total": (1.0, penalties.grey)}, "different names, got total"),
    ],
)
def test_unknown_penalties_and_weights_are_rejected(wanted: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_penalties(wanted, HexLattice(1))
