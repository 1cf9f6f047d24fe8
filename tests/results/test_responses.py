from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.module import ModuleNetwork
from stimopt.networks.opening import flyvis_network
from stimopt.protocol import Protocol
from stimopt.results.responses import type_responses

PROTOCOL = Protocol(t_pre=0.05)


def test_every_item_has_the_response_it_has_alone(small_network: FrozenNetwork) -> None:
    lattice, names = small_network.lattice, ["T4c", "Mi1", "T4c"]
    stimulus = np.random.default_rng(0).random((3, 8, lattice.n_columns), np.float32)
    stimulus[1] = stimulus[0]
    lengths = [8, 8, 5]
    response = type_responses(small_network, PROTOCOL, stimulus, lengths, names, [0, 0, 0])
    for i, name in enumerate(names):
        clip = torch.as_tensor(stimulus[i : i + 1, : lengths[i]])
        for column in (0, lattice.center, lattice.n_columns - 1):
            u, v = int(lattice.u[column]), int(lattice.v[column])
            cell = torch.tensor([small_network.cell_index(name, u, v)])
            alone = small_network.respond(clip, PROTOCOL, cell)[0, :, 0].numpy()
            np.testing.assert_array_equal(response[i, : lengths[i], column], alone)
    assert np.isnan(response[2, 5:]).all() and not np.isnan(response[:2]).any()


def test_many_stimuli_of_several_lengths_and_networks_have_the_responses_they_have_alone(
    trained_folder: Path, connectome_file: Path
) -> None:
    network = flyvis_network(
        [trained_folder / "000", trained_folder / "001"], connectome_file, extent=3
    )
    n, columns = 21, network.lattice.n_columns
    rng = np.random.default_rng(0)
    stimulus = rng.random((n, 9, columns), np.float32)
    lengths, networks = rng.integers(4, 10, n), rng.integers(0, 2, n)
    names = [str(name) for name in rng.choice(network.cell_types, n)]
    response = type_responses(network, PROTOCOL, stimulus, lengths, names, networks)
    for i, name in enumerate(names):
        clip = torch.as_tensor(stimulus[i : i + 1, : lengths[i]])
        cell = torch.tensor([network.cell_index(name)])
        alone = network.respond(clip, PROTOCOL, cell, torch.tensor([int(networks[i])]))
        np.testing.assert_array_equal(
            response[i, : lengths[i], network.lattice.center], alone[0, :, 0].numpy()
        )
        assert np.isnan(response[i, lengths[i] :]).all()


def test_columns_without_a_cell_and_other_networks(
    trained_folder: Path, connectome_file: Path
) -> None:
    network = flyvis_network(
        [trained_folder / "000", trained_folder / "001"], connectome_file, extent=3
    )
    stimulus = np.full((2, 4, network.lattice.n_columns), 0.7, np.float32)
    response = type_responses(network, PROTOCOL, stimulus, [4, 4], ["Lawf1", "Lawf1"], [0, 1])
    absent = network.cells_of("Lawf1").numpy() < 0
    assert absent.any() and not absent.all()
    np.testing.assert_array_equal(np.isnan(response), np.broadcast_to(absent, response.shape))
    assert (response[0] != response[1])[:, ~absent].all()


class Counted(nn.Module):
    """Two cells in each column that follow the luminance; counts the stimuli it is shown."""

    n_shown = 0

    def forward(self, luminance: torch.Tensor) -> torch.Tensor:
        self.n_shown += len(luminance)
        return torch.cat([luminance, -luminance], dim=-1)


def test_items_of_one_stimulus_are_simulated_once() -> None:
    module = Counted()
    network = ModuleNetwork(module, {"on": range(7), "off": range(7, 14)}, extent=1)
    stimulus = np.random.default_rng(0).random((1, 4, 7), np.float32)

    def n_shown(names: list[str], stimuli: np.ndarray) -> int:
        before, n = module.n_shown, len(names)
        response = type_responses(network, PROTOCOL, stimuli, [4] * n, names, [0] * n)
        np.testing.assert_array_equal(response[0], stimuli[0])
        return module.n_shown - before

    once = n_shown(["on"], stimulus)
    assert n_shown(["on", "off", "on"], stimulus.repeat(3, axis=0)) == once
    assert n_shown(["on", "off"], np.concatenate([stimulus, stimulus / 2])) == 2 * once
