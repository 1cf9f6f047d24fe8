"""Every config is run as it is, but on fewer columns and samples and with fewer steps."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from stimopt.cli import main
from stimopt.results.result import Result, read

FOLDER = Path(__file__).parents[2] / "configs"
SHORT = ["--trainer.max_steps=3", "--network.extent=3", "--trainer.accelerator=cpu"]

# In three steps there is no greyer stimulus.
pytestmark = pytest.mark.filterwarnings("ignore:expected a greyer stimulus")


def ran(name: str, output: Path, *more: str) -> Result:
    command = name.split("_")[0]
    config = f"--config={FOLDER / name}"
    assert main([command, config, f"--output={output}", *more]) == 0
    return read(output / "result.h5")


def test_every_config_has_a_test() -> None:
    names = {path.name for path in FOLDER.iterdir()}
    source = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert len(names) == 11 and all(f'"{name}"' in source for name in names)


@pytest.mark.parametrize(
    ("name", "items", "penalties"),
    [
        ("generate_t4c.yaml", 1, {"grey"}),
        ("generate_flyvis.yaml", 1, {"grey"}),
        ("generate_smooth.yaml", 1, {"grey", "roughness", "variation"}),
        ("generate_suppressive.yaml", 1, {"grey"}),
        ("generate_ensemble.yaml", 16, {"grey"}),
    ],
)
def test_generation(name: str, items: int, penalties: set[str], tmp_path: Path) -> None:
    result = ran(name, tmp_path, *SHORT)
    assert result["losses"].shape == (4, items)
    terms = {term.removeprefix("loss_") for term in result.variables if term.startswith("loss_")}
    assert terms == {"activity", *penalties}


def test_search_and_regularization(tmp_path: Path) -> None:
    # 24 of the 222 built-in movies.
    samples = ["--data.start_sample=24", "--data.stop_sample=48", "--network.extent=3"]
    searched = ran("search_builtin.yaml", tmp_path, *samples)
    assert searched["sample"].shape == (28, 5)
    init = f"--model.init=naturalistic:{tmp_path / 'result.h5'}"
    result = ran("regularize_t4c.yaml", tmp_path / "regularized", init, *SHORT)
    row = list(searched["cell_type"]).index("T4c")
    np.testing.assert_allclose(
        result["central_target_response"][0], searched["central_response"][row], atol=1e-5
    )


def test_optima_are_the_defaults(tmp_path: Path) -> None:
    text = (FOLDER / "optima_t4c.yaml").read_text(encoding="utf-8")
    short = ["--regularize.max_steps=3", "--generate.max_steps=3", "--network.extent=3"]
    more = [*short, "--data.stop_sample=8", "--trainer.accelerator=cpu", f"--output={tmp_path}"]
    assert main(["optima", f"--config={FOLDER / 'optima_t4c.yaml'}", *more]) == 0
    written = (tmp_path / "config.yaml").read_text(encoding="utf-8")
    # A run without the config is the same run.
    assert main(["optima", *more]) == 0
    assert (tmp_path / "config.yaml").read_text(encoding="utf-8") == written
    assert yaml.safe_load(text)["output"] == "logs/optima_t4c"


def test_search_of_the_film(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = tmp_path / "film.h5"
    assert main(["render", str(shared / "data/sintel-clip"), str(film), "--progress=false"]) == 0
    # As flyvis finds its networks.
    monkeypatch.setenv("FLYVIS_ROOT_DIR", str(shared / "data/flyvis"))
    samples = ["--data.start_sample=420", "--data.stop_sample=424", f"--data.stores={film}"]
    result = ran(
        "search_sintel.yaml",
        tmp_path / "run",
        "--network.path=[flow/0000/000, flow/0000/001]",
        "--trainer.logger=false",
        *samples,
    )
    assert (tmp_path / "run" / "config.yaml").is_file()
    with h5py.File(shared / "reference/flyvis-1.2.0.h5") as file:
        expected = file["search/peak_response"][420:424]
    first = result.peak_response[:65, 0]
    np.testing.assert_allclose(first, expected.max(axis=0), rtol=0, atol=1e-4)
    assert (result["sample"][:65, 0] - 420).tolist() == expected.argmax(axis=0).tolist()
    assert len(result["label"]) == 130 and set(result.network.tolist()) == {0, 1}
    # All four samples are turned copies of one window, so there is one event.
    assert (result["sample"][:, 1:] == -1).all() and np.isnan(result.peak_response[:, 1:]).all()
