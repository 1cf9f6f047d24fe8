"""Checks of zip files from elsewhere: their size, and whether they are damaged."""

from __future__ import annotations

import zipfile
from pathlib import Path

from stimopt import expect
from stimopt.storage.files import BadFile, reading

MAX_DEFLATE_RATIO = 1032
"""Deflate packs at most so many bytes into one; a file that declares more is an attack."""


def require_honest_zip(
    path: str | Path,
    what: str = "a zip file",
    advice: str = "copy it again from its source",
    *,
    ratio: int = 1,
    checksums: bool = True,
) -> None:
    """Reject a zip file that would fill the memory, or in which a bit has flipped.

    torch compares no checksums itself, so one flipped bit would be another network or run.

    Args:
        path: of the file.
        what: it should be, for the message.
        advice: what to do about a bad one.
        ratio: most unpacked bytes for each byte of the file: 1 where members are stored,
            `MAX_DEFLATE_RATIO` where they may be deflated.
        checksums: read every member and compare its checksum.

    Raises:
        BadFile: if it is missing, no zip file, unpacks to more, or has a wrong checksum.
    """
    with reading(path, what, advice), zipfile.ZipFile(path) as archive:
        declared = sum(member.file_size for member in archive.infolist())
        limit = ratio * Path(path).stat().st_size
        expect.that(
            declared <= limit,
            f"{what} of at most {limit} bytes unpacked in {path}",
            f"one that would unpack to {declared}",
            "do not trust this file",
            BadFile,
        )
        damaged = archive.testzip() if checksums else None
        wrong = f"a wrong checksum of {damaged}"
        expect.that(damaged is None, f"{what} in {path}", wrong, advice, BadFile)
