"""G6 patterns: byte tables, checksums, worked examples and digests of the public writers."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from stimopt.export import g6
from stimopt.storage.files import BadFile
from tests.export.cases import counting_frames

PANEL = bytes.fromhex(
    "4736505420400100010101010000000000124652000081100000000000000000"
    "000000000000000000000000fff00ffe00ffc00ff800ff000fe000fc000f8000"
    "f0000e0000c000080000804c0b"
)


def triangle() -> np.ndarray:
    r, c = np.ogrid[:20, :20]
    return ((c <= r) & (r < 12))[None].astype(np.uint8)


def test_a_panel_byte_by_byte() -> None:
    assert g6.encode(triangle(), 2, arena_id=1) == PANEL
    r, c = np.ogrid[:20, :20]
    deep = g6.encode(((r + 2 * c) % 16)[None].astype(np.uint8), arena_id=1)
    assert len(deep) == 227 and deep[17] == 0x21 and deep.hex().endswith("80e06b")
    assert deep[22:38] == bytes.fromhex("01303579bdf13579bdf135792468ace0")


@pytest.mark.parametrize(
    ("rows", "levels", "arena_id", "n_bytes", "sha256"),
    [
        (2, 16, 1, 12216, "73cb1c0483adcf4cf9a6b08d86493546d5ed8fa8079a8936a1d23a208feb512f"),
        (2, 2, 1, 3216, "4309701ea04f963daf82984b0e83596c30983f9c24e7d48d59bb19b5b2d5bb23"),
        (4, 16, 6, 24396, "2da8b2da6a6193ba461b61c928629fe0893dff8673f07864b59c3e488766dd9c"),
    ],
)
def test_files_are_those_of_the_public_writer(rows, levels, arena_id, n_bytes, sha256) -> None:
    content = g6.encode(counting_frames(rows, 10, 20, levels), levels, arena_id=arena_id)
    assert len(content) == n_bytes
    assert hashlib.sha256(content).hexdigest() == sha256


def test_checksums_are_the_published_ones() -> None:
    assert (g6.crc8(b"123456789"), g6.crc16(b"123456789")) == (0xDF, 0x29B1)
    assert g6.crc8(bytes([1, 0x10]) + bytes(51)) == 0xC6
    assert g6.crc8(bytes([1, 0x30]) + bytes(201)) == 0x6D
    assert g6.crc16(b"FR\0\0") == 0xFD6B
    header = g6.encode(np.zeros((1, 40, 200), np.uint8), 2)[:18]
    assert header.hex() == "4736505420000100020a01ffff0f000000dc"


@pytest.mark.parametrize(("levels", "duty", "first"), [(2, 0, 1), (2, 1, 0x81), (16, 0, 0x81)])
def test_a_panel_begins_with_its_parity(levels: int, duty: int, first: int) -> None:
    content = g6.encode(np.zeros((1, 20, 20), np.uint8), levels, duty=duty)
    assert content[22] == first


@pytest.mark.parametrize("levels", [2, 16])
@pytest.mark.parametrize("ring", [None, 4])
def test_round_trips_are_exact(levels: int, ring: int | None) -> None:
    frames = counting_frames(2, 3, 20, levels)
    header, read = g6.decode(g6.encode(frames, levels, arena_id=51, ring=ring))
    np.testing.assert_array_equal(read, frames)
    assert (header.n_frames, header.levels, header.arena_id) == (3, levels, 51)
    assert header.panels.tolist() == [[True] * 3 + [False] * ((ring or 3) - 3)] * 2


def test_the_top_row_of_a_panel_comes_first_and_the_left_pixel_is_high() -> None:
    frames = np.zeros((1, 40, 40), np.uint8)
    frames[0, 39, 1] = 9  # top row of the upper left panel, which is the third
    content = g6.encode(frames)
    assert content[22 + 2 * 203 + 2] == 0x09
    frames[0, 39, 0] = 5
    assert g6.encode(frames)[22 + 2 * 203 + 2] == 0x59


@pytest.mark.parametrize("at", range(len(PANEL)))
def test_any_byte_that_differs_is_noticed(at: int) -> None:
    """Header and frame have checksums; so files from before May 2026 are refused too."""
    content = PANEL[:at] + bytes([PANEL[at] ^ 0x40]) + PANEL[at + 1 :]
    with pytest.raises(BadFile, match="a G6 pattern with"):
        g6.decode(content)


def test_a_wrong_parity_under_a_right_checksum_is_noticed() -> None:
    frame = bytearray(PANEL[18:-2])
    frame[4] ^= 0x80
    content = PANEL[:18] + frame + g6.crc16(bytes(frame)).to_bytes(2, "little")
    with pytest.raises(BadFile, match="even parity"):
        g6.decode(content)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 20, 21), {}, "whole panels"),
        ((1, 60, 340), {}, "at most 48 panels"),
        ((1, 60, 240), {"ring": 18}, "at most 48 panels"),
        ((1, 20, 20), {"levels": 4}, "levels"),
        ((1, 20, 20), {"arena_id": 64}, "arena_id"),
        ((1, 20, 20), {"duty": 256}, "duty"),
        ((65_536, 20, 20), {"levels": 2}, "frames"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(shape, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        g6.encode(np.zeros(shape, np.uint8), **options)


def test_a_level_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        g6.encode(2 * triangle(), 2)
