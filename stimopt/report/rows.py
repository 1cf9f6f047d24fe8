"""Rows of numbers and text as files for other programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stimopt.storage.files import replace_text


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> list[Path]:
    """Write rows at full precision as CSV and JSON, each whole or not at all.

    Args:
        path: of both files, without a suffix.
        rows: with the same columns each; NaN and infinity become empty, or null.

    Returns:
        The paths.
    """
    finite = [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in rows
    ]
    table, values = path.with_suffix(".csv"), path.with_suffix(".json")
    write_csv(table, finite)
    replace_text(values, json.dumps(finite, indent=1))
    return [table, values]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows at full precision as CSV, whole or not at all.

    Args:
        path: of the file.
        rows: with the same columns each.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace_text(path, text.getvalue())
