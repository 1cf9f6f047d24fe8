"""Pattern files (`.pat`, version 2) of G6 LED arenas, written from and read to arrays.

Frames here are as the files have them, `(frames, rows, columns)` with row 0 at the bottom.
Header and frames carry checksums and panels a parity bit; files without them are refused.
"""

from __future__ import annotations

import binascii
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

SIDE = PIXELS["G6"]
MAX_PANELS = 48
_DUTY = 128
_COMMANDS = {2: 0x10, 16: 0x30}
_DATA_BYTES = {2: 50, 16: 200}
_MAGIC, _FRAME = b"G6PT", b"FR"
_HEADER_BYTES = 18


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
        duty: int = _DUTY,
        ring_mask: bool = False,
        rig_file: str = "./configs/rigs/cshl_g6_2x10.yaml",
    ) -> None:
        super().__init__(panel_hz)
        _check_duty(duty)
        self.duty, self.ring_mask, self.rig_file = duty, ring_mask, rig_file

    def pattern_name(self, shown: Shown) -> str:
        """A number in front keeps the alphabetical order, by which controllers number patterns."""
        return f"patterns/{shown.number:03d}_{shown.stimulus.name}.pat"

    def encode(self, frames: Array, rig: Rig) -> bytes:
        """Bytes of a pattern."""
        arena = arena_of(rig)
        ring = arena.panels[2] if self.ring_mask else None
        levels, number = rig.light.levels, arena.header_id
        return encode(frames, levels, arena_id=number, duty=self.duty, ring=ring)

    def decode(self, content: bytes) -> Array:
        """Frames of its bytes."""
        return decode(content)[1]

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


class Header(NamedTuple):
    """What stands before the frames; `panels` tells which of a ring are there."""

    n_frames: int
    levels: int
    arena_id: int
    panels: Array


def crc8(content: bytes) -> int:
    """CRC-8/AUTOSAR: polynomial 0x2F, start and final xor 0xFF."""
    crc = 0xFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ (0x2F if crc & 0x80 else 0)) & 0xFF
    return crc ^ 0xFF


def crc16(content: bytes) -> int:
    """CRC-16/CCITT-FALSE: polynomial 0x1021, start 0xFFFF."""
    return binascii.crc_hqx(content, 0xFFFF)


def encode(
    frames: Array,
    levels: int = 16,
    *,
    arena_id: int = 0,
    duty: int = _DUTY,
    ring: int | None = None,
) -> bytes:
    """A file of frames.

    Args:
        frames: levels `(frames, rows, columns)`, row 0 at the bottom.
        levels: 16 or 2.
        arena_id: 0 is unspecified.
        duty: brightness of all panels, 0 dark to 255 full.
        ring: panels of a full ring that the header is to name, with the ones that are there, in
            its first columns, in the mask; None names those that are there, as both writers do.

    Raises:
        ValueError: for numbers that the format cannot hold.
    """
    n, rows, columns = check_frames(frames, levels, SIDE)
    expect.whole("arena_id", arena_id, "0 is unspecified", at_most=63)
    _check_duty(duty)
    wide = columns if ring is None else ring
    ok = columns <= wide and rows * wide <= MAX_PANELS
    advice = "name a smaller ring"
    expect.that(ok, f"at most {MAX_PANELS} panels", f"{rows} x {wide}", advice)
    there = np.tile(np.arange(wide) < columns, (rows, 1))
    mask = np.packbits(there.ravel(), bitorder="little").tobytes().ljust(6, b"\0")
    header = _MAGIC + bytes([0x20 + (arena_id >> 2), (arena_id & 3) << 6])
    header += struct.pack("<HBBB", n, rows, wide, 1 if levels == 2 else 2) + mask
    blocks = np.zeros((n, rows, wide, 3 + _DATA_BYTES[levels]), np.uint8)
    blocks[..., 0], blocks[..., 1], blocks[..., -1] = 1, _COMMANDS[levels], duty
    blocks[:, :, :columns, 2:-1] = _data(frames, levels)
    blocks[..., 0] |= _parity(blocks) << 7
    parts = [header, bytes([crc8(header)])]
    for number, block in enumerate(blocks):
        frame = _FRAME + struct.pack("<H", number) + block.tobytes()
        parts += [frame, struct.pack("<H", crc16(frame))]
    return b"".join(parts)


