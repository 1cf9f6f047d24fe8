"""Ways to damage a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def zeros(path: Path) -> None:
    """Put a block of zeros into the middle, as a disk does that lost power."""
    content = path.read_bytes()
    third = len(content) // 3
    path.write_bytes(content[:third] + bytes(third) + content[2 * third :])


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


COMMON: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"not what you were looking for\n" * 20),
    "zeros": zeros,
    "missing": Path.unlink,
    "folder": folder,
}
