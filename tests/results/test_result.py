from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import h5py
import lightning.pytorch as pl
import numpy as np
import pytest
import xarray as xr

from stimopt.networks.frozen import FrozenNetwork
from stimopt.optimize.generate import StimulusGenerator
from stimopt.results import result as results
from stimopt.results.result import Result, Variable
from stimopt.results.variables import stimulus_result


@pytest.fixture(scope="module")
def fitted(small_network: FrozenNetwork) -> StimulusGenerator:
    fit = StimulusGenerator(small_network, ["T4c", "T5a"], t_stim=0.12, seeds=3)
    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False}
    pl.Trainer(
        max_steps=4,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    ).fit(fit)
    return fit


@pytest.fixture
def written(fitted: StimulusGenerator, tmp_path: Path) -> Path:
    return stimulus_result(fitted).write(tmp_path / "result.h5")


def test_what_is_written_is_read(fitted: StimulusGenerator, written: Path) -> None:
    first, second = stimulus_result(fitted), results.read(written)
    assert first.variables.keys() == second.variables.keys()
    for name, variable in first.variables.items():
        np.testing.assert_array_equal(second[name], variable.values)
        assert second.variables[name].dims == variable.dims
    plain = [f.name for f in dataclasses.fields(Result) if f.name != "variables"]
    for name in plain:
        assert getattr(second, name) == getattr(first, name)
    assert second.stimulus.shape == (2, 12, 61)
    assert second.losses.shape == (5, 2)


def test_xarray_opens_it_with_named_dimensions(written: Path) -> None:
    with xr.open_dataset(written, engine="h5netcdf") as opened:
        assert opened["stimulus"].dims == ("item", "frame", "column")
        assert opened["losses"].dims == ("step", "item")
        assert [str(name) for name in opened["cell_type"].values] == ["T4c", "T5a"]
        assert opened["time"].attrs["units"] == "s"


def test_check_simulates_again(
    fitted: StimulusGenerator, written: Path, small_network: FrozenNetwork
) -> None:
    assert results.read(written).check(small_network) <= 1e-6
    with pytest.raises(ValueError, match="expected the network of the result"):
        results.read(written).check(FrozenNetwork.builtin(3))
    with h5py.File(written, "r+") as file:
        file["response"][1, 5, 30] += 0.01
    with pytest.raises(RuntimeError, match="T5a again within"):
        results.read(written).check(small_network)


def test_groups_share_a_file(fitted: StimulusGenerator, tmp_path: Path) -> None:
    one = stimulus_result(fitted)
    path = results.write(tmp_path / "walk.h5", {"artificial": one, "regularized": one})
    assert results.groups(path) == ["artificial", "regularized"]
    assert results.read(path, "regularized").kind == "artificial"
    with pytest.raises(ValueError, match="group 'none'"):
        results.read(path, "none")
    with xr.open_dataset(path, engine="h5netcdf", group="artificial") as opened:
        assert opened["response"].dims == ("item", "frame", "column")


def test_a_failed_write_leaves_the_old_file(fitted: StimulusGenerator, written: Path) -> None:
    before = written.read_bytes()
    bad = stimulus_result(fitted)
    bad.variables["wrong"] = Variable(("item",), np.zeros(7))
    with pytest.raises(ValueError, match="item = 2"):
        bad.write(written)
    assert written.read_bytes() == before
    assert [p.name for p in written.parent.iterdir()] == ["result.h5"]


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "text", "foreign", "schema"])
def test_damaged_results_are_said(written: Path, damage: str) -> None:
    content = written.read_bytes()
    if damage == "missing":
        written.unlink()
    elif damage == "empty":
        written.write_bytes(b"")
    elif damage == "truncated":
        written.write_bytes(content[: len(content) // 2])
    elif damage == "text":
        written.write_bytes(b"luminance")
    else:
        with h5py.File(written, "w" if damage == "foreign" else "r+") as file:
            file.attrs["schema"] = "other/9"
    with pytest.raises(ValueError, match=r"expected .*got .*;"):
        results.read(written)


def test_links_out_of_the_file_are_refused(written: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["stimulus"] = np.ones(3)
    with h5py.File(written, "r+") as file:
        del file["stimulus"]
        file["stimulus"] = h5py.ExternalLink(str(secret), "/stimulus")
    with pytest.raises(ValueError, match="ExternalLink"):
        results.read(written)


def test_padding_is_missing(small_network: FrozenNetwork) -> None:
    import torch

    fit = StimulusGenerator(small_network, ["T4c"], t_stim=0.1)
    fit.n_frames.fill_(7)
    result = stimulus_result(fit)
    assert np.isnan(result["stimulus"][0, 7:]).all() and np.isnan(result["response"][0, 7:]).all()
    assert not np.isnan(result["stimulus"][0, :7]).any()
    assert result.check(small_network) <= 1e-6
    assert torch.isfinite(fit.stimulus).all()


def test_unknown_variables_are_no_attributes() -> None:
    with pytest.raises(AttributeError):
        Result("a", {}, None, "", (), 1).nothing  # type: ignore[arg-type]  # noqa: B018
