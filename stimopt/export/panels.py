"""What the LED arenas of the Reiser lab share: patterns, and the protocol that plays them."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from stimopt import expect
from stimopt.export.directions import Array
from stimopt.export.displays import PIXELS, Arena
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
MAX_FRAMES = 65_535


class Panels(Format):
    """Patterns of an arena.

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
        display = rig.display
        generation = display.generation if isinstance(display, Arena) else type(display).__name__
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

    def write(self, shown: Shown, folder: Path) -> Path:
        """The pattern."""
        path = folder / self.pattern_name(shown)
        advice = "export fewer items at once"
        expect.whole("patterns of a session", shown.number, advice, at_most=MAX_PATTERNS)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(self.encode(shown.levels()[:, ::-1], shown.rig))
        return path

    def read(self, path: Path, name: str) -> Levels:
        """The pattern, checked in full."""
        with reading(path, "a pattern", AGAIN):
            return self.decode(path.read_bytes())[:, ::-1]

    @abstractmethod
    def pattern_name(self, shown: Shown) -> str:
        """Name of its file in the folder of the session."""

    @abstractmethod
    def encode(self, frames: Array, rig: Rig) -> bytes:
        """Bytes of a pattern, from frames whose row 0 is the bottom."""

    @abstractmethod
    def decode(self, content: bytes) -> Array:
        """Frames of its bytes, row 0 at the bottom."""

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
        levels = rig.display.flipped(figure(arena_of(rig), rig.light.levels))
        paths[1].write_bytes(self.encode(levels[:, ::-1], rig))
        return paths


def arena_of(rig: Rig) -> Arena:
    """The display of a rig that was checked."""
    assert isinstance(rig.display, Arena)
    return rig.display


def figure(arena: Arena, levels: int) -> Levels:
    """A test pattern of one frame that looks different however it is turned: a letter F.

    It tells whether a rig shows pictures upright: the F stands straight ahead, its arms to the
    right, the longer one on top.
    """
    rows, columns = arena.shape
    row, column = np.mgrid[:rows, :columns]
    front = columns / 2 if arena.front is None else arena.front
    ring, size = arena.panels[2] * PIXELS[arena.generation], rows / 8
    right = (column + 0.5 - front + ring / 2) % ring - ring / 2  # the shorter way around
    across, down = right / size, (row + 0.5) / size
    stem = (across >= -2) & (across < -1) & (down >= 1) & (down < 7)
    top = (across >= -2) & (across < 2) & (down >= 1) & (down < 2)
    middle = (across >= -2) & (across < 1) & (down >= 3.5) & (down < 4.5)
    drawn: Levels = ((stem | top | middle) * (levels - 1)).astype(np.uint8)[None]
    return drawn


def check_frames(frames: Array, levels: int, side: int) -> tuple[int, int, int]:
    """Refuse frames that are not levels of whole panels, or too many.

    Args:
        frames: `(frames, rows, columns)`.
        levels: 16 or 2.
        side: pixels along the side of a panel.

    Returns:
        Frames, rows of panels and columns of panels.
    """
    expect.one_of("levels of a pattern", levels, Panels.levels)
    whole = frames.ndim == 3 and not frames.shape[1] % side and not frames.shape[2] % side
    ok = whole and 0 < frames.shape[1] <= 255 * side and 0 < frames.shape[2] <= 255 * side
    panels = f"frames of whole panels of {side} x {side} pixels"
    expect.that(ok, panels, frames.shape, "draw them for the arena")
    advice = "split the stimulus, or lower its frame rate"
    expect.whole("frames of a pattern", len(frames), advice, at_least=1, at_most=MAX_FRAMES)
    expect.within("levels of a frame", frames, 0, levels - 1, "encode the luminance first")
    return len(frames), frames.shape[1] // side, frames.shape[2] // side


def pack(pixels: Array, levels: int, order: Literal["little", "big"]) -> Array:
    """Bytes of pixels along the last axis: eight in one of 2 levels, two in one of 16.

    Args:
        pixels: uint8 `(..., pixels)`.
        levels: 2 or 16.
        order: the first pixel of a byte is in its low bits (`little`) or in its high ones.
    """
    if levels == 2:
        return np.asarray(np.packbits(pixels, axis=-1, bitorder=order))
    low, high = (pixels[..., 0 if order == part else 1 :: 2] for part in ("little", "big"))
    return np.asarray(low | high << 4)


def unpack(data: Array, levels: int, order: Literal["little", "big"]) -> Array:
    """The inverse of `pack`."""
    if levels == 2:
        return np.asarray(np.unpackbits(data, axis=-1, bitorder=order))
    nibbles = (data & 15, data >> 4)[:: 1 if order == "little" else -1]
    return np.stack(nibbles, axis=-1).reshape(*data.shape[:-1], -1)
