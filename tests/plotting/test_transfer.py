"""Pictures of transfer matrices show the numbers passed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from stimopt.plotting import Figure
from stimopt.plotting.transfer import plot_consensus, plot_transfer, plot_transfers

NAMES = ["flow/0000/000", "flow/0000/001", "flow/0000/002"]


def test_one_type_shows_every_number_and_name() -> None:
    values = np.array([[1.0, 0.25, -0.5], [0.0, 1.0, 0.0], [0.1, 0.2, 1.0]])
    ax = Figure().add_subplot()
    image = plot_transfer(ax, values, NAMES, "T4c")
    np.testing.assert_array_equal(image.get_array(), values)
    assert image.get_clim() == (-1, 1)
    at = {text.get_position(): text.get_text() for text in ax.texts}
    assert at[(1, 0)] == "0.25"
    assert at[(2, 0)] == "\N{MINUS SIGN}0.50"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["000", "001", "002"]
    assert ax.get_ylabel() == "made for" and ax.get_xlabel() == "shown to"


def test_all_types_stand_in_order_of_generality() -> None:
    values = np.zeros((2, 2, 3))
    values[0, 1], values[1, 0] = [0.1, 0.9, 0.5], [0.3, 0.7, 0.5]
    figure = plot_transfers(values, NAMES[:2], ["A", "B", "C"], columns=2)
    drawn = [ax for ax in figure.axes if ax.images and ax.get_title()]
    assert [ax.get_title() for ax in drawn] == ["B  0.800", "C  0.500", "A  0.200"]
    np.testing.assert_array_equal(drawn[0].images[0].get_array(), values[:, :, 1])
    # Names stand at the first matrix of each row, and below the lowest of each column.
    named = [
        [[text.get_text() for text in axis.get_ticklabels()] for axis in (ax.yaxis, ax.xaxis)]
        for ax in drawn
    ]
    short = ["000", "001"]
    assert named == [[short, []], [[], short], [short, short]]
    many = plot_transfers(np.zeros((50, 50, 1)), [f"flow/{i}" for i in range(50)], ["A"])
    assert "(50, in the order passed)" in many.get_supxlabel().replace("\n", " ")


@pytest.mark.parametrize("names", [NAMES, [*NAMES[:2], "flow/0000/002 (not stable)"]])
@pytest.mark.parametrize("cell_types", [["C3"], ["C3", "T5b"]])
def test_small_figures_have_room_for_all_text(
    names: list[str], cell_types: list[str], illegible: Callable[[Figure], list[str]]
) -> None:
    values = np.zeros((3, 3, len(cell_types)))
    assert illegible(plot_transfers(values, names, cell_types)) == []


def test_a_consensus_stands_against_single_optima() -> None:
    types, left_out = ["A", "B", "A"], [NAMES[0], NAMES[0], NAMES[1]]
    figure = plot_consensus([0.9, 0.4, 0.7], [0.6, 0.5, 0.8], types, left_out)
    against, gain = figure.axes
    first, second, diagonal = against.lines
    np.testing.assert_allclose(first.get_xydata(), [[0.6, 0.9], [0.5, 0.4]])
    np.testing.assert_allclose(second.get_xydata(), [[0.8, 0.7]])
    np.testing.assert_allclose(diagonal.get_xydata(), [[0.4, 0.4], [0.9, 0.9]])
    legend = against.get_legend()
    assert legend is not None and [t.get_text() for t in legend.get_texts()] == ["000", "001"]
    np.testing.assert_allclose(gain.lines[0].get_xydata(), [[0.3, 0], [-0.1, 1]])
    np.testing.assert_allclose([bar.get_width() for bar in gain.patches], [0.1, -0.1])
    assert [label.get_text() for label in gain.get_yticklabels()] == ["A", "B"]


def test_rejects_matrices_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"^expected a transfer matrix \(3, 3\), got \(2, 3\); "):
        plot_transfer(Figure().add_subplot(), np.zeros((2, 3)), NAMES)
    with pytest.raises(ValueError, match=r"^expected transfer matrices \(3, 3, 2\)"):
        plot_transfers(np.zeros((3, 3, 1)), NAMES, ["A", "B"])
    with pytest.raises(ValueError, match=r"^expected responses of networks left out, got none; "):
        plot_consensus([], [], [], [])
    with pytest.raises(ValueError, match=r"^expected single \(2\), got \(1,\); "):
        plot_consensus([0.1, 0.2], [0.1], ["A", "B"], NAMES[:2])
