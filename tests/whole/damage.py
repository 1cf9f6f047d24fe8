"""Ways to spoil a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path], object]


def truncate(path: Path) -> None:
    """Keep the first 60 %."""
    content = path.read_bytes()
    path.write_bytes(content[: int(0.6 * len(content))])


def empty(path: Path) -> None:
    """Leave no byte."""
    path.write_bytes(b"")


def text(path: Path) -> None:
    """Put prose in its place."""
    path.write_text("not what you were looking for\n" * 20, encoding="utf-8")


def zeros(path: Path) -> None:
    """Put a block of zeros into the middle, as a disk does that lost power."""
    content = bytearray(path.read_bytes())
    start = len(content) // 3
    content[start : start + len(content) // 3] = bytes(len(content) // 3)
    path.write_bytes(content)


def remove(path: Path) -> None:
    """Take it away."""
    path.unlink()


def folder(path: Path) -> None:
    """Put a folder in its place."""
    path.unlink()
    path.mkdir()


def flip_bit(path: Path, after: bytes, skip: int = 0) -> None:
    """Flip one bit in what follows `after`, which must be there."""
    content = bytearray(path.read_bytes())
    at = content.find(after)
    assert at >= 0, "nothing to flip"
    content[at + len(after) + skip] ^= 0x10
    path.write_bytes(content)


COMMON: dict[str, Damage] = {
    "truncated": truncate,
    "empty": empty,
    "text": text,
    "zeros": zeros,
    "missing": remove,
    "folder": folder,
}
