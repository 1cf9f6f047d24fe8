from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from stimopt.networks.frozen import FrozenNetwork
from stimopt.optimize.generate import StimulusGenerator
from stimopt.protocol import Protocol
from stimopt.results.result import Result, Variable
from tests.search.cases import two_networks

Trainers = Callable[..., pl.Trainer]


def search_result(path: Path, network: FrozenNetwork) -> dict[str, np.ndarray]:
    """A search result with clips of 5 and 8 frames; gives the clips."""
    rng = np.random.default_rng(0)
    clips = {"T4c": rng.random((5, 61), np.float32), "T5a": rng.random((8, 61), np.float32)}
    stimulus = np.full((2, 8, 61), np.nan, np.float32)
    for i, clip in enumerate(clips.values()):
        stimulus[i, : len(clip)] = clip
    zeros = np.zeros(2, np.int64)
    variables = {
        "cell_type": Variable(("item",), np.array(list(clips))),
        "network": Variable(("item",), zeros),
        "readout_u": Variable(("item",), zeros),
        "readout_v": Variable(("item",), zeros),
        "n_frames": Variable(("item",), np.array([5, 8])),
        "stimulus": Variable(("item", "frame", "column"), stimulus),
    }
    held = (network.content_hash, network.names, network.lattice.extent)
    Result("naturalistic", variables, Protocol(), *held).write(path)
    return clips


def test_a_naturalistic_start_ends_with_the_last_frame(
    small_network: FrozenNetwork, tmp_path: Path
) -> None:
    clips = search_result(tmp_path / "result.h5", small_network)
    fit = StimulusGenerator(
        small_network, ["T5a", "T4c"], init=f"naturalistic:{tmp_path / 'result.h5'}"
    )
    start = fit.stimulus.detach().numpy()
    assert start.shape == (2, 8, 61)
    np.testing.assert_array_equal(start[0], clips["T5a"])
    np.testing.assert_array_equal(start[1, 3:], clips["T4c"])
    assert (start[1, :3] == 0.5).all()
    # Grey before a clip is what the pre-stimulus is: the response is the clip's own.
    alone = small_network.respond(
        torch.as_tensor(clips["T4c"])[None],
        Protocol(t_pre=1.03),
        torch.tensor([small_network.cell_index("T4c")]),
    )
    together = fit.respond(fit.luminance().detach())[1, 0, 3:]
    torch.testing.assert_close(together, alone[0, :, 0], atol=1e-6, rtol=0)


def test_seeds_are_noise_of_their_own(small_network: FrozenNetwork) -> None:
    fit = StimulusGenerator(small_network, "T4c", t_stim=0.05, seeds=[0, 1, 2])
    first = torch.manual_seed(1) and torch.rand((5, 61))
    assert torch.equal(fit.stimulus.detach()[1], first)
    assert len({x.numpy().tobytes() for x in fit.stimulus.detach()}) == 3
    assert fit.labels == ["T4c-seed0", "T4c-seed1", "T4c-seed2"]


@pytest.mark.parametrize("parametrization", ["clamp", "sigmoid"])
def test_grey_start_is_grey(small_network: FrozenNetwork, parametrization: str) -> None:
    fit = StimulusGenerator(
        small_network,
        "T4c",
        t_stim=0.05,
        init="grey",
        parametrization=parametrization,  # type: ignore[arg-type]
    )
    assert (fit.luminance() == 0.5).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_the_peak_is_of_the_column_read_out_and_of_the_sign_sought(
    small_network: FrozenNetwork, make_trainer: Trainers, sign: Literal[1, -1]
) -> None:
    fit = StimulusGenerator(
        small_network, "L1", t_stim=0.15, u=2, v=-1, sign=sign, objective="last_frame"
    )
    make_trainer(5).fit(fit)
    result = fit.result()
    trace = result["response"][0, :, int(small_network.lattice.index(2, -1))]
    assert result.frame_of_peak(0) == int((sign * trace).argmax())
    last = small_network(fit.luminance().detach())
    cell = last[0, :, small_network.cell_index("L1", 2, -1)]
    torch.testing.assert_close(
        fit.record.history["response/peak"][-1, 0], sign * (sign * cell).max()
    )


@pytest.mark.parametrize("pool", ["mean", "worst"])
def test_several_networks_are_readings_of_one_item(make_trainer: Trainers, pool: str) -> None:
    networks = two_networks()
    fit = StimulusGenerator(
        networks,
        ["T4c", "T5a"],
        t_stim=0.1,
        consensus=True,
        pool=pool,
        objective="last_frame",
        penalties={"grey": 5.0},
    )
    make_trainer(30, log_every_n_steps=10).fit(fit)
    activity = fit.record.history["loss/activity"]
    assert (activity[-1] < activity[0]).all()
    result = fit.result()
    assert result["reading_network"].tolist() == [[0, 1], [0, 1]]
    best = torch.as_tensor(result["stimulus"])
    for i, name in enumerate(["T4c", "T5a"]):
        cell = torch.tensor([networks.cell_index(name)])
        last = [
            networks.respond(best[i : i + 1], fit.protocol, cell, torch.tensor([k]))[0, :, 0]
            for k in (0, 1)
        ]
        np.testing.assert_allclose(result["reading_response"][i], torch.stack(last), atol=1e-6)
        ends = torch.stack(last)[:, -1]
        expected = ends.mean() if pool == "mean" else ends.min()
        step = int(fit.record.best_step[i])
        assert -float(activity[step, i]) == pytest.approx(float(expected), abs=1e-6)
