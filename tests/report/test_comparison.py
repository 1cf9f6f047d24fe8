"""Tables and figures of networks that are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stimopt.analysis.flyvis_probes import ProbeResponses
from stimopt.analysis.score_card import score_probes
from stimopt.analysis.transfer import TransferMatrix
from stimopt.report import comparison
from stimopt.report.comparison import write_transfer, write_tuning


def test_tuning_is_that_of_the_network_and_of_recorded_types(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T4c prefers ON edges moving up; Mi1 has no direction, and a network is not finite."""
    up = 1 + np.sin(np.radians(30 * np.arange(12)))
    peaks = np.zeros((3, 2, 2, 2, 12))
    peaks[:2, 0, 1] = np.stack([up, 3 * up])  # mean over two speeds: 2 up
    peaks[2] = np.nan
    flashes = np.random.default_rng(0).random((3, 2, 2, 5))
    names = ("a/b", "a b", "c")
    responses = ProbeResponses(("T4c", "Mi1"), names, np.array([5.0, 19.0]), flashes, peaks)
    drawn = []
    original = comparison.plot_tunings
    monkeypatch.setattr(comparison, "plot_tunings", lambda *a: drawn.append(a[1]) or original(*a))
    write_tuning(responses, score_probes(responses), tmp_path)
    files = sorted(path.name for path in (tmp_path / "tuning").iterdir())
    assert files == ["a_b-2.png", "a_b.png"]
    assert [[*tunings] for tunings in drawn] == [["T4c"]] * 2
    on, off, preferred = drawn[0]["T4c"]
    np.testing.assert_allclose(on, 2 * up)
    assert (off == 0).all() and preferred == pytest.approx(90)


def test_what_travels_best_and_who_is_alike_is_said(tmp_path: Path) -> None:
    values = np.zeros((3, 3, 2))
    values[:, :, 0] = [[1.0, 0.8, 0.6], [0.2, 1.0, 0.4], [-0.2, 0.0, 1.0]]
    values[:, :, 1] = np.eye(3)
    matrix = TransferMatrix(("T4c", "R7"), ("a", "b", "c"), values)
    text = write_transfer(matrix, [True, True, False], tmp_path)
    # Means by hand: a drives the others to 0.7 with T4c and to 0 with R7.
    assert "optima of a drive other networks most, to 0.35 of the way" in text
    assert "those of T4c (0.30), least those of R7 (0.00)" in text
    assert "a and b are most alike (0.25 by" in text
    one = TransferMatrix(("T4c",), ("a", "b", "c"), values[:, :, :1])
    text = write_transfer(one, [True] * 3, tmp_path)
    assert "to the ceiling; a and b are most alike" in text
