"""The progress bar as a person sees it, in a pseudo-terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pty = pytest.importorskip("pty")

COMMAND = ("generate", "--network.extent=2", "--model.t_stim=0.1", "--trainer.accelerator=cpu")


def screen(*arguments: str, columns: int = 120) -> str:
    """What a command prints to a terminal, without the colours."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    command = [sys.executable, "-m", "stimopt", *arguments]
    with subprocess.Popen(command, stdout=follower, stderr=follower, env=environment) as process:
        os.close(follower)
        printed = b""
        while piece := read(leader):
            printed += piece
    os.close(leader)
    assert process.returncode == 0, printed
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed.decode())


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the process has closed its end
        return b""


def test_one_bar_over_all_steps_also_when_resumed(tmp_path: Path) -> None:
    output = [f"--output={tmp_path}", "--checkpoint_every_n_steps=20"]
    first = screen(*COMMAND, *output, "--trainer.max_steps=40")
    # Lightning's epochs, one every ten steps, do not show.
    assert "Epoch" not in first
    assert re.search(r"artificial .*40/40 +steps .*/s .*loss -?\d.*response -?\d", first)
    done = [int(n) for n in re.findall(r"(\d+)/40", first)]
    assert done == sorted(done) and done[-1] == 40
    again = [
        int(n) for n in re.findall(r"(\d+)/90", screen(*COMMAND, *output, "--trainer.max_steps=90"))
    ]
    assert again == sorted(again) and again[0] >= 40 and again[-1] == 90


def test_fits_a_narrow_terminal(tmp_path: Path) -> None:
    printed = screen(*COMMAND, f"--output={tmp_path}", "--trainer.max_steps=20", columns=80)
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", printed) if "steps" in line]
    assert re.match(r"artificial \S+ 20/20 steps [\d.]+/s \d:\d\d:\d\d$", lines[-1])
    assert max(map(len, lines)) <= 80
