"""What a run reports: arrays with named dimensions, in HDF5 files that can be checked again."""

from __future__ import annotations

from pathlib import Path

from stimopt.results.campaign import read_campaign
from stimopt.results.result import Result, Variable, groups, write
from stimopt.results.result import read as _read_one
from stimopt.results.three_optima import KINDS, ThreeOptima

__all__ = ["Result", "ThreeOptima", "Variable", "fitted", "read", "write"]


def read(path: str | Path) -> Result | ThreeOptima:
    """Read a result, or the three optima where the file holds them; of a campaign by its folder.

    Raises:
        ValueError: if the file is missing, damaged or no result.

    Example:
        >>> stimopt.read("result.h5").check(network)  # doctest: +SKIP
        9.5e-07
    """
    if Path(path).is_dir():
        return read_campaign(path)
    if set(KINDS) <= set(groups(path)):
        return ThreeOptima.read(path)
    return _read_one(path)


def fitted(source: str | Path | Result) -> Result:
    """A result that is passed or read; of the three optima the artificial ones.

    Raises:
        ValueError: if the file is missing, damaged or no result.
    """
    found = source if isinstance(source, Result) else read(source)
    return found if isinstance(found, Result) else found.artificial
