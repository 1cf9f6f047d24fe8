"""Sessions: order, sidecars, and folders that are there whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml

from stimopt.export.directions import Eye
from stimopt.export.displays import Arena, Sphere
from stimopt.export.formats import Format, Npz, Shown
from stimopt.export.g4 import G4
from stimopt.export.g6 import G6
from stimopt.export.light import Light
from stimopt.export.session import Order, on_rig, write_session
from stimopt.export.stimuli import add_controls
from stimopt.export.timing import Timing
from stimopt.export.view import Rig
from stimopt.lattice import HexLattice
from stimopt.protocol import Protocol
from tests.export.cases import noise

SMALL = Sphere(width_deg=60, width_px=20, height_px=18)
RIG = Rig(SMALL, timing=Timing(grey_before=0.05, grey_after=0.0), outside="dark")


def shown_in(order: Order, made: Format | None = None, rig: Rig = RIG) -> list[Shown]:
    stimuli = add_controls([noise(12)], ["reversed", "grey"])
    return on_rig(stimuli, rig, made or Npz(), Protocol(), order)


def session_of(tmp_path: Path, order: Order) -> dict:
    write_session(shown_in(order), Npz(), tmp_path / "out", order)
    return json.loads((tmp_path / "out" / "session.json").read_text())


def test_every_repeat_is_a_random_order_of_all() -> None:
    names = ["a", "b", "c", "d", "e"]
    order = Order(repeats=4, seed=3).names(names)
    blocks = [order[i : i + 5] for i in range(0, 20, 5)]
    assert all(sorted(block) == names for block in blocks)
    assert len({tuple(block) for block in blocks}) > 1
    assert order == Order(repeats=4, seed=3).names(names) != Order(repeats=4, seed=4).names(names)
    assert Order(repeats=2, shuffle=False).names(names) == names * 2


def test_trials_follow_each_other_with_pauses_between(tmp_path: Path) -> None:
    session = session_of(tmp_path, Order(repeats=2, pause=0.3, shuffle=False))
    trials = session["trials"]
    played = ["noise", "noise_reversed", "grey"] * 2
    assert [t["stimulus"] for t in trials] == [x for p in played for x in ("pause", p)][1:]
    assert [t["duration"] for t in trials[:3]] == [0.17, 0.3, 0.17]
    ends = [t["start"] + t["duration"] for t in trials]
    np.testing.assert_allclose(ends[:-1], [t["start"] for t in trials[1:]], atol=1e-6)
    with np.load(tmp_path / "out" / "pause.npz") as archive:
        assert (archive["luminance"] == 0.5).all() and len(archive["luminance"]) == 30


def test_a_sidecar_says_what_is_in_the_file(tmp_path: Path) -> None:
    (shown,) = on_rig([noise(12)], RIG, Npz(), Protocol(), Order())
    (path,) = write_session([shown], Npz(), tmp_path / "out", Order(), provenance={"result": "r"})
    card = json.loads((tmp_path / "out" / "noise.json").read_text())
    assert card["file"] == "noise.npz"
    assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert card["row_0"] == "top" and card["eye"]["reading"] == "flyvis"
    assert card["light"]["gamma"] == 1 and card["light"]["white_level"] == 254
    assert card["timing"]["refresh_hz"] == 100
    assert card["timing"]["refreshes_of_grey_before"] == 5
    assert card["display"]["class"] == "Sphere" and card["provenance"]["result"] == "r"
    assert card["columns_outside_the_display"] == 0
    assert card["columns"]["u"] == shown.stimulus.lattice.u.tolist()
    session = json.loads((tmp_path / "out" / "session.json").read_text())
    assert session["stimuli"]["noise"]["sha256"] == card["sha256"]


def test_a_sidecar_repeats_the_options_of_the_format(tmp_path: Path) -> None:
    rig = dataclasses.replace(RIG, display=Arena("G6 2x8of10"), light=Light(16))
    made = G6(panel_hz=400, duty=90, ring_mask=True, rig_file="rig.yaml")
    write_session(shown_in(Order(), made, rig), made, tmp_path / "out", Order())
    card = json.loads((tmp_path / "out" / "noise.json").read_text())
    options = {"panel_hz": 400, "duty": 90, "ring_mask": True, "rig_file": "rig.yaml"}
    assert card["format_options"] == options and card["outside"] == "dark"
    write_session(shown_in(Order()), Npz(), tmp_path / "arrays", Order())
    session = json.loads((tmp_path / "arrays" / "session.json").read_text())
    assert session["stimuli"]["noise"]["format_options"] == {}


def test_pauses_of_an_arena_are_patterns_of_grey(tmp_path: Path) -> None:
    rig = dataclasses.replace(RIG, display=Arena("G4.1 2x12"), light=Light(16))
    order = Order(pause=0.25, shuffle=False)
    paths = write_session(shown_in(order, G4(), rig), G4(), tmp_path / "out", order)
    assert [p.name for p in paths] == [
        "pat0001_noise.pat", "pat0002_noise_reversed.pat", "pat0003_grey.pat", "pat0004_pause.pat",
    ]  # fmt: skip
    assert [p.name for p in sorted(paths[0].parent.iterdir())] == [p.name for p in paths]
    conditions = yaml.safe_load((tmp_path / "out" / "protocol.yaml").read_text())["block"]
    commands = [each["commands"][0] for each in conditions["conditions"]]
    assert [c["pattern_ID"] for c in commands] == [1, 4, 2, 4, 3]
    assert [c["duration"] for c in commands] == [0.2, 0.3, 0.2, 0.3, 0.2]  # steps of 100 ms
    assert len({each["id"] for each in conditions["conditions"]}) == 5


def test_an_output_that_exists_is_left_alone(tmp_path: Path) -> None:
    out, order = tmp_path / "out", Order()
    out.mkdir()
    write_session(shown_in(order), Npz(), out, order)  # an empty folder is taken
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(ValueError, match="an output that is new"):
        write_session(shown_in(order), Npz(), out, order)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    write_session(shown_in(order)[:1], Npz(), out, order, overwrite=True)
    assert not (out / "grey.npz").exists()


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="not one of an earlier session"):
        write_session(shown_in(Order()), Npz(), tmp_path, Order(), overwrite=True)
    file = tmp_path / "thesis.txt"
    with pytest.raises(ValueError, match="an output that is new"):
        write_session(shown_in(Order()), Npz(), file, Order(), overwrite=True)
    assert file.read_text() == "years of work"


class FailsLate(Npz):
    """Writes one file, and then has no more space."""

    def write(self, shown: Shown, folder: Path) -> Path:
        if shown.number > 1:
            raise OSError(28, "No space left on device")
        return super().write(shown, folder)


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_session(shown_in(Order()), Npz(), out, Order())
    before = sorted(p.name for p in out.iterdir())
    with pytest.raises(OSError, match=r"expected .* to be written whole, got No space"):
        write_session(shown_in(Order()), FailsLate(), out, Order(), overwrite=True)
    assert sorted(p.name for p in out.iterdir()) == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_items_of_other_columns_have_their_own_place(tmp_path: Path) -> None:
    rig = dataclasses.replace(RIG, eye=Eye(azimuth=5, elevation=2))
    stimuli = [noise(3), dataclasses.replace(noise(3), name="aside", u=1, v=0)]
    shown = on_rig(stimuli, rig, Npz(), Protocol(), Order())
    for each, (u, v) in zip(shown, [(0, 0), (1, 0)], strict=True):
        column = int(each.stimulus.lattice.index(u, v))
        directions = each.directions()
        place = directions["azimuth_deg"][column], directions["elevation_deg"][column]
        assert place == pytest.approx((5, 2), abs=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"repeats": 0}, "repeats"), ({"pause": -1}, "pause"), ({"seed": 0.5}, "seed")],
)
def test_bad_options_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Order(**options)


def test_an_interruption_keeps_the_earlier_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the moment the earlier folder goes and the one when the new one comes."""
    out, rename = tmp_path / "out", Path.replace
    write_session(shown_in(Order()), Npz(), out, Order())
    before = {p.name: p.read_bytes() for p in out.iterdir()}

    def interrupted(self: Path, target: Path) -> Path:
        if ".part-" in self.name:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_session(shown_in(Order())[:1], Npz(), out, Order(), overwrite=True)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_run_left_is_no_obstacle(tmp_path: Path) -> None:
    """In containers a run has the number of the one before."""
    for _ in range(2):
        for what in ("part", "old"):
            left = tmp_path / f".out.{what}-{os.getpid()}"
            left.mkdir()
            (left / "noise.npz").write_bytes(b"half")
        write_session(shown_in(Order()), Npz(), tmp_path / "out", Order(), overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_stimuli_of_one_name_have_files_of_their_own(tmp_path: Path) -> None:
    """Such as items of two results that were chosen one after the other."""
    shown = on_rig([noise(12), noise(9, seed=1)], RIG, Npz(), Protocol(), Order())
    paths = write_session(shown, Npz(), tmp_path / "out", Order())
    assert [path.name for path in paths] == ["noise.npz", "noise-2.npz"]
    for path, each in zip(paths, shown, strict=True):
        np.testing.assert_array_equal(Npz().read(path, ""), each.levels())


def test_a_pause_of_minutes_takes_no_memory_of_its_square() -> None:
    *_, pause = shown_in(Order(pause=600.0))
    assert pause.plan.total == 60_000 and pause.plan.shown.nbytes < 10_000_000
    assert (pause.luminance() == 0.5).all()


def test_only_a_pause_is_played_between_trials(tmp_path: Path) -> None:
    """Stimuli that were laid out without the pause of the order have none."""
    write_session(shown_in(Order()), Npz(), tmp_path / "out", Order(pause=0.1, shuffle=False))
    session = json.loads((tmp_path / "out" / "session.json").read_text())
    assert [t["stimulus"] for t in session["trials"]] == ["noise", "noise_reversed", "grey"]


def test_stimuli_of_two_lattices_are_each_drawn_on_their_own() -> None:
    pair = [noise(2, HexLattice(3)), noise(2, HexLattice(4))]
    together = on_rig(pair, RIG, Npz(), Protocol(), Order())
    for stimulus, shown in zip(pair, together, strict=True):
        (alone,) = on_rig([stimulus], RIG, Npz(), Protocol(), Order())
        np.testing.assert_array_equal(shown.levels(), alone.levels())


@pytest.mark.skipif(os.name == "nt", reason="Windows wants a privilege for links")
def test_a_link_to_another_disk_stays_a_link(tmp_path: Path) -> None:
    disk, out = tmp_path / "disk", tmp_path / "out"
    disk.mkdir()
    out.symlink_to(disk)
    for shown in (shown_in(Order()), shown_in(Order())[:1]):
        write_session(shown, Npz(), out, Order(), overwrite=True)
        assert out.is_symlink() and (disk / "session.json").is_file()
    assert not (disk / "grey.npz").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["disk", "out"]
