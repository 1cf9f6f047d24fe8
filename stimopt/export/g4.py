"""Pattern files (`.pat`) of G4 and G4.1 LED arenas, written from and read to arrays.

Frames here are as the files have them, `(frames, rows, columns)` with row 0 at the bottom.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.storage.files import BadFile

Bytes = NDArray[Any]
SIDE = 16
MAX_FRAMES = 65_535
_GENERATION_IDS = {"unspecified": 0, "G4": 2, "G4.1": 3}
_DATA_BYTES = {16: 32, 2: 8}
"""Of a quarter of a panel, by the number of levels."""
MAX_STRETCH = {16: 20, 2: 107}


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
    frames: Bytes,
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
    _check(frames, levels, arena_id, stretch)
    n, rows, columns = len(frames), frames.shape[1] // SIDE, frames.shape[2] // SIDE
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


def decode(content: bytes) -> tuple[Header, Bytes]:
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


def _quarters(frames: Bytes, levels: int) -> Bytes:
    """Data `(frames, panel rows, quarters, panel columns, bytes)` of frames.

    Quarters are top left, bottom left, top right, bottom right; rows go down, columns right.
    """
    n, height, width = frames.shape
    parts = frames.reshape(n, height // SIDE, SIDE, width // SIDE, SIDE)[:, :, ::-1]
    parts = parts.reshape(n, height // SIDE, 2, 8, width // SIDE, 2, 8)
    pixels = parts.transpose(0, 1, 5, 2, 4, 3, 6).reshape(n, height // SIDE, 4, width // SIDE, 64)
    if levels == 2:
        return np.asarray(np.packbits(pixels, axis=-1, bitorder="little"))
    return np.asarray(pixels[..., ::2] | pixels[..., 1::2] << 4)  # the left pixel in the low nibble


def _frames(data: Bytes, levels: int) -> Bytes:
    """The inverse of `_quarters`."""
    n, rows, _, columns, _ = data.shape
    if levels == 2:
        pixels = np.unpackbits(data, axis=-1, bitorder="little")
    else:
        pixels = np.stack([data & 15, data >> 4], axis=-1)
    parts = pixels.reshape(n, rows, 2, 2, columns, 8, 8).transpose(0, 1, 3, 5, 4, 2, 6)
    return np.asarray(
        parts.reshape(n, rows, SIDE, columns * SIDE)[:, :, ::-1].reshape(n, rows * SIDE, -1)
    )


def _check(frames: Bytes, levels: int, arena_id: int, stretch: int) -> None:
    expect.one_of("levels of a pattern", levels, _DATA_BYTES)
    ok = frames.ndim == 3 and not frames.shape[1] % SIDE and not frames.shape[2] % SIDE
    ok = ok and 0 < frames.shape[1] <= 255 * SIDE and 0 < frames.shape[2] <= 255 * SIDE
    panels = f"frames of whole panels of {SIDE} x {SIDE} pixels"
    expect.that(ok, panels, frames.shape, "draw them for the arena")
    advice = "split the stimulus, or lower its frame rate"
    expect.whole("frames of a pattern", len(frames), advice, at_least=1, at_most=MAX_FRAMES)
    expect.within("levels of a frame", frames, 0, levels - 1, "encode the luminance first")
    expect.whole("arena_id", arena_id, "0 is unspecified", at_most=255)
    expect.whole("stretch", stretch, "1 is usual", at_most=MAX_STRETCH[levels])


def _require(ok: Any, expected: str, got: str) -> None:
    expect.that(ok, f"a G4 pattern with {expected}", got, "write it again", BadFile)
