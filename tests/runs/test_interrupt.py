"""Ctrl+C in a fit: the exit code, what is said, and that the same command goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

QUIET = ("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--network.extent=2")
COMMANDS = {
    "generate": ("--model.t_stim=0.1", "--trainer.max_steps=1000000", "--checkpoint_every=5"),
    "optima": (
        "T4c",
        "--generate.t_stim=0.1",
        "--regularize.steps=1000000",
        "--checkpoint_every=5",
        "--data.stop_sample=4",
    ),
}
CHECKPOINTS = {"generate": "checkpoints", "optima": "regularize/checkpoints"}


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_in_a_fit(command: str, tmp_path: Path) -> None:
    arguments = [command, *COMMANDS[command], *QUIET, f"--output={tmp_path}"]
    checkpoint = tmp_path / CHECKPOINTS[command] / "last.ckpt"
    process = subprocess.Popen(
        [sys.executable, "-m", "stimopt", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 120
        while not checkpoint.exists():
            assert process.poll() is None and time.monotonic() < until, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "stimopt: interrupted; the same command goes on from the last checkpoint" in err
    assert "Traceback" not in err


def test_the_version_is_told_without_loading_torch() -> None:
    script = (
        "import sys; from stimopt.cli import main; main(['--version']); "
        "sys.exit('lightning' in sys.modules or 'torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
