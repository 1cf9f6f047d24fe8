"""flyvis's names looked up where flyvis would, in folders made for the test."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from stimopt.connectome import CONNECTOME_FILE
from stimopt.networks.flyvis_files import find_connectome, find_network, find_sintel, flyvis_root


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No root is set, no flyvis is found, and the working folder is empty."""
    monkeypatch.delenv("FLYVIS_ROOT_DIR", raising=False)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not (Path(p) / "flyvis").is_dir()])
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)


def install(parent: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package named flyvis that cannot be imported, with its connectome."""
    package = parent / "flyvis"
    (package / "connectome").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "connectome" / CONNECTOME_FILE).write_text("installed")
    monkeypatch.syspath_prepend(str(parent))
    return package


def data_in(root: Path) -> Path:
    """A root folder with one network, the connectome and Sintel."""
    for name in ("results/flow/0000/000", "connectome", "SintelDataSet"):
        (root / name).mkdir(parents=True)
    (root / "connectome" / CONNECTOME_FILE).write_text("at the root")
    return root


def test_a_name_is_looked_up_under_the_root_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = data_in(tmp_path / "root")
    monkeypatch.setenv("FLYVIS_ROOT_DIR", str(root))
    assert flyvis_root() == root
    assert find_network("flow/0000/000") == root / "results/flow/0000/000"
    assert find_connectome() == root / "connectome" / CONNECTOME_FILE
    assert find_sintel() == root / "SintelDataSet"


def test_a_folder_as_it_stands_comes_before_the_root(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLYVIS_ROOT_DIR", str(data_in(tmp_path / "root")))
    here = Path("flow/0000/000")
    here.mkdir(parents=True)
    assert find_network("flow/0000/000") == here
    assert find_network(here.absolute()) == here.absolute()


def test_the_connectome_beside_the_root_comes_before_the_one_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLYVIS_ROOT_DIR", str(data_in(tmp_path / "root")))
    beside = tmp_path / "connectome"
    beside.mkdir()
    (beside / CONNECTOME_FILE).write_text("beside the root")
    assert find_connectome().read_text() == "beside the root"


def test_an_installed_flyvis_has_its_data_inside_and_a_checkout_beside_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = install(tmp_path / "site-packages", monkeypatch)
    assert flyvis_root() == package / "data"
    data_in(package / "data")
    assert find_network("flow/0000/000") == package / "data/results/flow/0000/000"
    assert find_sintel() == package / "data/SintelDataSet"
    assert find_connectome().read_text() == "installed"

    checkout = install(tmp_path / "checkout", monkeypatch)
    assert flyvis_root() == checkout.parent / "data"
    assert "flyvis" not in sys.modules


def test_the_environment_comes_before_an_installed_flyvis_but_for_the_connectome(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(tmp_path / "site-packages", monkeypatch)
    monkeypatch.setenv("FLYVIS_ROOT_DIR", str(data_in(tmp_path / "root")))
    assert flyvis_root() == tmp_path / "root"
    assert find_connectome().read_text() == "installed"


def test_an_error_lists_every_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLYVIS_ROOT_DIR", str(tmp_path))
    with pytest.raises(ValueError, match="or set FLYVIS_ROOT_DIR to the folder") as error:
        find_network("flow/0000/000")
    for place in ("flow/0000/000,", str(tmp_path / "results/flow/0000/000")):
        assert place in str(error.value)
    with pytest.raises(ValueError, match=CONNECTOME_FILE) as error:
        find_connectome()
    for folder in (tmp_path.parent, tmp_path):
        assert str(folder / "connectome" / CONNECTOME_FILE) in str(error.value)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "SintelDataSet"))):
        find_sintel()


def test_an_error_says_that_neither_root_nor_flyvis_is_there() -> None:
    for find in (lambda: find_network("flow/0000/000"), find_connectome, find_sintel):
        with pytest.raises(ValueError, match=r"neither FLYVIS_ROOT_DIR nor an installed flyvis"):
            find()
    assert flyvis_root() is None
