"""Networks by folder, by flyvis name and from a config."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import NetworkSource, builtin_network, flyvis_network
from stimopt.networks.stability import Stability
from stimopt.protocol import Protocol


def test_one_or_several_folders(trained_folder: Path, connectome_file: Path) -> None:
    folders = [trained_folder / "000", str(trained_folder / "001")]
    both = flyvis_network(folders, connectome_file, extent=1)
    assert both.names == ("flow/0000/000", "flow/0000/001")
    one = flyvis_network(folders[0], connectome_file, extent=1)
    assert one.names == both.names[:1]
    assert (one.tap_weight[0] == both.tap_weight[0]).all()


def test_flyvis_names_find_network_and_connectome(
    monkeypatch: pytest.MonkeyPatch, shared: Path, trained_folder: Path, connectome_file: Path
) -> None:
    monkeypatch.setenv("FLYVIS_ROOT_DIR", str(shared / "data" / "flyvis"))
    by_name = flyvis_network("flow/0000/000", extent=2)
    by_path = flyvis_network(trained_folder / "000", connectome_file, extent=2)
    assert by_name.content_hash == by_path.content_hash
    assert NetworkSource("flow/0000/000", extent=2).open().content_hash == by_path.content_hash


def test_a_missing_network_is_reported_before_a_missing_connectome(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected the folder of the trained flyvis network"):
        flyvis_network(tmp_path / "none", tmp_path / "none.json")


def test_a_source_has_the_extent_of_its_kind_of_network() -> None:
    assert NetworkSource().extent == 8 and NetworkSource("flow/0000/000").extent == 15
    assert NetworkSource(extent=2).open().content_hash == builtin_network(2).content_hash


def test_a_source_passes_its_options_on() -> None:
    network = NetworkSource(extent=1, backend="sparse", segment=7).open()
    assert network.segment == 7
    with pytest.raises(ValueError, match="backend as one of"):
        NetworkSource(extent=1, backend="fast").open()


def test_a_connectome_without_a_path_is_refused() -> None:
    with pytest.raises(ValueError, match=r"network path with connectome .*pass --network.path"):
        NetworkSource(connectome="elsewhere.json").open()


def test_a_network_listed_twice_is_refused(
    trained_folder: Path, connectome_file: Path, tmp_path: Path
) -> None:
    copied = shutil.copytree(trained_folder / "001", tmp_path / "001")
    for again in (trained_folder / "001", trained_folder / "000" / ".." / "001", copied):
        folders = [trained_folder / "001", trained_folder / "000", again]
        with pytest.raises(ValueError, match=r"each listed once, got \S+ with the parameters of"):
            flyvis_network(folders, connectome_file, extent=1)


def test_a_source_marks_leaves_out_or_refuses_unstable_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def opened(unstable: Any) -> tuple[str, ...]:
        return NetworkSource(extent=1, lesions="Mi4,L1", unstable=unstable).open(Protocol()).names

    every = ("builtin", "builtin without Mi4", "builtin without L1")
    assert {opened(unstable) for unstable in ("mark", "leave_out", "refuse")} == {every}

    def second_is_unstable(network: FrozenNetwork, protocol: Protocol, k: int = 0) -> Stability:
        return Stability.STEP if k == 1 else Stability.STABLE

    monkeypatch.setattr(FrozenNetwork, "stability", second_is_unstable)
    assert opened("mark") == every
    with pytest.warns(UserWarning, match="left out: builtin without Mi4"):
        assert opened("leave_out") == (every[0], every[2])
    with pytest.raises(ValueError, match="got builtin without Mi4"):
        opened("refuse")
    monkeypatch.setattr(FrozenNetwork, "stability", lambda *_: Stability.NOT_FINITE)
    for unstable in ("leave_out", "refuse"):
        with pytest.raises(ValueError, match=r"can be simulated at dt = 0\.01 s, got builtin"):
            NetworkSource(extent=1, unstable=unstable).open(Protocol())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unstable as one of 'mark', 'leave_out', 'refuse'"):
        NetworkSource(unstable="ignore")  # type: ignore[arg-type]
