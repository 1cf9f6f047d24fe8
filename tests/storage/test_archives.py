from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from stimopt.storage.archives import MAX_DEFLATE_RATIO, require_honest_zip
from stimopt.storage.files import BadFile

WORDS = b"what was packed " * 8


def pack(path: Path, content: bytes = WORDS, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("data", content)
    return path


def test_a_sound_zip_passes(tmp_path: Path) -> None:
    require_honest_zip(pack(tmp_path / "a.zip"))
    deflated = pack(tmp_path / "b.zip", bytes(2**20), zipfile.ZIP_DEFLATED)
    require_honest_zip(deflated, ratio=MAX_DEFLATE_RATIO)


def test_a_zip_that_unpacks_to_more_is_refused(tmp_path: Path) -> None:
    bomb = pack(tmp_path / "bomb.zip", bytes(2**20), zipfile.ZIP_DEFLATED)
    with pytest.raises(BadFile, match=r"expected a checkpoint of at most .* unpack to 1048576; do"):
        require_honest_zip(bomb, "a checkpoint")


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    content[content.find(WORDS) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadFile, match="got a wrong checksum of data; copy it again"):
        require_honest_zip(path)
    require_honest_zip(path, checksums=False)


@pytest.mark.parametrize("content", [b"", b"luminance", b"PK\x03\x04" + bytes(60)])
def test_what_is_no_zip_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(BadFile, match=r"expected a zip file in .*a\.zip, got a damaged .*; copy"):
        require_honest_zip(tmp_path / "a.zip")
    with pytest.raises(BadFile, match=r"expected a zip file at .*b\.zip, got no file"):
        require_honest_zip(tmp_path / "b.zip")
