"""Items, their labels, and readings in one or several networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stimopt.items import Item, Reading, Readout, label_items, make_items
from stimopt.networks.frozen import FrozenNetwork
from stimopt.protocol import Protocol
from tests.search.cases import two_networks

PROTOCOL = Protocol(t_pre=0.1)


@pytest.fixture(scope="module")
def networks() -> FrozenNetwork:
    return two_networks()


def test_items_are_every_combination_in_order(networks: FrozenNetwork) -> None:
    items = make_items(networks, "T4a, Mi1", seeds=[3, 5])
    assert [(item.network, item.cell_type, item.seed) for item in items] == [
        (k, name, seed) for k in (0, 1) for name in ("T4a", "Mi1") for seed in (3, 5)
    ]
    assert len(make_items(networks, "all", networks=[1])) == len(networks.cell_types)


def test_labels_tell_what_varies(networks: FrozenNetwork) -> None:
    def labels(*args: Any, **options: Any) -> list[str]:
        return label_items(make_items(networks, *args, **options), networks.names)

    assert labels("T4a", networks=[0]) == ["T4a"]
    assert labels("T4a", networks=[0], seeds=[1, 2]) == ["T4a-seed1", "T4a-seed2"]
    assert labels("T4a") == ["T4a-first-0", "T4a-other-1"]
    assert labels("T4a", consensus=True) == ["T4a"]
    columns = [Item((Reading("T4a"),)), Item((Reading("T4a", u=1, v=-1),))]
    assert label_items(columns, networks.names) == ["T4a-u0v0", "T4a-u1v-1"]
    varied = [Item((Reading("T4a"),), variant="tol0.1")]
    assert label_items(varied, networks.names) == ["T4a-tol0.1"]


def test_contrast_and_consensus_are_readings(networks: FrozenNetwork) -> None:
    (contrasted,) = make_items(networks, "T4a", networks=[1], u=1, contrast=["T4b", "Mi1"])
    assert contrasted.readings == tuple(Reading(n, 1, 0, 1) for n in ("T4a", "T4b", "Mi1"))
    named = make_items(networks, "T4a", networks=[1], u=1, contrast="T4b, Mi1")
    assert named == [contrasted]
    (agreed,) = make_items(networks, "T4a", consensus=True)
    assert agreed.readings == (Reading("T4a", network=0), Reading("T4a", network=1))


def test_numbers_and_names_of_numpy_become_plain(networks: FrozenNetwork) -> None:
    one = np.int64(1)
    numpy = {"seeds": np.arange(2), "networks": np.arange(2), "u": one, "v": -one}
    items = make_items(networks, np.array(["T4a"]), **numpy)  # type: ignore[arg-type]
    plain = make_items(networks, ["T4a"], seeds=[0, 1], networks=[0, 1], u=1, v=-1)
    assert repr(items) == repr(plain) and "np." not in repr(items)
    assert make_items(networks, "T4a", seeds=one)[0].seed == 1


@pytest.mark.parametrize("gradient", [False, True])
def test_readings_in_several_networks_are_those_of_each_network(
    networks: FrozenNetwork, gradient: bool
) -> None:
    items = [
        Item((Reading("T4c", network=0), Reading("Mi1", network=1), Reading("T4c", network=1))),
        Item((Reading("L1", network=1), Reading("L2", u=1, network=1), Reading("T5a"))),
    ]
    luminance = torch.rand((2, 6, networks.lattice.n_columns), requires_grad=True)
    responses = Readout(networks, items)(networks, luminance, PROTOCOL)
    assert responses.shape == (2, 3, 6)
    weights = torch.rand((2, 3, 6), generator=torch.Generator().manual_seed(1))
    (total,) = torch.autograd.grad((weights * responses).sum(), luminance)
    for i, item in enumerate(items):
        alone = luminance.detach()[i : i + 1].requires_grad_()
        expected = torch.zeros_like(alone)
        for j, reading in enumerate(item.readings):
            cell = torch.tensor([networks.cell_index(reading.cell_type, reading.u, reading.v)])
            trace = networks.respond(alone, PROTOCOL, cell, torch.tensor([reading.network]))
            assert torch.equal(trace[0, :, 0].detach(), responses[i, j].detach())
            (part,) = torch.autograd.grad((weights[i, j] * trace[0, :, 0]).sum(), alone)
            expected += part
        torch.testing.assert_close(total[i : i + 1], expected)


def test_items_differ_in_readings_not_in_their_number(networks: FrozenNetwork) -> None:
    items = [Item((Reading("T4c"),)), Item((Reading("T4c"), Reading("T4d")))]
    with pytest.raises(ValueError, match=r"same number of readings.*got \[1, 2\]"):
        Readout(networks, items)
    with pytest.raises(ValueError, match=r"networks as a whole number within 0 to 1.*got 2"):
        Readout(networks, [Item((Reading("T4c", network=2),))])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell_types": ["T4z"]}, "cell type as one of .*did you mean"),
        ({"cell_types": []}, "at least one of the cell types"),
        ({"cell_types": ["T4a", "T4a"]}, "cell types listed once each"),
        ({"seeds": []}, "at least one of the seeds"),
        ({"seeds": [True]}, "seeds as a whole number"),
        ({"seeds": [-1]}, "seeds as a whole number within 0"),
        ({"networks": "some"}, "networks 'all' or positions"),
        ({"networks": 0}, "networks 'all' or positions, got 0; use a list"),
        ({"networks": [2]}, "networks as a whole number within 0 to 1.*first, other"),
        ({"networks": [0, 0]}, "networks listed once each"),
        ({"u": 9}, "a column of extent 3"),
        ({"contrast": ["T4a"]}, "T4a against other cell types"),
        ({"contrast": ["T4b"], "consensus": True}, "contrast or consensus, got both"),
    ],
)
def test_what_does_not_exist_is_rejected(
    networks: FrozenNetwork, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_items(networks, **{"cell_types": "T4a", **options})
