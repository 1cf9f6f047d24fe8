"""The progress bar as a person sees it, in a pseudo-terminal."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from pathlib import Path

import pytest

from tests.whole.forked import Forks

pty = pytest.importorskip("pty")

COMMAND = (
    *("generate", "--method=weighted", "--network.extent=2", "--model.t_stim=0.1"),
    "--trainer.accelerator=cpu",
)


def screen(forks: Forks, *arguments: str, columns: int = 120) -> str:
    """What a command prints to a terminal, without the colours."""
    leader, follower = pty.openpty()
    terminal, printed = Path(os.ttyname(follower)), bytearray()

    def look() -> None:
        with contextlib.suppress(OSError):  # the process has closed its end
            while piece := os.read(leader, 4096):
                printed.extend(piece)

    looking = threading.Thread(target=look)
    looking.start()
    ended = forks.run(list(arguments), to=terminal, COLUMNS=str(columns), TERM="xterm")
    os.close(follower)
    looking.join()
    os.close(leader)
    assert ended.status == 0, printed
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed.decode())


def test_one_bar_over_all_steps_also_when_resumed(forks: Forks, tmp_path: Path) -> None:
    output = [f"--output={tmp_path}", "--checkpoint_every_n_steps=20"]
    first = screen(forks, *COMMAND, *output, "--trainer.max_steps=40")
    # Lightning's epochs, one every ten steps, do not show.
    assert "Epoch" not in first
    assert re.search(r"artificial .*40/40 +steps .*/s .*loss -?\d.*response -?\d", first)
    done = [int(n) for n in re.findall(r"(\d+)/40", first)]
    assert done == sorted(done) and done[-1] == 40
    again = [
        int(n)
        for n in re.findall(r"(\d+)/90", screen(forks, *COMMAND, *output, "--trainer.max_steps=90"))
    ]
    assert again == sorted(again) and again[0] >= 40 and again[-1] == 90


def test_fits_a_narrow_terminal(forks: Forks, tmp_path: Path) -> None:
    printed = screen(forks, *COMMAND, f"--output={tmp_path}", "--trainer.max_steps=20", columns=80)
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", printed) if "steps" in line]
    assert re.match(r"artificial \S+ 20/20 steps [\d.]+/s \d:\d\d:\d\d$", lines[-1])
    assert max(map(len, lines)) <= 80
