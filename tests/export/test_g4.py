"""G4 patterns: byte tables, worked examples and digests of the public writers."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stimopt.export import g4
from stimopt.storage.files import BadFile
from tests.export.cases import counting_frames

G41 = {"arena_id": 1, "generation": "G4.1"}
PANEL_16 = bytes.fromhex(
    "0100010010010101031f5397db0e4286cafd3175b9ec2064a8db1f5397ca0e42"
    "86b9fd3175a8ec2064010397db1f5386ca0e4275b9fd3164a8ec205397db1f42"
    "86ca0e3175b9fd2064a8ec01031f5397db0e4286cafd3175b9ec2064a8db1f53"
    "97ca0e4286b9fd3175a8ec2064010397db1f5386ca0e4275b9fd3164a8ec2053"
    "97db1f4286ca0e3175b9fd2064a8ec"
)
PANEL_2 = bytes.fromhex(
    "0100b001020101010200000000ffffffff0102ff7f3f1f0f0703010102000000000f07030101020000000000000000"
)


def test_a_panel_byte_by_byte() -> None:
    r, c = np.ogrid[:16, :16]
    assert g4.encode(((r + 2 * c) % 16)[None].astype(np.uint8), version=1) == PANEL_16
    on = ((c <= r) & (r < 12))[None].astype(np.uint8)
    assert g4.encode(on, 2, generation="G4.1", arena_id=1) == PANEL_2


@pytest.mark.parametrize(
    ("rows", "levels", "options", "n_bytes", "sha256"),
    [
        (3, 16, {"version": 1}, 14299, "fd2a1f24d67f0f768d630a9d1ae85752"
         "7e910d802c1656294e793953cc06470a"),
        (3, 16, {"arena_id": 2}, 14299, "f1d776876db1d162766080255180e7ca"
         "bc7130c75cc9f1ba9e66278d56fa93f7"),
        (2, 16, G41, 9535, "2bc6a0b7daa6a5a85dd2eb63040d0d7c8b0e7c99fbd7abda6f02e95ec74886c9"),
        (2, 2, G41, 2623, "9949ea93b59c96a5fd9153a70b8972039e4716544ab36c0d814a88195eedc8ab"),
    ],
)  # fmt: skip
def test_files_are_those_of_the_public_writers(rows, levels, options, n_bytes, sha256) -> None:
    content = g4.encode(counting_frames(rows, 12, 16, levels), levels, **options)
    assert len(content) == n_bytes
    assert hashlib.sha256(content).hexdigest() == sha256


def pixel(content: bytes, f: int, r: int, c: int) -> int:
    """One pixel by the address that the format's description gives, without the reader."""
    levels, rows, columns = content[4], content[5], content[6]
    n_bytes = 33 if levels == 16 else 9
    i, m = r // 16, c // 16
    q = 2 * ((c % 16) // 8) + (1 if r % 16 < 8 else 0)
    size = 4 * rows * (1 + columns * n_bytes)
    base = 7 + f * size + (4 * i + q) * (1 + columns * n_bytes) + 1
    d = 4 * (7 - r % 8) + (c % 8) // 2 if levels == 16 else 7 - r % 8
    byte = content[base + (1 + d) * columns + m]
    return (byte >> 4 * (c % 2)) & 15 if levels == 16 else (byte >> c % 8) & 1


@pytest.mark.parametrize("levels", [2, 16])
def test_every_pixel_lies_at_its_address(levels: int) -> None:
    frames = counting_frames(2, 3, 16, levels)
    content = g4.encode(frames, levels)
    read = [[[pixel(content, f, r, c) for c in range(48)] for r in range(32)] for f in range(3)]
    np.testing.assert_array_equal(read, frames)


@settings(max_examples=20, deadline=None)
@given(
    *(st.integers(1, 3) for _ in range(3)), st.sampled_from([2, 16]), st.sampled_from([1, 2]),
    st.integers(0, 2**32),
)  # fmt: skip
def test_round_trips_are_exact(n, rows, columns, levels, version, seed) -> None:
    random = np.random.default_rng(seed)
    frames = random.integers(0, levels, (n, 16 * rows, 16 * columns), np.uint8)
    header, read = g4.decode(g4.encode(frames, levels, version=version, generation="G4.1"))
    np.testing.assert_array_equal(read, frames)
    generation = "G4.1" if version == 2 else "unspecified"
    assert header == (n, levels, rows, columns, generation, 0, version)


def damaged(at: int, value: int) -> bytes:
    return PANEL_16[:at] + bytes([value]) + PANEL_16[at + 1 :]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (damaged(7, 0), "row bytes that count panel rows from 1"),  # shows garbage on hardware
        (damaged(8, 2), "a command byte for 16 levels"),  # so does a missing grey-scale flag
        (damaged(4, 4), "2 or 16 levels"),
        (damaged(3, 0x90), "bytes"),
        (damaged(2, 0xC0), "G4 or G4.1"),
        (PANEL_16[:-1], "143 bytes"),
        (PANEL_16 + b"\0", "143 bytes"),
        (b"\x01", "a G4 pattern"),
        (b"\0" * 7, "levels"),
    ],
)
def test_a_file_that_a_display_would_garble_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(BadFile, match=message):
        g4.decode(content)


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        (np.zeros((1, 15, 16)), {}, "whole panels"),
        (np.full((1, 16, 16), 16), {}, r"in \[0, 15\]"),
        (np.zeros((1, 16, 16)), {"levels": 4}, "levels"),
        (np.zeros((0, 16, 16)), {}, "frames"),
        (np.zeros((1, 16, 16)), {"stretch": 21}, "stretch"),
        (np.zeros((1, 16, 16)), {"generation": "G5"}, "generation"),
        (np.zeros((1, 16, 16)), {"version": 3}, "version"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(frames, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        g4.encode(frames.astype(np.uint8), **options)
