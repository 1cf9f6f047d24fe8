"""Every command of the README is run, on the trained network and the film where they are there."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from stimopt.cli import main
from stimopt.results import result as results

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
    "optima": ["--regularize.steps", "4", "--generate.steps", "4"],
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
    ran = []
    for line in COMMANDS:
        program, *arguments = shlex.split(line)
        if program != "stimopt":
            continue
        assert main([*arguments, *SHORT.get(arguments[0], [])]) == 0, line
        ran.append(arguments[0])
    assert ran == ["render", "search", "regularize", "generate", "optima"]
    logs = data_folder / "logs"
    found = results.read(logs / "search_sintel" / "result.h5")
    t4c = list(found["cell_type"]).index("T4c")
    # The recorded winner: sample 421 at frame 29, 1.826.
    assert int(found["sample"][t4c, 0]) == 421
    assert float(found["peak_response"][t4c, 0]) == pytest.approx(1.826, abs=1e-3)
    for path in ("regularize_t4c/result.h5", "generate_t4c/T4c.png", "optima_t4c/walk.h5"):
        assert (logs / path).is_file()


def test_the_other_commands_are_scripts_or_tensorboard() -> None:
    others = [line for line in COMMANDS if not line.startswith("stimopt ")]
    assert others == [
        "bash scripts/main_job.sh",  # run by .ci/run
        "bash scripts/test.sh",  # run by .ci/run, and running now
        "tensorboard --logdir logs",
    ]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "scripts/main_job.sh" in ci and "scripts/test.sh" in ci


def test_tensorboard_serves_a_run(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(tmp_path)]
    server = subprocess.Popen(
        [*command, "--port", str(port), "--host", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(120):
            time.sleep(0.5)
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
                    assert b"TensorBoard" in page.read()
                break
            except OSError:
                assert server.poll() is None, "tensorboard ended"
        else:
            pytest.fail("tensorboard did not answer within a minute")
    finally:
        server.terminate()
        server.wait(30)


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = [block for language, block in BLOCKS if language == "python"]
    quick = code.replace("max_steps=200", "max_steps=3, accelerator='cpu'")
    assert quick != code
    exec(compile(quick, "README.md", "exec"), {})
    assert results.read("logs/t4c_t5c.h5")["stimulus"].shape[:2] == (2, 40)
