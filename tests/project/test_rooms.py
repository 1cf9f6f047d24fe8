"""Parts of the package import only from those before them in the list of CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "stimopt"
FACE = {"__init__", "__main__", "cli"}
"""Files that import from every room, or start the command line."""


def listed_rooms() -> list[str]:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = re.search(
        r"imports only from those before it.*?:\s*(expect.*?commands)\.", text, re.DOTALL
    )
    assert found is not None
    return re.split(r"[,;]\s+", found[1])


def imported(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports anywhere, in dotted form."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.startswith("stimopt"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stimopt"):
            assert node.module is not None and node.level == 0
            for each in node.names:
                inner = PACKAGE.parent.joinpath(*node.module.split("."), each.name)
                is_module = inner.is_dir() or inner.with_suffix(".py").is_file()
                yield f"{node.module}.{each.name}" if is_module else node.module


def files() -> dict[str, Path]:
    """Every file of the package by its dotted name."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def test_every_part_of_the_package_is_listed_once() -> None:
    rooms = listed_rooms()
    assert sorted(rooms) == sorted({room_of(name) for name in files()} - FACE)


def test_a_room_imports_only_from_rooms_before_it() -> None:
    place = {room: i for i, room in enumerate(listed_rooms())}
    upward = [
        f"{name} imports {other}"
        for name, path in files().items()
        if room_of(name) not in FACE
        for other in imported(path)
        if room_of(other) not in ("__init__", room_of(name))
        and place.get(room_of(other), len(place)) >= place[room_of(name)]
        and not (room_of(name) == "commands" and room_of(other) == "cli")
    ]
    assert not upward


@pytest.mark.parametrize("room", listed_rooms())
def test_no_files_of_a_room_import_each_other_in_a_circle(room: str) -> None:
    named = files()
    graph = {
        name: {other for other in imported(path) if other in named and room_of(other) == room}
        for name, path in named.items()
        if room_of(name) == room
    }
    TopologicalSorter(graph).prepare()  # raises CycleError with the circle


def test_plotting_alone_imports_matplotlib() -> None:
    pattern = re.compile(r"^\s*(import|from) matplotlib", re.MULTILINE)
    users = {room_of(n) for n, p in files().items() if pattern.search(p.read_text("utf-8"))}
    assert users == {"plotting"}
