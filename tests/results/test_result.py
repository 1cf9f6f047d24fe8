from __future__ import annotations

import dataclasses
import inspect
import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import xarray as xr

from stimopt import results
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import builtin_network
from stimopt.optimize.ceiling import ResponseRange
from stimopt.optimize.efficient import EfficientGenerator
from stimopt.optimize.generate import StimulusGenerator
from stimopt.optimize.limited import LimitedRange
from stimopt.optimize.minimal import MinimalGenerator
from stimopt.optimize.regularize import PenalizedRegularizer, StimulusRegularizer
from stimopt.optimize.varied import VariedGenerator
from stimopt.protocol import Protocol
from stimopt.results.result import (
    Result,
    Variable,
    groups,
    read,
    require_same_result,
    write,
)
from stimopt.runs.trainer import fit, run_search
from stimopt.search.naturalistic import NaturalisticSearch
from stimopt.storage.files import BadFile
from stimopt.storage.identity import DifferentRun
from tests.results.cases import random_result
from tests.search.cases import EXTENT, noise_store


@pytest.fixture
def result(small_network: FrozenNetwork) -> Result:
    return random_result(small_network)


@pytest.fixture
def path(result: Result, tmp_path: Path) -> Path:
    return result.write(tmp_path / "result.h5")


# -- in memory ------------------------------------------------------------------------------------


def test_variables_are_read_by_name(result: Result) -> None:
    assert result["stimulus"] is result.stimulus is result.variables["stimulus"].values
    with pytest.raises(KeyError, match=r"expected 'stimuli' among the variables .* got .*stimulus"):
        result["stimuli"]
    with pytest.raises(AttributeError):
        result.stimuli  # noqa: B018
    assert list(result) == list(result.variables)
    assert "stimulus" in result and "stimuli" not in result


def test_as_text_a_result_is_a_line_for_each_variable(result: Result) -> None:
    first, *rows = repr(result).splitlines()
    items, frames, columns = result["stimulus"].shape
    assert f"item {items}" in first and f"frame {frames}" in first and f"column {columns}" in first
    assert [row.split()[0] for row in rows] == list(result.variables)
    (stimulus,) = [row for row in rows if row.startswith("  stimulus ")]
    assert "(item, frame, column)" in stimulus
    # One that cannot be written can still be looked at.
    result.variables["wrong"] = Variable(("item",), np.zeros((7, 2)))
    assert repr(result).splitlines()[-1].split() == ["wrong", "(item)"]


def test_the_frame_of_the_peak_is_within_the_window(small_network: FrozenNetwork) -> None:
    protocol = Protocol(t_pre=0.1, readout_start=0.02, readout_stop=0.06)
    result = random_result(small_network, protocol=protocol)
    central = result["central_response"]
    assert result.frame_of_peak(0) == 2 + central[0, 2:6].argmax()
    result.config["sign"] = -1
    assert result.frame_of_peak(0) == 2 + central[0, 2:6].argmin()
    # From the end of the item, which has 9 of 12 frames.
    at_the_end = random_result(small_network, protocol=Protocol(t_pre=0.1, readout_start=-0.05))
    assert at_the_end.frame_of_peak(1) == 4 + at_the_end["central_response"][1, 4:9].argmax()


def test_check_simulates_again(result: Result, small_network: FrozenNetwork) -> None:
    assert result.check(small_network) == 0
    with pytest.raises(ValueError, match=r"expected the network of the result .*; load that"):
        result.check(builtin_network(3))
    result["response"][1, 5, 30] += 0.01
    with pytest.raises(RuntimeError, match=r"response of T5a within 0\.0001, got a difference"):
        result.check(small_network)
    assert result.check(small_network, tolerance=0.1) == pytest.approx(0.01, rel=1e-3)
    result["response"][1, 5, 30] = np.nan
    with pytest.raises(RuntimeError, match=r"response of T5a .* got NaN in other columns"):
        result.check(small_network, tolerance=0.1)


def test_a_result_of_other_settings_is_told_by_name(result: Result) -> None:
    same = {"network_hash": result.network_hash, "steps": 4, "protocol.dt": 0.01}
    require_same_result(result, same, "here")
    for name in ("network_hash", "steps", "protocol.dt", "unknown"):
        with pytest.raises(DifferentRun, match=rf"expected {name} = .* as in here, got '?other"):
            require_same_result(result, {**same, name: "other"}, "here")


# -- the table at the head ------------------------------------------------------------------------


