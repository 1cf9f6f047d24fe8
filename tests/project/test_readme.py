"""Every command of the README is run, on the trained network and the film if they are present."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import stimopt
from stimopt.cli import main
from stimopt.optimize.ceiling import ResponseRange

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line
    for language, block in BLOCKS
    if language == "bash"
    for line in block.splitlines()
    if line and not line.startswith("#")
]
# So that the whole takes a minute, fits are cut short; nothing else is changed.
SHORT = {
    "regularize": ["--trainer.max_steps", "4"],
    "generate": ["--trainer.max_steps", "4"],
    "optima": ["--regularize.max_steps", "4", "--generate.max_steps", "4"],
}


@pytest.fixture(scope="module")
def data_folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the README describes it."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "data").mkdir()
    (folder / "data" / "flyvis").symlink_to(shared / "data" / "flyvis")
    (folder / "data" / "MPI-Sintel").symlink_to(shared / "data" / "sintel-clip")
    (folder / "configs").symlink_to(ROOT / "configs")
    return folder


@pytest.mark.filterwarnings("ignore:expected a greyer stimulus")  # in four steps there is none
def test_commands_on_the_trained_network(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data_folder)
    monkeypatch.setenv("FLYVIS_ROOT_DIR", str(data_folder / "data" / "flyvis"))
    monkeypatch.setattr(ResponseRange, "usual_steps", 4)  # of the ceiling, which has no option
    ran = []
    for line in COMMANDS:
        program, *arguments = shlex.split(line)
        if program != "stimopt":
            assert program in ("bash", "tensorboard"), line
            continue
        assert main([*arguments, *SHORT.get(arguments[0], [])]) == 0, line
        ran.append(arguments[0])
    assert ran == ["render", "search", "regularize", "generate", "optima"]
    logs = data_folder / "logs"
    found = stimopt.read(logs / "search_sintel" / "result.h5")
    t4c = list(found["cell_type"]).index("T4c")
    # The recorded winner: sample 421 at frame 29, 1.826.
    assert int(found["sample"][t4c, 0]) == 421
    assert float(found["peak_response"][t4c, 0]) == pytest.approx(1.826, abs=1e-3)
    for path in ("regularize_t4c/result.h5", "generate_t4c/T4c.png", "optima_t4c/optima.h5"):
        assert (logs / path).is_file()


def test_the_scripts_of_the_readme_are_run_by_the_continuous_integration() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    ci += (ROOT / ".github" / "workflows" / "checks.yml").read_text(encoding="utf-8")
    scripts = [line for line in COMMANDS if line.startswith("bash ")]
    assert scripts and all(line in ci for line in scripts)


def test_every_file_the_readme_names_is_there() -> None:
    files = re.findall(r"\]\(((?!http)[^)#]+)\)", README)
    assert "docs/why.md" in files
    assert not [name for name in files if not (ROOT / name).exists()]


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    code = [block for language, block in BLOCKS if language == "python"]
    assert code
    for block in code:
        short = re.sub(r"steps=\d+", "steps=3", block)
        exec(compile(short, "README.md", "exec"), scope)
    (written,) = tmp_path.rglob("*.h5")
    assert stimopt.read(written)["stimulus"].shape[:2] == (2, 40)
