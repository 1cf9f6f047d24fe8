"""LED arenas of the Reiser lab: patterns, and the protocol files that play them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from stimopt import expect
from stimopt.export import g4, g6
from stimopt.export.displays import Arena
from stimopt.export.formats import AGAIN, Format, Shown, Trial
from stimopt.export.light import Levels
from stimopt.export.view import Rig
from stimopt.storage.files import reading

PANEL_HZ = {
    **{("G4", 16): 500, ("G4", 2): 1000, ("G4.1", 16): 300, ("G4.1", 2): 1000},
    **{("G6", 16): 300, ("G6", 2): 1200},
}
"""Refresh of the panels by generation and levels, as documented or seen after power-on."""
MAX_PATTERNS = 999


class Panels(Format):
    """What the generations share.

    Args:
        panel_hz: refresh of the panels themselves; None takes `PANEL_HZ`. Patterns advance at
            the rig's `timing.refresh`, which must divide it.
    """

    levels = (16, 2)
    trial_step = 0.1
    row_0 = "bottom"
    generations: tuple[str, ...]
    mode = 2
    """Frames in order at a constant rate; the pattern begins again after the last one, which is
    why trials are filled with grey to whole steps."""

    def __init__(self, panel_hz: float | None = None) -> None:
        expect.number("panel_hz", panel_hz, "None takes the usual one", above=0, optional=True)
        self.panel_hz = panel_hz

    def check(self, rig: Rig, rate: float) -> None:
        """An arena of the generation, and a whole frame rate that divides its refresh."""
        super().check(rig, rate)
        arena = rig.display
        generation = arena.generation if isinstance(arena, Arena) else type(arena).__name__
        names = " or ".join(self.generations)
        advice = "choose such a display"
        expect.that(generation in self.generations, f"an arena of {names}", generation, advice)
        whole = rate == round(rate) and rate <= 32767
        advice = "give a timing.refresh that is a whole number"
        expect.that(whole, "a frame rate of whole Hz", f"{rate:g}", advice)
        refresh = self.panel_hz or PANEL_HZ[generation, rig.light.levels]
        expect.that(
            refresh % rate == 0,
            f"a frame rate that divides the panels' refresh of {refresh:g} Hz",
            f"{rate:g} Hz",
            "give another timing.refresh, or panel_hz if the panels' refresh was set",
        )

    def pattern_name(self, shown: Shown) -> str:
        """File name; controllers number patterns in alphabetical order, from 1."""
        return f"patterns/pat{shown.number:04d}_{shown.stimulus.name}.pat"

    def write(self, shown: Shown, folder: Path) -> Path:
        """The pattern."""
        path = folder / self.pattern_name(shown)
        advice = "export fewer items at once"
        expect.whole("patterns of a session", shown.number, advice, at_most=MAX_PATTERNS)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(self.encode(shown.levels(), shown.rig))
        return path

    def read(self, path: Path, name: str) -> Levels:
        """The pattern, checked in full."""
        with reading(path, "a pattern", AGAIN):
            return self.decode(path.read_bytes())

    def encode(self, levels: Levels, rig: Rig) -> bytes:
        """Bytes of a pattern, row 0 of which is the bottom."""
        raise NotImplementedError

    def decode(self, content: bytes) -> Levels:
        """Levels of its bytes, row 0 on top."""
        raise NotImplementedError

    def play(self, pattern: str, number: int, trial: Trial, rate: float) -> dict[str, Any]:
        """A command of a protocol file."""
        return {
            "type": "controller",
            "pattern": pattern,
            "pattern_ID": number,
            "duration": round(trial.duration, 3),
            "mode": self.mode,
            "frame_rate": round(rate),
            "gain": 0,
        }

    def finished(self, folder: Path, rig: Rig, protocol: dict[str, Any]) -> list[Path]:
        """Write the protocol, and a pattern by which people see whether the rig is upright."""
        paths = [folder / "protocol.yaml", folder / "test_pattern.pat"]
        paths[0].write_text(yaml.safe_dump(protocol, sort_keys=False), encoding="utf-8")
        levels = rig.display.flipped(figure(_arena(rig), rig.light.levels))
        paths[1].write_bytes(self.encode(levels, rig))
        return paths


class G4(Panels):
    """G4 and G4.1.

    Args:
        panel_hz: as for `Panels`.
        header: version of the pattern's header, 1 or 2.
        stretch: of every frame; 1 is what present writers use, what it does is not documented.
    """

    name = "g4"
    generations = ("G4", "G4.1")

    def __init__(self, panel_hz: float | None = None, header: int = 2, stretch: int = 1) -> None:
        super().__init__(panel_hz)
        expect.one_of("header of G4 patterns", header, (1, 2))
        expect.whole("stretch", stretch, "1 is usual", at_most=max(g4.MAX_STRETCH.values()))
        self.header, self.stretch = header, stretch

    def pattern_name(self, shown: Shown) -> str:
        """G4 finds a pattern by its number, G4.1 by its place in the folder of the card."""
        arena = shown.rig.display
        if isinstance(arena, Arena) and arena.generation == "G4":
            return f"Patterns/pat{shown.number:04d}.pat"
        return super().pattern_name(shown)

    def encode(self, levels: Levels, rig: Rig) -> bytes:
        """Bytes of a pattern."""
        arena = _arena(rig)
        return g4.encode(
            levels[:, ::-1],
            rig.light.levels,
            generation=arena.generation,
            arena_id=arena.header_id,
            version=self.header,
            stretch=self.stretch,
        )

    def decode(self, content: bytes) -> Levels:
        """Levels of its bytes."""
        return g4.decode(content)[1][:, ::-1]

    def finish(self, folder: Path, shown: Sequence[Shown], trials: Sequence[Trial]) -> list[Path]:
        """Protocol of version 1, one condition for each trial, in order."""
        by_name = {each.stimulus.name: each for each in shown}
        conditions = []
        for number, trial in enumerate(trials, 1):
            each = by_name[trial.stimulus]
            pattern = Path(self.pattern_name(each)).name
            command = self.play(pattern, each.number, trial, each.plan.rate)
            command |= {"command_name": "startG41Trial", "frame_index": 1}
            conditions.append({"id": f"{number:04d}_{trial.stimulus}", "commands": [command]})
        rows, columns, _ = _arena(shown[0].rig).panels
        protocol = {
            "version": 1,
            "experiment_info": {"name": "stimopt"},
            "arena_info": {
                "num_rows": rows,
                "num_cols": columns,
                "generation": _arena(shown[0].rig).generation,
            },
            "experiment_structure": {"repetitions": 1, "randomization": {"enabled": False}},
            "pretrial": {"include": False},
            "block": {"conditions": conditions},
            "intertrial": {"include": False},
            "posttrial": {"include": False},
        }
        return self.finished(folder, shown[0].rig, protocol)


class G6(Panels):
    """G6.

    Args:
        panel_hz: as for `Panels`.
        duty: brightness of the panels, 0 to 255.
        ring_mask: name the full ring in the header, with the panels that are there in its first
            columns. The format's document wants that, its writers name those that are there.
        rig_file: path of the rig's file on the computer that plays the session.
    """

    name = "g6"
    generations = ("G6",)

    def __init__(
        self,
        panel_hz: float | None = None,
        duty: int = 128,
        ring_mask: bool = False,
        rig_file: str = "./configs/rigs/cshl_g6_2x10.yaml",
    ) -> None:
        super().__init__(panel_hz)
        expect.whole("duty", duty, "128 is usual, 1 shows nothing visible", at_most=255)
        self.duty, self.ring_mask, self.rig_file = duty, ring_mask, rig_file

    def pattern_name(self, shown: Shown) -> str:
        """A number in front keeps the alphabetical order."""
        return f"patterns/{shown.number:03d}_{shown.stimulus.name}.pat"

    def encode(self, levels: Levels, rig: Rig) -> bytes:
        """Bytes of a pattern."""
        arena = _arena(rig)
        return g6.encode(
            levels[:, ::-1],
            rig.light.levels,
            arena_id=arena.header_id,
            duty=self.duty,
            ring=arena.panels[2] if self.ring_mask else None,
        )

    def decode(self, content: bytes) -> Levels:
        """Levels of its bytes."""
        return g6.decode(content)[1][:, ::-1]

    def finish(self, folder: Path, shown: Sequence[Shown], trials: Sequence[Trial]) -> list[Path]:
        """Protocol of version 3, one condition for each stimulus, and their order."""
        lasting = {trial.stimulus: trial for trial in trials}
        conditions = []
        for each in shown:
            trial = lasting[each.stimulus.name]
            command = self.play(trial.stimulus, each.number, trial, each.plan.rate)
            command |= {"command_name": "trialParams", "frame_index": 0, "duty": max(self.duty, 1)}
            # The first command does not wait for the pattern to end.
            wait = {"type": "wait", "duration": command["duration"]}
            conditions.append({"name": trial.stimulus, "commands": [command, wait]})
        protocol = {
            "version": 3,
            "experiment_info": {"name": "stimopt"},
            "rig": self.rig_file,
            "experiment": [trial.stimulus for trial in trials],
            "conditions": conditions,
        }
        return self.finished(folder, shown[0].rig, protocol)


def figure(arena: Arena, levels: int) -> Levels:
    """A test pattern of one frame that looks different however it is turned: a letter F.

    It tells whether a rig shows pictures upright: the F stands straight ahead, its arms to the
    right, the longer one on top.
    """
    rows, columns = arena.shape
    row, column = np.mgrid[:rows, :columns]
    front = columns / 2 if arena.front is None else arena.front
    size = rows / 8
    across, down = (column + 0.5 - front) / size, (row + 0.5) / size
    stem = (across >= -2) & (across < -1) & (down >= 1) & (down < 7)
    top = (across >= -2) & (across < 2) & (down >= 1) & (down < 2)
    middle = (across >= -2) & (across < 1) & (down >= 3.5) & (down < 4.5)
    drawn: Levels = ((stem | top | middle) * (levels - 1)).astype(np.uint8)[None]
    return drawn


def _arena(rig: Rig) -> Arena:
    assert isinstance(rig.display, Arena)
    return rig.display
