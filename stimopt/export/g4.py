"""Pattern files (`.pat`) of G4 and G4.1 LED arenas, written from and read to arrays.

Frames here are as the files have them, `(frames, rows, columns)` with row 0 at the bottom.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stimopt import expect
from stimopt.export.directions import Array
from stimopt.export.displays import PIXELS
from stimopt.export.formats import Shown, Trial
from stimopt.export.panels import Panels, arena_of, check_frames, pack, unpack
from stimopt.export.view import Rig
from stimopt.storage.files import BadFile

SIDE = PIXELS["G4"]
_GENERATION_IDS = {"unspecified": 0, "G4": 2, "G4.1": 3}
_DATA_BYTES = {16: 32, 2: 8}
"""Of a quarter of a panel, by the number of levels."""
MAX_STRETCH = {16: 20, 2: 107}


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
        expect.whole("stretch", stretch, "1 is usual", at_most=max(MAX_STRETCH.values()))
        self.header, self.stretch = header, stretch

    def pattern_name(self, shown: Shown) -> str:
        """G4 finds a pattern by its number, G4.1 by its place in the folder of the card."""
        if arena_of(shown.rig).generation == "G4":
            return f"Patterns/pat{shown.number:04d}.pat"
        return f"patterns/pat{shown.number:04d}_{shown.stimulus.name}.pat"

    def encode(self, frames: Array, rig: Rig) -> bytes:
        """Bytes of a pattern."""
        return encode(
            frames,
            rig.light.levels,
            generation=arena_of(rig).generation,
            arena_id=arena_of(rig).header_id,
            version=self.header,
            stretch=self.stretch,
        )

    def decode(self, content: bytes) -> Array:
        """Frames of its bytes."""
        return decode(content)[1]

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
        arena = arena_of(shown[0].rig)
        rows, columns, _ = arena.panels
        left_out = {"include": False}
        protocol = {
            "version": 1,
            "experiment_info": {"name": "stimopt"},
            "arena_info": {"num_rows": rows, "num_cols": columns, "generation": arena.generation},
            "experiment_structure": {"repetitions": 1, "randomization": {"enabled": False}},
            "pretrial": {**left_out},
            "block": {"conditions": conditions},
            "intertrial": {**left_out},
            "posttrial": {**left_out},
        }
        return self.finished(folder, shown[0].rig, protocol)


class Header(NamedTuple):
    """What stands before the frames; a V1 file has neither generation nor arena."""

    n_frames: int
    levels: int
    rows: int
    columns: int
    generation: str = "unspecified"
    arena_id: int = 0
    version: int = 2


def encode(
    frames: Array,
    levels: int = 16,
    *,
    generation: str = "G4",
    arena_id: int = 0,
    version: int = 2,
    stretch: int = 1,
) -> bytes:
    """A file of frames.

    Args:
        frames: levels `(frames, rows, columns)`, row 0 at the bottom.
        levels: 16 or 2.
        generation: `G4` or `G4.1`; a V1 file does not hold it.
        arena_id: 0 is unspecified.
        version: of the header, 1 or 2.
        stretch: of every frame; both present writers use 1, what it does to light is open.

    Raises:
        ValueError: for numbers that the format cannot hold.
    """
    n, rows, columns = check_frames(frames, levels, SIDE)
    expect.one_of("generation of G4 patterns", generation, _GENERATION_IDS)
    expect.one_of("version of the header", version, (1, 2))
    expect.whole("arena_id", arena_id, "0 is unspecified", at_most=255)
    expect.whole("stretch", stretch, "1 is usual", at_most=MAX_STRETCH[levels])
    second = bytes([0x80 + 16 * _GENERATION_IDS[generation], arena_id])
    second = struct.pack("<H", 1) if version == 1 else second
    header = struct.pack("<H", n) + second + bytes([levels, rows, columns])
    body = np.empty((n, rows, 4, 1 + columns * (1 + _DATA_BYTES[levels])), np.uint8)
    # The controller addresses rows of panels by this byte; with 0 the display is garbled.
    body[..., 0] = np.arange(1, rows + 1)[None, :, None]
    # The lowest bit names 16 levels; without it the display is garbled too.
    body[..., 1 : 1 + columns] = 2 * stretch + (levels == 16)
    # The bytes of the panels interleave: byte d of every panel, then byte d + 1.
    data = np.moveaxis(_quarters(frames, levels), 3, 4)
    body[..., 1 + columns :] = data.reshape(n, rows, 4, -1)
    return header + body.tobytes()


def decode(content: bytes) -> tuple[Header, Array]:
    """Header and frames of a file; also what a display needs and software does not.

    Raises:
        BadFile: for a wrong length, row byte, grey-scale flag, level or header.
    """
    _require(len(content) >= 7, "a header", f"{len(content)} bytes")
    x, y_low, y_high, levels, rows, columns = struct.unpack("<HBBBBB", content[:7])
    header = Header(x, levels, rows, columns, version=1)
    if y_low >= 0x80:
        known = {0x80 + 16 * number: name for name, number in _GENERATION_IDS.items()}
        _require(y_low in known, "a G4 or G4.1 pattern", f"generation byte {y_low:#x}")
        header = header._replace(generation=known[y_low], arena_id=y_high, version=2)
    else:
        header = header._replace(n_frames=x * (y_low + 256 * y_high))
    _require(levels in _DATA_BYTES, "2 or 16 levels", str(levels))
    size = 4 * rows * (1 + columns * (1 + _DATA_BYTES[levels]))
    expected = 7 + header.n_frames * size
    ok = header.n_frames * size > 0 and len(content) == expected
    _require(ok, f"{expected} bytes, more than a header,", str(len(content)))
    body = np.frombuffer(content, np.uint8, offset=7).reshape(header.n_frames, rows, 4, -1)
    wrong = np.flatnonzero((body[..., 0] != np.arange(1, rows + 1)[None, :, None]).ravel())
    _require(not len(wrong), "row bytes that count panel rows from 1", f"{len(wrong)} others")
    commands = body[..., 1 : 1 + columns]
    flags = (commands & 1) == (levels == 16)
    _require(flags.all(), f"a command byte for {levels} levels at every panel", "another")
    data = body[..., 1 + columns :].reshape(*body.shape[:3], _DATA_BYTES[levels], columns)
    return header, _frames(np.moveaxis(data, 4, 3), levels)


def _quarters(frames: Array, levels: int) -> Array:
    """Data `(frames, panel rows, quarters, panel columns, bytes)` of frames.

    Quarters are top left, bottom left, top right, bottom right; rows go down, columns right.
    """
    n, height, width = frames.shape
    rows, columns = height // SIDE, width // SIDE
    halves = frames.reshape(n, rows, 2, 8, columns, 2, 8)[:, :, ::-1, ::-1]
    pixels = halves.transpose(0, 1, 5, 2, 4, 3, 6).reshape(n, rows, 4, columns, 64)
    return pack(pixels, levels, "little")


def _frames(data: Array, levels: int) -> Array:
    """The inverse of `_quarters`."""
    n, rows, _, columns, _ = data.shape
    pixels = unpack(data, levels, "little").reshape(n, rows, 2, 2, columns, 8, 8)
    halves = pixels.transpose(0, 1, 3, 5, 4, 2, 6)[:, :, ::-1, ::-1]
    return np.asarray(halves.reshape(n, rows * SIDE, columns * SIDE))


def _require(ok: Any, expected: str, got: str) -> None:
    expect.that(ok, f"a G4 pattern with {expected}", got, "write it again", BadFile)
