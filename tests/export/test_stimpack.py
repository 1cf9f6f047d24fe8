"""The script that plays arrays with stimpack, before a stand-in for its server.

stimpack needs a display and OpenGL, so that the real one cannot run here.
"""

from __future__ import annotations

import runpy
import sys
import time
import types
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stimopt.export.displays import Sphere
from stimopt.export.formats import Stimpack
from stimopt.export.light import Light
from stimopt.export.session import Order, on_rig, write_session
from stimopt.export.timing import Timing
from stimopt.export.view import Rig
from stimopt.protocol import Protocol
from tests.export.cases import noise


class Server:
    """Attaches to the shared memory and looks at it, as stimpack's PixMap does."""

    def __init__(self) -> None:
        self.background: float | None = None
        self.loaded: list[dict[str, Any]] = []
        self.pictures: list[np.ndarray] = []

    def set_idle_background(self, background: float) -> None:
        self.background = background

    def load_stim(self, **options: Any) -> None:
        self.loaded.append(options)
        self.memory = shared_memory.SharedMemory(options["memname"])

    def look(self) -> np.ndarray:
        size = self.loaded[-1]["frame_size"]
        return np.ndarray(size, np.uint8, self.memory.buf).copy()

    def start_stim(self) -> None:
        self.pictures.append(self.look())

    def stop_stim(self) -> None:
        self.pictures.append(self.look())
        self.memory.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    stand_in = Server()
    for name, members in (
        ("stimpack", {}),
        ("stimpack.visual_stim", {}),
        ("stimpack.visual_stim.screen", {"Screen": lambda **options: options}),
        (
            "stimpack.visual_stim.stim_server",
            {"launch_stim_server": lambda screen: stand_in},
        ),
    ):
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return stand_in


@pytest.mark.parametrize(
    ("light", "grey"),
    [(Light(), 127), (Light(gamma=2.2), 185), (Light(white=200), 100)],
)
def test_the_script_plays_the_session(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, light: Light, grey: int
) -> None:
    timing = Timing(grey_before=0.0, grey_after=0.0)
    rig = Rig(Sphere(60, 20, 18), light=light, timing=timing, outside="dark")
    order = Order(repeats=2)
    (shown,) = on_rig([noise(4)], rig, Stimpack(), Protocol(), order)
    write_session([shown], Stimpack(), tmp_path / "out", order)
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    runpy.run_path(str(tmp_path / "out" / "play.py"), run_name="__main__")
    # Between stimuli the level of grey, so that no trial begins or ends with a flash.
    assert server.background == grey / 255 and len(server.loaded) == 2
    options = server.loaded[0]
    assert options["name"] == "PixMap" and options["surface"] == "spherical"
    assert options["frame_size"] == (18, 20, 3) and options["width"] == 60
    first, last, *_ = server.pictures
    # Column 0 of stimpack's sphere is at the right; the three colours are alike.
    levels = shown.levels()
    for picture, frame in ((first, levels[0]), (last, levels[-1])):
        np.testing.assert_array_equal(picture, frame[:, ::-1, None].repeat(3, axis=2))
    assert len(waited) == 2 * (1 + 4 + 1) and waited[0] == 1.0
    with pytest.raises(FileNotFoundError):
        shared_memory.SharedMemory(options["memname"])