def every_result(folder: Path) -> list[Result]:
    """A result of each kind of run, after two steps."""
    network = builtin_network(EXTENT)
    search = NaturalisticSearch(network, cell_types="T4c", keep_all=True)
    data = StimulusDataModule([noise_store(folder)], num_workers=0)
    start = torch.rand((1, 8, network.lattice.n_columns))
    fits = [
        StimulusGenerator(network, "T4c", t_stim=0.08, contrast=["T4d"]),
        StimulusRegularizer(network, "T4c", init=start),
        PenalizedRegularizer(network, "T4c", init=start),
    ]
    extremes = fit(ResponseRange(network, "T4c", t_stim=0.08), steps=2)
    fits.append(LimitedRange(network, "T4c", t_stim=0.08))
    for method in (EfficientGenerator, VariedGenerator, MinimalGenerator):
        fits.append(method(network, "T4c", t_stim=0.08, ceiling=extremes))
    clips = run_search(search, data, accelerator="cpu")
    return [clips, extremes, *(fit(each, steps=2) for each in fits)]


@pytest.mark.filterwarnings("ignore:expected a greyer stimulus")  # in two steps there is none
def test_every_variable_is_listed_with_its_dimensions(tmp_path: Path) -> None:
    rows = re.findall(
        r"^    (\w[\w*, ]*|\*\w+) +\((\w[\w, ]*)\)", inspect.getdoc(results) or "", re.M
    )
    listed = {
        pattern: tuple(re.findall(r"\w+", dims))
        for names, dims in rows
        for pattern in names.strip().split(", ")
    }
    used = set()
    for result in every_result(tmp_path):
        for name, variable in result.variables.items():
            (pattern,) = [p for p in listed if fnmatch(name, p) and listed[p] == variable.dims]
            used.add(pattern)
    assert used == set(listed)


# -- in a file ------------------------------------------------------------------------------------


def test_what_is_written_is_read(result: Result, path: Path) -> None:
    again = read(path)
    assert again.variables.keys() == result.variables.keys()
    for name, variable in result.variables.items():
        np.testing.assert_array_equal(again[name], variable.values)
        assert again.variables[name].dims == variable.dims
        assert again.variables[name].units == variable.units
    for field in dataclasses.fields(Result):
        if field.name != "variables":
            assert getattr(again, field.name) == getattr(result, field.name)


def test_no_array_is_stored_twice_under_two_names(path: Path) -> None:
    with h5py.File(path) as file:
        arrays = {name: data[()] for name, data in file.items() if data.ndim > 1}
    del arrays["central_target_response"]  # equal by design of the case
    assert {"stimulus", "response", "central_response", "losses"} == set(arrays)


def test_xarray_opens_it_with_named_dimensions(path: Path) -> None:
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        assert opened["stimulus"].dims == ("item", "frame", "column")
        assert opened["losses"].dims == ("step", "item")
        assert [str(name) for name in opened["cell_type"].values] == ["T4c", "T5a"]
        assert opened["time"].attrs["units"] == "s"


def test_results_share_a_file_in_groups(result: Result, path: Path, tmp_path: Path) -> None:
    assert groups(path) == [""]
    both = write(tmp_path / "both.h5", {"artificial": result, "regularized": result})
    assert groups(both) == ["artificial", "regularized"]
    assert read(both, "regularized").kind == "artificial"
    for group in ("", "none"):
        with pytest.raises(BadFile, match=r"expected a result .*both\.h5, got .*'artificial'"):
            read(both, group)
    with xr.open_dataset(both, engine="h5netcdf", group="artificial") as opened:
        assert opened["response"].dims == ("item", "frame", "column")


def test_a_failed_write_leaves_the_old_file(result: Result, path: Path) -> None:
    before = path.read_bytes()
    result.variables["wrong"] = Variable(("item",), np.zeros(7))
    with pytest.raises(ValueError, match="expected item = 2 in wrong, got 7"):
        result.write(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["result.h5"]


@pytest.mark.parametrize(
    ("name", "values"),
    [("flat", np.zeros((2, 3))), ("phase", np.zeros(2, complex)), ("a/b", np.zeros(2))],
)
def test_what_could_not_be_read_back_is_not_written(
    name: str, values: Any, result: Result, tmp_path: Path
) -> None:
    result.variables[name] = Variable(("item",), values)
    with pytest.raises(ValueError, match=rf"expected numbers or text \(item\) .*{name}, got"):
        result.write(tmp_path / "result.h5")
    assert not list(tmp_path.iterdir())


def test_a_flipped_bit_is_noticed(path: Path) -> None:
    with h5py.File(path) as file:
        offset = file["stimulus"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadFile, match=r"expected a stimopt result in .*result\.h5, got a damaged"):
        read(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("schema", "other/9"),
        ("protocol", json.dumps({"dt": -1})),
        ("protocol", json.dumps({"none": 1})),
        ("network_names", json.dumps("builtin")),
        ("config", "{"),
        ("versions", json.dumps([])),
        ("extent", "wide"),
    ],
)
def test_a_file_of_other_contents_is_refused(name: str, value: Any, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value
    with pytest.raises(BadFile, match=r"expected a .*result.* in .*result\.h5, got .*;"):
        read(path)


def test_a_link_out_of_the_file_is_refused(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["stimulus"]
        file["stimulus"] = h5py.ExternalLink("secret.h5", "/stimulus")
    for reader in (read, groups):
        with pytest.raises(BadFile, match="ExternalLink"):
            reader(path)
