"""NWB files; the extra `nwb` brings pynwb, and nwbinspector is used where it is installed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from stimopt.export.directions import Eye
from stimopt.export.displays import Arena
from stimopt.export.light import Light
from stimopt.export.nwb import Nwb
from stimopt.export.session import Order, on_rig, write_session
from stimopt.export.stimuli import add_controls
from stimopt.export.timing import Timing
from stimopt.export.view import Rig
from stimopt.protocol import Protocol
from tests.export.cases import noise

START = "2026-05-24T10:00:00+02:00"
RIG = Rig(
    Arena("G4 3x12"), light=Light(16), timing=Timing(grey_before=0.05, grey_after=0), outside="dark"
)


def has_pynwb() -> bool:
    try:
        import pynwb  # noqa: F401
    except ImportError:
        return False
    return True


needs_pynwb = pytest.mark.skipif(not has_pynwb(), reason="the extra nwb (pynwb) is not installed")
# Third-party packages warn of their own future.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "error:.*Using positional arguments for this method is discouraged",
)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    made, order = Nwb(START), Order(repeats=2, pause=0.1)
    shown = on_rig(add_controls([noise(12)], ["reversed"]), RIG, made, Protocol(), order)
    path = write_session(shown, made, tmp_path / "out", order)[0]
    for each in shown:
        np.testing.assert_array_equal(made.read(path, each.stimulus.name), each.levels())
    return path


@needs_pynwb
def test_the_sidecars_name_the_fly() -> None:
    options = Nwb(START, subject="fly-7", sex="F").options()
    assert (options["subject_id"], options["sex"], options["age"]) == ("fly-7", "F", "P3D")
    assert json.loads(json.dumps(options))["start"].startswith(START[:10])


@needs_pynwb
def test_frames_trials_and_columns(session: Path) -> None:
    """Read by h5py alone: which frame was shown when, and where every column looks."""
    with h5py.File(session) as file:
        series = file["stimulus/presentation/presented_frames"]
        assert series["starting_time"].attrs["rate"] == 100.0
        trials = file["intervals/trials"]
        assert len(trials["id"]) == 7  # four of stimuli, three pauses
        assert len(series["data"]) == 4 * 17 + 3 * 10
        start, stop = trials["start_time"][:], trials["stop_time"][:]
        np.testing.assert_allclose(stop[:-1], start[1:])
        frames = file["stimulus/templates/frames"]
        # 12 frames, the same backwards, and grey.
        assert len([name for name in frames if name.startswith("frame_")]) == 13
        columns = file["analysis/columns"]
        assert len(columns["azimuth_deg"]) == 61
        assert file["general/subject/species"][()] == b"Drosophila melanogaster"


@needs_pynwb
def test_the_inspector_finds_nothing(session: Path) -> None:
    nwbinspector = pytest.importorskip("nwbinspector")
    assert [str(message) for message in nwbinspector.inspect_nwbfile(session)] == []


@pytest.mark.skipif(has_pynwb(), reason="pynwb is installed")
def test_the_extra_is_named_where_it_is_missing() -> None:
    with pytest.raises(ValueError, match=r"pip install 'stimopt\[nwb\]'"):
        Nwb()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sex": "female"}, "sex"),
        ({"age": "3 days"}, "age .* got '3 days'; write it as P3D"),
        ({"start": "yesterday"}, "a moment after 1980"),
        ({"start": "2026-05-24T10:00:00"}, "time zone"),
    ],
)
def test_bad_options_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Nwb(**options)


@needs_pynwb
def test_a_file_holds_the_frames_of_its_own_session(tmp_path: Path) -> None:
    """Two sessions laid out before either is written."""
    made, order = Nwb(START), Order()
    sessions = [on_rig([noise(12, seed=seed)], RIG, made, Protocol(), order) for seed in (0, 1)]
    for number, shown in enumerate(sessions):
        (path,) = write_session(shown, made, tmp_path / str(number), order)
        with h5py.File(path) as file:
            names = [n for n in file["stimulus/templates/frames"] if n.startswith("frame_")]
        assert len(names) == 13
        np.testing.assert_array_equal(made.read(path, "noise"), shown[0].levels())


@needs_pynwb
def test_columns_are_listed_for_every_place_of_a_cell(tmp_path: Path) -> None:
    rig = dataclasses.replace(RIG, eye=Eye(azimuth=5.0, elevation=2.0))
    aside = dataclasses.replace(noise(3), name="aside", u=1)
    shown = on_rig([noise(3), aside], rig, Nwb(START), Protocol(), Order())
    (path, _) = write_session(shown, Nwb(START), tmp_path / "out", Order())
    with h5py.File(path) as file:
        for name, (u, v) in (("columns_noise", (0, 0)), ("columns_aside", (1, 0))):
            table = file["analysis"][name]
            column = (table["u"][:] == u) & (table["v"][:] == v)
            place = table["azimuth_deg"][:][column], table["elevation_deg"][:][column]
            np.testing.assert_allclose(place, [[5.0], [2.0]], atol=1e-9)
