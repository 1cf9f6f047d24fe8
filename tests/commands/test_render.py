"""`stimopt render`."""

from __future__ import annotations

from pathlib import Path

import pytest

from stimopt.cli import main
from stimopt.movies import MovieStore
from tests.search.cases import EXTENT, LENGTHS, noise_store


def test_renders_a_store_and_prints_what_is_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise_store(tmp_path)
    out = tmp_path / "again.h5"
    arguments = ["render", str(tmp_path / "movies"), str(out), f"--extent={EXTENT}"]
    arguments += ["--kernel_size=3", "--views=2", "--width_fraction=1", "--dtype=float16"]
    arguments += ["--frame_rate=30", "--progress=false"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    frames = f"{2 * sum(LENGTHS)} frames of extent {EXTENT}"
    assert f"4 scenes in 8 views, {frames}" in printed and str(out) in printed
    with MovieStore(out) as store:
        assert [scene.frame_rate for scene in store.scenes] == [30.0] * 8
    assert main(arguments) == 0, "it is rendered already"
    assert main([*arguments, "--drop_first=0"]) == 2
    assert "expected no other file" in capsys.readouterr().err
    assert main([*arguments, "--drop_first=0", "--overwrite=true"]) == 0
    assert main(["render", str(tmp_path / "none"), str(out)]) == 2
    assert "none" in capsys.readouterr().err