def decode(content: bytes) -> tuple[Header, Array]:
    """Header and frames of a file, `(frames, rows, columns)` of the panels that are there.

    Raises:
        BadFile: for a wrong length, checksum, parity, number or command.
    """
    _require(len(content) > _HEADER_BYTES, "a header", f"{len(content)} bytes")
    _require(content[:4] == _MAGIC, "G6PT at its start", repr(content[:4]))
    head = content[: _HEADER_BYTES - 1]
    _require(head[4] >> 4 == 2, "version 2", f"version {head[4] >> 4}")
    _require(content[17] == crc8(head), f"CRC-8 {crc8(head):#04x}", f"{content[17]:#04x}")
    n, rows, columns, mode = struct.unpack("<HBBB", head[6:11])
    _require(mode in (1, 2), "2 or 16 levels", f"mode {mode}")
    levels, panels = (2, 16)[mode - 1], rows * columns
    _require(n > 0 and 0 < panels <= MAX_PANELS, "frames and panels", f"{n} and {panels}")
    bits = np.unpackbits(np.frombuffer(head[11:17], np.uint8), bitorder="little").astype(bool)
    there = bits[:panels].reshape(rows, columns)
    used = int(there[0].sum())
    same = (there == (np.arange(columns) < used)).all() and used and not bits[panels:].any()
    _require(same, "panels in the first columns of every row", str(there.astype(int).tolist()))
    size = 6 + panels * (3 + _DATA_BYTES[levels])
    wanted = _HEADER_BYTES + n * size
    _require(len(content) == wanted, f"{wanted} bytes", str(len(content)))
    body = np.frombuffer(content, np.uint8, offset=_HEADER_BYTES).reshape(n, size)
    for number, frame in enumerate(body):
        whole = frame.tobytes()
        start = _FRAME + struct.pack("<H", number)
        _require(whole[:4] == start, f"frame {number} in its place", repr(whole[:4]))
        crc, stored = crc16(whole[:-2]), struct.unpack("<H", whole[-2:])[0]
        _require(crc == stored, f"CRC-16 {crc:#06x} of frame {number}", f"{stored:#06x}")
    blocks = body[:, 4:-2].reshape(n, rows, columns, -1)
    _require((blocks[..., 0] & 127 == 1).all(), "panel blocks of version 1", "others")
    _require((blocks[..., 1] == _COMMANDS[levels]).all(), f"commands of {levels} levels", "others")
    unmarked = blocks.copy()
    unmarked[..., 0] &= 127
    _require((_parity(unmarked) == blocks[..., 0] >> 7).all(), "even parity", "odd panels")
    arena_id = (head[4] & 15) << 2 | head[5] >> 6
    return Header(n, levels, arena_id, there), _frames(blocks[:, :, :used, 2:-1], levels)


def _data(frames: Array, levels: int) -> Array:
    """Data `(frames, panel rows, panel columns, bytes)`; the top row of a panel comes first."""
    n, height, width = frames.shape
    rows, columns = height // SIDE, width // SIDE
    panels = frames.reshape(n, rows, SIDE, columns, SIDE)[:, :, ::-1].transpose(0, 1, 3, 2, 4)
    return pack(panels.reshape(n, rows, columns, -1), levels, "big")


def _frames(data: Array, levels: int) -> Array:
    """The inverse of `_data`."""
    n, rows, columns, _ = data.shape
    panels = unpack(data, levels, "big").reshape(n, rows, columns, SIDE, SIDE)
    upward = panels.transpose(0, 1, 3, 2, 4)[:, :, ::-1]
    return np.asarray(upward.reshape(n, rows * SIDE, columns * SIDE))


def _parity(blocks: Array) -> Array:
    """One-bits of every block modulo 2."""
    folded = np.bitwise_xor.reduce(blocks, axis=-1)
    for shift in (4, 2, 1):
        folded ^= folded >> shift
    return np.asarray(folded & 1)


def _check_duty(duty: int) -> None:
    expect.whole("duty", duty, f"{_DUTY} is usual, 1 shows nothing visible", at_most=255)


def _require(ok: Any, expected: str, got: str) -> None:
    expect.that(ok, f"a G6 pattern with {expected}", got, "write it again", BadFile)
