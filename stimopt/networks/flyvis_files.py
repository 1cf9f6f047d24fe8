"""Where flyvis stores its networks, its connectome and the film Sintel, by the names it uses.

flyvis itself is never imported: importing it sets torch's default device.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from stimopt.connectome import CONNECTOME_FILE

ROOT_VARIABLE = "FLYVIS_ROOT_DIR"


def flyvis_root() -> Path | None:
    """The folder of flyvis's data: `$FLYVIS_ROOT_DIR`, else `data/` of an installed flyvis.

    Returns:
        The folder, which need not exist, or None where neither names one.
    """
    if variable := os.environ.get(ROOT_VARIABLE):
        return Path(variable).expanduser().absolute()
    package = _package()
    if package is None:
        return None
    # As in flyvis: a checkout that is installed in place has its data beside the package.
    installed = package.parent.name == "site-packages"
    return (package if installed else package.parent) / "data"


def find_network(name: str | Path) -> Path:
    """Folder of a trained network, by its path or by a flyvis name such as `flow/0000/000`.

    Raises:
        ValueError: if there is none, listing where it was looked for.
    """
    places = [Path(name).expanduser()]
    if (root := flyvis_root()) is not None:
        places.append(root / "results" / name)
    return _first(places, f"the folder of the trained flyvis network {name}", "results/")


def find_connectome(file_name: str = CONNECTOME_FILE) -> Path:
    """The connectome file: inside an installed flyvis, else in `connectome/` at or beside the root.

    Raises:
        ValueError: if there is none, listing where it was looked for.
    """
    places = []
    if (package := _package()) is not None:
        places.append(package / "connectome" / file_name)
    if (root := flyvis_root()) is not None:
        places += [folder / "connectome" / file_name for folder in (root.parent, root)]
    return _first(
        places, f"the connectome file {file_name}", "connectome/", " (pip install flyvis has it)"
    )


def find_sintel() -> Path:
    """The folder of the film Sintel, `SintelDataSet` in flyvis's data.

    Raises:
        ValueError: if there is none, listing where it was looked for.
    """
    root = flyvis_root()
    places = [] if root is None else [root / "SintelDataSet"]
    return _first(places, "flyvis's folder of the film Sintel", "SintelDataSet/")


def _first(places: list[Path], wanted: str, inside_root: str, advice: str = "") -> Path:
    for place in places:
        if place.exists():
            return place
    got = "nothing at " + ", ".join(map(str, places)) if places else "no path"
    if flyvis_root() is None:
        got += f" (neither {ROOT_VARIABLE} nor an installed flyvis says where else to look)"
    raise ValueError(
        f"expected {wanted}, got {got}; give its path, or set {ROOT_VARIABLE} to the folder that "
        f"has {inside_root}{advice}"
    )


def _package() -> Path | None:
    """Folder of the installed flyvis package."""
    spec = importlib.util.find_spec("flyvis")
    locations = None if spec is None else spec.submodule_search_locations
    return Path(next(iter(locations))) if locations else None
