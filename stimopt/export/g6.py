"""Pattern files (`.pat`, version 2) of G6 LED arenas, written from and read to arrays.

Frames here are as the files have them, `(frames, rows, columns)` with row 0 at the bottom.
Header and frames carry checksums and panels a parity bit; files without them are refused.
"""

from __future__ import annotations

import binascii
import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.storage.files import BadFile

Bytes = NDArray[Any]
SIDE = 20
MAX_FRAMES = 65_535
MAX_PANELS = 48
_DUTY = 128
_COMMANDS = {2: 0x10, 16: 0x30}
_DATA_BYTES = {2: 50, 16: 200}
_MAGIC, _FRAME = b"G6PT", b"FR"
_HEADER_BYTES = 18


class Header(NamedTuple):
    """What stands before the frames; `panels` tells which of a ring are there."""

    n_frames: int
    levels: int
    arena_id: int
    panels: NDArray[np.bool_]


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
    frames: Bytes,
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
    _check(frames, levels, arena_id, duty)
    n, rows, columns = len(frames), frames.shape[1] // SIDE, frames.shape[2] // SIDE
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


def decode(content: bytes) -> tuple[Header, Bytes]:
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


def _data(frames: Bytes, levels: int) -> Bytes:
    """Data `(frames, panel rows, panel columns, bytes)`; the top row of a panel comes first."""
    n, height, width = frames.shape
    parts = frames.reshape(n, height // SIDE, SIDE, width // SIDE, SIDE)[:, :, ::-1]
    pixels = parts.transpose(0, 1, 3, 2, 4).reshape(n, height // SIDE, width // SIDE, -1)
    if levels == 2:
        return np.asarray(np.packbits(pixels, axis=-1))
    return np.asarray(
        pixels[..., ::2] << 4 | pixels[..., 1::2]
    )  # the left pixel in the high nibble


def _frames(data: Bytes, levels: int) -> Bytes:
    """The inverse of `_data`."""
    n, rows, columns, _ = data.shape
    if levels == 2:
        pixels = np.unpackbits(data, axis=-1)
    else:
        pixels = np.stack([data >> 4, data & 15], axis=-1)
    parts = pixels.reshape(n, rows, columns, SIDE, SIDE)[:, :, :, ::-1]
    return np.asarray(parts.transpose(0, 1, 3, 2, 4).reshape(n, rows * SIDE, columns * SIDE))


def _parity(blocks: Bytes) -> Bytes:
    """One-bits of every block modulo 2."""
    folded = np.bitwise_xor.reduce(blocks, axis=-1)
    for shift in (4, 2, 1):
        folded ^= folded >> shift
    return np.asarray(folded & 1)


def _check(frames: Bytes, levels: int, arena_id: int, duty: int) -> None:
    expect.one_of("levels of a pattern", levels, _COMMANDS)
    ok = frames.ndim == 3 and not frames.shape[1] % SIDE and not frames.shape[2] % SIDE
    panels = f"frames of whole panels of {SIDE} x {SIDE} pixels"
    expect.that(ok and frames.size, panels, frames.shape, "draw them for the arena")
    advice = "split the stimulus, or lower its frame rate"
    expect.whole("frames of a pattern", len(frames), advice, at_least=1, at_most=MAX_FRAMES)
    expect.within("levels of a frame", frames, 0, levels - 1, "encode the luminance first")
    expect.whole("arena_id", arena_id, "0 is unspecified", at_most=63)
    expect.whole("duty", duty, f"{_DUTY} is usual, 1 shows nothing visible", at_most=255)


def _require(ok: Any, expected: str, got: str) -> None:
    expect.that(ok, f"a G6 pattern with {expected}", got, "write it again", BadFile)
