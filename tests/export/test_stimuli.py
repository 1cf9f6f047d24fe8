"""Which stimuli of a result are shown, and their controls."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from stimopt.export.stimuli import CONTROLS, Stimulus, add_controls, choose_stimuli, results_of
from stimopt.lattice import HexLattice
from stimopt.networks.frozen import FrozenNetwork
from stimopt.results import Variable
from tests.export.cases import LATTICE, noise
from tests.results.cases import random_optima, random_result


def test_items_are_cut_to_their_length(small_network: FrozenNetwork) -> None:
    result = random_result(small_network)
    t4c, t5a = choose_stimuli([result])
    assert (t4c.name, t5a.name) == ("T4c", "T5a")
    assert (t4c.luminance.shape, t5a.luminance.shape) == ((12, 61), (9, 61))
    np.testing.assert_array_equal(t5a.luminance, result["stimulus"][1, :9])


def test_items_are_chosen_by_label_or_cell_type(small_network: FrozenNetwork) -> None:
    result = random_result(small_network, seeds=[0, 7])
    names = [s.name for s in choose_stimuli([result], "T4c-seed7, T5a")]
    assert names == ["T4c-seed7", "T5a-seed0", "T5a-seed7"]
    with pytest.raises(ValueError, match="did you mean 'T4c'"):
        choose_stimuli([result], "T4x")
    with pytest.raises(ValueError, match="at least one item"):
        choose_stimuli([result], "")


def test_items_that_seek_the_lowest_response_are_read_so(small_network: FrozenNetwork) -> None:
    result = random_result(small_network)
    result.variables["sign"] = Variable(("item",), np.array([1, -1]))
    assert [stimulus.sign for stimulus in choose_stimuli([result])] == [1, -1]


def test_the_three_optima_are_told_apart_by_name(small_network: FrozenNetwork) -> None:
    optima = random_optima(small_network)
    results = results_of(optima, ["naturalistic", "artificial"])
    names = [s.name for s in choose_stimuli(results, "T4c")]
    assert names == ["T4c_naturalistic", "T4c-seed0_artificial", "T4c-seed7_artificial"]
    twice = results_of(optima, "naturalistic, naturalistic,artificial")
    assert [result.kind for result in twice] == ["naturalistic", "artificial"]
    with pytest.raises(ValueError, match="kind of optimum"):
        results_of(optima, ["best"])


def test_names_never_lead_out_of_a_folder(small_network: FrozenNetwork) -> None:
    result = random_result(small_network)
    labels = np.array(["../../etc/passwd", "/T4c"], dtype=object)
    result.variables["label"] = result.variables["label"]._replace(values=labels)
    names = [s.name for s in choose_stimuli([result])]
    assert names == ["etc_passwd", "T4c"]


@pytest.mark.parametrize(
    ("value", "message"), [(1.5, "luminance of T4c in"), (np.nan, "finite luminance of T4c")]
)
def test_luminance_out_of_range_is_refused(
    small_network: FrozenNetwork, value: float, message: str
) -> None:
    result = random_result(small_network)
    result["stimulus"][0, 3, 5] = value
    with pytest.raises(ValueError, match=message):
        choose_stimuli([result])
    choose_stimuli([result], "T5a")


def test_controls_follow_all_stimuli() -> None:
    one, other = noise(12), dataclasses.replace(noise(9), name="other")
    shown = add_controls([one, other], ["reversed", "grey"])
    names = [stimulus.name for stimulus in shown]
    assert names == ["noise", "other", "noise_reversed", "other_reversed", "grey"]
    assert [s.kind for s in shown] == ["artificial"] * 2 + ["reversed"] * 2 + ["grey"]
    assert shown[-1].luminance.shape == one.luminance.shape
    assert (shown[-1].luminance == 0.5).all()
    repeated = add_controls([one], "reversed, reversed,grey")
    assert [stimulus.name for stimulus in repeated] == ["noise", "noise_reversed", "grey"]
    with pytest.raises(ValueError, match="control"):
        add_controls([one], ["backwards"])


def test_reversed_and_inverted() -> None:
    stimulus = noise(12)
    np.testing.assert_array_equal(
        CONTROLS["reversed"](stimulus, 0), np.flip(stimulus.luminance, axis=0)
    )
    np.testing.assert_allclose(CONTROLS["inverted"](stimulus, 0), 1 - stimulus.luminance)


def test_mirrored_about_the_column_read_out() -> None:
    """A bright column to the right of the cell goes to the left, at the same height."""
    lattice, (u, v) = HexLattice(5), (1, -1)
    luminance = np.full((1, lattice.n_columns), 0.5, np.float32)
    luminance[:, lattice.index(0, 1)] = 1  # two to the right, half a column up or down
    mirrored = CONTROLS["mirrored"](Stimulus("dot", luminance, lattice, u=u, v=v), 0)
    (bright,) = np.flatnonzero(mirrored[0] > 0.5)
    x, y = lattice.picture_coordinates()
    cell, before = lattice.index(u, v), lattice.index(0, 1)
    assert x[bright] - x[cell] == pytest.approx(x[cell] - x[before])
    assert y[bright] == pytest.approx(y[before])


def test_mirrored_about_the_middle_is_the_lattices_mirroring() -> None:
    stimulus = noise(2)
    expected = stimulus.luminance[:, LATTICE.mirroring(1)]
    np.testing.assert_array_equal(CONTROLS["mirrored"](stimulus, 0), expected)


def grating(n_frames: int = 16) -> Stimulus:
    x, _ = LATTICE.picture_coordinates()
    wave = np.sin(x[None] - 2 * np.pi * np.arange(n_frames)[:, None] / 8)
    return Stimulus("grating", (0.5 + 0.2 * wave).astype(np.float32), LATTICE)


def test_scrambled_keeps_contrast_and_frequency_but_not_the_picture() -> None:
    stimulus = grating()
    scrambled = CONTROLS["scrambled"](stimulus, 3)
    assert np.std(scrambled - 0.5) == pytest.approx(np.std(stimulus.luminance - 0.5), rel=0.02)
    assert abs(np.corrcoef(scrambled.ravel(), stimulus.luminance.ravel())[0, 1]) < 0.5
    # All of the grating's power is at 1 cycle in 8 frames; so is that of its phases scrambled.
    power = (np.abs(np.fft.rfft(scrambled - scrambled.mean(0), axis=0)) ** 2).sum(axis=1)
    assert power[2] > 0.95 * power.sum()
    np.testing.assert_array_equal(scrambled, CONTROLS["scrambled"](stimulus, 3))
    assert (scrambled != CONTROLS["scrambled"](stimulus, 4)).any()


def test_grey_scrambled_stays_grey() -> None:
    stimulus = Stimulus("grey", np.full((4, LATTICE.n_columns), 0.5, np.float32), LATTICE)
    np.testing.assert_array_equal(CONTROLS["scrambled"](stimulus, 0), stimulus.luminance)


def test_names_never_take_those_of_other_files() -> None:
    names = [s.name for s in add_controls([dataclasses.replace(noise(1), name="Session")], [])]
    assert names == ["Session-2"]
