"""Explanations against the equation, finite differences and lesions made one by one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from stimopt.analysis import explain
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.module import ModuleNetwork
from stimopt.networks.opening import builtin_network
from stimopt.optimize.generate import StimulusGenerator
from stimopt.protocol import Protocol
from stimopt.results import Result, Variable, read
from tests.results.cases import random_optima
from tests.search.cases import two_networks

TYPES = ["T4c", "Mi1", "L1", "R1"]


@pytest.fixture(scope="module")
def network() -> FrozenNetwork:
    return builtin_network(extent=3)


@pytest.fixture(scope="module")
def noise(network: FrozenNetwork) -> Result:
    """Responses to noise: nothing is silent for long, and no frame is like another."""
    return StimulusGenerator(network, TYPES, t_stim=0.2).result()


@pytest.fixture(scope="module")
def explained(network: FrozenNetwork, noise: Result) -> Result:
    return explain(noise, network)


def test_the_step_of_the_voltage_is_the_sum_of_the_currents_in_every_frame(
    explained: Result,
) -> None:
    voltage = explained["central_response"].astype(np.float64)
    before = np.concatenate([explained["initial_voltage"][:, None], voltage[:, :-1]], axis=1)
    currents = explained["source_current"].sum(axis=2) + explained["leak_current"]
    step = explained["step"][:, None] * (currents + explained["bias"][:, None])
    assert np.abs(step).max() > 0.05
    np.testing.assert_allclose(before + step, voltage, atol=3e-6)


@pytest.mark.parametrize("protocol", [Protocol(baseline="grey"), Protocol(t_fade_in=0.1)])
def test_the_same_under_other_protocols(network: FrozenNetwork, protocol: Protocol) -> None:
    result = StimulusGenerator(network, "T4c", protocol, t_stim=0.1).result()
    explained = explain(result, network, lesions=False)
    absolute = torch.as_tensor(result["stimulus"])
    plain = dataclasses.replace(protocol, baseline="absolute")
    cell = torch.tensor([network.cell_index("T4c")])
    voltage = network.respond(absolute, plain, cell)[0, :, 0].double().numpy()
    before = np.concatenate([explained["initial_voltage"], voltage[:-1]])
    currents = explained["source_current"][0].sum(axis=1) + explained["leak_current"][0]
    step = explained["step"] * (currents + explained["bias"])
    np.testing.assert_allclose(before + step, voltage, atol=3e-6)


def test_contributions_add_up_to_the_peak(explained: Result) -> None:
    rows = np.arange(len(TYPES))
    peaks = explained["central_response"][rows, explained["peak_frame"]]
    assert explained["peak_frame"].tolist() == [explained.frame_of_peak(i) for i in rows]
    parts = explained["contribution"].sum(axis=1) + explained["unsettled"]
    np.testing.assert_allclose(parts, peaks - explained["initial_voltage"], atol=1e-9)
    np.testing.assert_allclose(explained["unsettled"], 0, atol=1e-5)
    # R1 receives light alone, L1 the photoreceptors alone, with equal weights.
    sources = explained["source"].tolist()
    light = explained["contribution"][TYPES.index("R1")]
    assert np.flatnonzero(light).tolist() == [sources.index("light")]
    from_receptors = explained["contribution"][TYPES.index("L1")]
    assert [sources[s] for s in np.flatnonzero(from_receptors)] == [f"R{i}" for i in range(1, 7)]


def test_taps_add_up_to_their_sources_at_the_places_of_the_connectome(
    network: FrozenNetwork, explained: Result
) -> None:
    taps, t4c = network.connectome.taps, network.connectome.type_index["T4c"]
    for s, name in enumerate(explained["source"].tolist()):
        mine = explained["tap_source"][0] == s
        total = explained["tap_contribution"][0][mine].sum()
        assert total == pytest.approx(explained["contribution"][0, s], abs=1e-12)
        number = np.flatnonzero(
            (taps.target == t4c) & (taps.source == network.connectome.type_index.get(name, -1))
        )
        stored = zip(explained["tap_du"][0][mine], explained["tap_dv"][0][mine], strict=True)
        assert sorted(stored) == sorted(zip(-taps.du[number], -taps.dv[number], strict=True))


def test_sensitivity_is_the_slope_of_the_response(
    network: FrozenNetwork, noise: Result, explained: Result
) -> None:
    slow, cell = network.select([0]).double(), torch.tensor([network.cell_index("T4c")])
    stimulus = torch.as_tensor(noise["stimulus"][:1]).double()
    frame, gradient = explained["peak_frame"][0], explained["sensitivity"][0]
    moved = np.unravel_index(np.argsort(np.abs(gradient), axis=None)[-3:], gradient.shape)
    for t, column in zip(*moved, strict=True):
        up, down = stimulus.clone(), stimulus.clone()
        up[0, t, column] += 1e-4
        down[0, t, column] -= 1e-4
        rise = slow.respond(up, Protocol(), cell) - slow.respond(down, Protocol(), cell)
        assert float(rise[0, frame, 0]) / 2e-4 == pytest.approx(gradient[t, column], rel=1e-3)


def test_lesions_are_those_made_one_by_one(
    network: FrozenNetwork, noise: Result, explained: Result
) -> None:
    stimulus = torch.as_tensor(noise["stimulus"][:1])
    cell, grey = torch.tensor([network.cell_index("T4c")]), torch.full_like(stimulus, 0.5)

    def drive(without: FrozenNetwork, position: int) -> float:
        index = torch.tensor([position])
        driven, still = (
            without.respond(each, Protocol(), cell, index).amax() for each in (stimulus, grey)
        )
        return float(driven - still)

    sources = explained["source"].tolist()
    for name in ("Mi1", "Mi9"):
        left = drive(network.lesion(name), 1) / drive(network, 0)
        stored = explained["lesioned_response"][0, sources.index(name)]
        assert stored == pytest.approx(left, abs=1e-5)
    assert np.isnan(explained["lesioned_response"][0, sources.index("R1")])


def test_one_synapse_further_back_is_the_input_that_contributes_most(
    network: FrozenNetwork, noise: Result, explained: Result
) -> None:
    back = explain(noise, network, "Mi1", lesions=False)
    assert back["label"].tolist() == ["Mi1 to T4c"]  # Mi1 itself and L1 have no such input
    mi1 = explained["tap_source"][0] == explained["source"].tolist().index("Mi1")
    most = np.argmax(np.where(mi1, np.abs(explained["tap_contribution"][0]), -1))
    place = (explained["tap_du"][0, most], explained["tap_dv"][0, most])
    assert (back["readout_u"][0], back["readout_v"][0]) == place
    assert back["source"].tolist() == ["L1", "CT1(M10)"]
    assert back["peak_frame"][0] == explained["peak_frame"][0]
    assert back.check(network) < 1e-5


def test_networks_stay_separate_and_files_read_back(tmp_path: object) -> None:
    both = two_networks(extent=3)
    result = StimulusGenerator(both, "T4c", t_stim=0.1).result()
    explained = explain(result, both)
    for position in range(2):
        alone = both.select([position])
        own = StimulusGenerator(alone, "T4c", t_stim=0.1).result()
        expected = explain(own, alone)
        for name in ("contribution", "lesioned_response", "sensitivity"):
            np.testing.assert_allclose(explained[name][position], expected[name][0], atol=1e-5)
    again = read(explained.write(f"{tmp_path}/explained.h5"))
    assert isinstance(again, Result) and again.kind == "explained"
    np.testing.assert_array_equal(again["contribution"], explained["contribution"])
    assert again["source"].tolist() == explained["source"].tolist()


def test_the_range_end_of_an_item_is_not_read(network: FrozenNetwork, noise: Result) -> None:
    short = dataclasses.replace(noise, variables=dict(noise.variables))
    n_frames, stimulus = np.full(len(TYPES), 12), noise["stimulus"].copy()
    stimulus[:, 12:] = np.nan
    short.variables["n_frames"] = Variable(("item",), n_frames)
    short.variables["stimulus"] = noise.variables["stimulus"]._replace(values=stimulus)
    explained = explain(short, network)
    assert (explained["peak_frame"] < 12).all()
    assert (explained["sensitivity"][:, 12:] == 0).all()


def test_of_the_three_optima_the_artificial_is_explained_beside_the_clip(
    network: FrozenNetwork,
) -> None:
    optima = random_optima(network)
    explained = explain(optima, network, lesions=False)
    assert explained["label"].tolist() == optima.artificial["label"].tolist()
    clips = explain(optima.naturalistic, network, lesions=False)
    sources = [clips["source"].tolist().index(name) for name in explained["source"]]
    # T4c with two seeds, then T5a: each beside the contributions under the clip of its cell.
    expected = clips["contribution"][[0, 0, 1, 1]][:, sources]
    np.testing.assert_allclose(explained["clip_contribution"], expected, atol=1e-6)
    assert explained["path_similarity"].shape == (4, 1)


def test_refuses_what_cannot_be_explained(network: FrozenNetwork, noise: Result) -> None:
    with pytest.raises(ValueError, match="did you mean 'Mi1'"):
        explain(noise, network, "Mi11")
    with pytest.raises(ValueError, match="a source of these cells"):
        explain(noise, network, "Tm9")
    with pytest.raises(ValueError, match=r"expected the network of the result .* load that"):
        explain(noise, builtin_network(extent=4))
    without = {k: v for k, v in noise.variables.items() if k != "stimulus"}
    with pytest.raises(ValueError, match="expected a result with stimuli"):
        explain(dataclasses.replace(noise, variables=without), network)
    module = ModuleNetwork(torch.nn.Linear(7, 1), {"cell": 0}, extent=1)
    with pytest.raises(ValueError, match=r"expected a network with a connectome .* ModuleNetwork"):
        explain(StimulusGenerator(module, "cell", t_stim=0.1).result(), module)
