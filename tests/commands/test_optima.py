"""The walk as a process that is killed, given again, altered, and set against its three stages."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import stimopt
from stimopt.cli import main
from stimopt.networks.opening import builtin_network, flyvis_network
from stimopt.results.result import read
from stimopt.results.three_optima import KINDS, ThreeOptima
from tests.search.cases import EXTENT, noise_store

ROOT = Path(stimopt.__file__).parents[1]
STAGES = ("search", "regularize", "generate")

pytestmark = [
    # A handful of steps finds no greyer stimulus, which the regularizer says.
    pytest.mark.filterwarnings("ignore:expected a greyer stimulus"),
]


def options(store: Path, output: Path, *more: str, steps: int = 6) -> list[str]:
    return [
        f"--network.extent={EXTENT}",
        f"--data.stores=[{store}]",
        "--data.batch_size=8",
        f"--regularize.steps={steps}",
        f"--generate.steps={steps}",
        "--generate.t_stim=0.15",
        "--trainer.accelerator=cpu",
        "--trainer.log_every_n_steps=2",
        "--trainer.enable_progress_bar=false",
        "--checkpoint_every=2",
        "--pictures_every=1000",
        f"--output={output}",
        *more,
    ]


def walk(*arguments: str) -> int:
    return main(["optima", *arguments])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise_store(tmp_path_factory.mktemp("noise"))


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A walk for two cell types that was left alone."""
    output = tmp_path_factory.mktemp("whole") / "a walk with späces"
    assert walk("T4c,T5a", *options(store, output)) == 0
    return output


def assert_same_walk(one: Path, other: Path) -> None:
    """The same numbers, bit for bit."""
    for kind in KINDS:
        first, second = (read(path / "walk.h5", kind) for path in (one, other))
        assert first.variables.keys() == second.variables.keys()
        for name in first.variables.keys() - {"store"}:
            np.testing.assert_array_equal(first[name], second[name], err_msg=f"{kind}/{name}")


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_walk_leaves_what_it_promises(whole: Path) -> None:
    kept = ThreeOptima.read(whole / "walk.h5")
    network = builtin_network(EXTENT)
    for kind in KINDS:
        assert getattr(kept, kind).check(network) <= 1e-6
    assert [item.label for item in kept] == ["T4c", "T5a"]
    for stage in STAGES:
        assert (whole / stage / "result.h5").is_file()
        assert (whole / stage / "checkpoints" / "last.ckpt").is_file()
    for name in ("T4c", "T5a"):
        with Image.open(whole / "gallery" / "figures" / f"{name}.png") as figure:
            assert figure.width == 1066  # 8.2 inches
    assert "T5a" in (whole / "gallery" / "index.html").read_text(encoding="utf-8")
    text = (whole / "config.yaml").read_text(encoding="utf-8")
    assert "cell_types: T4c,T5a" in text and "stimopt.optimize.steps.adam" in text
    assert not list(whole.rglob("*.part-*"))


def test_tensorboard_has_a_run_of_each_stage(whole: Path) -> None:
    for stage, tag in (
        ("search", "response/peak/T4c"),
        ("regularize", "constraint/violation/T4c"),
        ("generate", "loss/total/T5a"),
    ):
        board = EventAccumulator(str(whole / stage))
        board.Reload()
        assert board.Scalars(tag), stage
    board = EventAccumulator(str(whole / "walk"))
    board.Reload()
    assert board.Images("walk/T4c")[0].encoded_image_string.startswith(b"\x89PNG")


def test_fields_have_the_names_flyvis_gives_them(whole: Path) -> None:
    item = ThreeOptima.read(whole / "walk.h5")[1]
    clip, pulled, grown = item.naturalistic, item.regularized, item.artificial
    assert item.cell_type == "T5a"
    assert clip.stimulus.shape == clip.response.shape == pulled.stimulus.shape
    assert grown.stimulus.shape == (15, 1 + 3 * EXTENT * (EXTENT + 1))
    assert len(pulled.losses) == len(grown.losses) == 7
    # The target of the regularization is what the search measured.
    np.testing.assert_allclose(pulled.central_target_response, clip.central_response, atol=1e-6)
    for optimum in item.optima.values():
        assert np.isfinite(optimum.stimulus).all()
        center = optimum.response.shape[1] // 2
        np.testing.assert_array_equal(optimum.response[:, center], optimum.central_response)
        assert optimum.peak == optimum.central_response.max()


def test_stages_are_those_of_the_single_commands(store: Path, whole: Path, tmp_path: Path) -> None:
    shared = ["--trainer.accelerator=cpu", f"--network.extent={EXTENT}"]
    searched = tmp_path / "search"
    data = [f"--data.stores=[{store}]", "--data.batch_size=8"]
    assert main(["search", *shared, *data, f"--output={searched}"]) == 0
    fit = [*shared, "--trainer.max_steps=6", "--model.cell_types=T4c,T5a"]
    init = f"--model.init=naturalistic:{searched / 'result.h5'}"
    assert main(["regularize", *fit, init, f"--output={tmp_path / 'regularize'}"]) == 0
    grown = ["--model.t_stim=0.15", f"--output={tmp_path / 'generate'}"]
    assert main(["generate", *fit, *grown]) == 0
    kept = ThreeOptima.read(whole / "walk.h5")
    alone = ThreeOptima(*(read(tmp_path / stage / "result.h5") for stage in STAGES))
    for one, other in zip(kept, alone, strict=True):
        for kind in KINDS:
            np.testing.assert_array_equal(
                getattr(one, kind).stimulus, getattr(other, kind).stimulus, err_msg=kind
            )
        np.testing.assert_array_equal(one.regularized.losses, other.regularized.losses)
        np.testing.assert_array_equal(one.artificial.losses, other.artificial.losses)


def test_given_again_it_does_nothing_again(store: Path, whole: Path) -> None:
    before = {stage: files_of(whole / stage) for stage in STAGES}
    assert walk("T4c,T5a", *options(store, whole)) == 0
    assert {stage: files_of(whole / stage) for stage in STAGES} == before


def started(arguments: list[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "stimopt", "optima", *arguments],
        env={**environment, "NUMBA_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def killed_once(arguments: list[str], there: Path, result: Path) -> None:
    """Run until a file is there, and kill it on the spot."""
    process = started(arguments)
    try:
        until = time.monotonic() + 200
        while not there.exists():
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.002)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not result.exists(), "killed too late to say anything"


@pytest.mark.slow
def test_killed_in_every_stage_it_goes_on_to_the_same_end(store: Path, tmp_path: Path) -> None:
    # Many steps, so that there is time to be killed; bit-identical whatever happened before.
    fits = ["--regularize.steps=30", "--generate.steps=30"]
    untouched, output = tmp_path / "untouched", tmp_path / "killed"
    assert walk("T4c", *options(store, untouched, *fits)) == 0
    arguments = ["T4c", *options(store, output, *fits)]
    finished: dict[str, dict[str, tuple[int, int]]] = {}
    for stage in STAGES:
        folder = output / stage
        killed_once(arguments, folder / "checkpoints" / "last.ckpt", folder / "result.h5")
        # What was finished before was not touched again.
        for earlier, files in finished.items():
            assert files_of(output / earlier) == files
        done = STAGES[: STAGES.index(stage)]
        finished = {earlier: files_of(output / earlier) for earlier in done}
    assert not (output / "walk.h5").exists()
    assert walk(*arguments) == 0
    assert_same_walk(untouched, output)


@pytest.mark.slow
def test_killed_at_any_moment_again_and_again(store: Path, whole: Path, tmp_path: Path) -> None:
    arguments = ["T4c,T5a", *options(store, tmp_path)]
    for _ in range(10):
        process = started(arguments)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(random.uniform(0, 20))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert walk(*arguments) == 0
    assert_same_walk(whole, tmp_path)
    assert not list(tmp_path.rglob(".*.part-*"))


def test_more_steps_go_on_with_a_finished_stage(store: Path, whole: Path, tmp_path: Path) -> None:
    assert walk("T4c,T5a", *options(store, tmp_path, steps=4)) == 0
    before = files_of(tmp_path / "search")
    assert walk("T4c,T5a", *options(store, tmp_path)) == 0
    assert files_of(tmp_path / "search") == before
    assert_same_walk(whole, tmp_path)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--network.extent=2"], "network_hash"),
        (["--protocol.t_pre=0.5"], "protocol.t_pre"),
        (["--data.rotations=[0]"], "data"),
        (["--data.stop_sample=5"], "samples"),
        (["--search.top_k=3"], "top_k"),
        (["--search.keep_all=true"], "keep_all"),
        (["--seeds=1"], "items"),
        (["--generate.grey_weight=1"], "grey_weight"),
        (["--generate.optimizer=torch.optim.SGD", "--generate.optimizer.lr=1"], "optimizer"),
        (["--regularize.tolerance=0.1"], "tolerance"),
    ],
)
def test_a_folder_of_another_walk_is_left_alone(
    store: Path, whole: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    if more[0] == "--network.extent=2":
        store = noise_store(whole.parent / "smaller", extent=2)
    before = {stage: files_of(whole / stage) for stage in STAGES}
    config = (whole / "config.yaml").read_bytes()
    assert walk("T4c,T5a", *options(store, whole), *more) == 2
    assert (whole / "config.yaml").read_bytes() == config
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("stimopt")]
    assert len(errors) == 1 and said in errors[0] and "another output folder" in errors[0]
    assert {stage: files_of(whole / stage) for stage in STAGES} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["t4C"], "nearest: T4c"),
        (["T4c", "--seeds=-1"], "seeds"),
        (["T4c", "T4c"], "once"),
        (["--generate.steps=0"], "generate.steps"),
        (["--regularize.tolerance=[0.01, 0.02]"], "one tolerance"),
        (["--data.path=movies"], "data.path or data.stores"),
        (["--search_result=none.h5"], "none.h5"),
        (["--protocol_preset=flyvi"], "preset"),
        (["--no_such=1"], "no_such"),
    ],
)
def test_bad_input_is_said_before_anything_is_run(
    store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    output = tmp_path / "walk"
    assert walk(*options(store, output), *arguments) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1 and said in errors[0]
    assert not list(output.rglob("*.h5")) and not list(output.rglob("*.ckpt"))


@pytest.mark.slow
def test_names_may_come_in_any_way_and_a_config_says_the_rest(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "walk.yaml"
    config.write_text(
        json.dumps({"cell_types": ["T4a", "T4b"], "generate": {"steps": 2}}), encoding="utf-8"
    )
    output = tmp_path / "walk"
    arguments = [a for a in options(store, output) if not a.startswith("--generate.steps")]
    assert walk("--config", str(config), *arguments, "--regularize.steps=2") == 0
    kept = ThreeOptima.read(output / "walk.h5")
    assert [item.cell_type for item in kept] == ["T4a", "T4b"]
    assert len(kept[0].artificial.losses) == 3
    printed = capsys.readouterr().out.splitlines()
    assert str(output / "walk.h5") in printed and str(output / "gallery/index.html") in printed
    # Another walk takes the search over: it was for all cell types.
    other = tmp_path / "other"
    result = output / "search" / "result.h5"
    again = [a for a in options(store, other, steps=2) if not a.startswith("--data")]
    assert walk("T5a", "T5d", *again, f"--search_result={result}") == 0
    assert not (other / "search").exists()
    assert [item.cell_type for item in ThreeOptima.read(other / "walk.h5")] == ["T5a", "T5d"]


def test_peaks_are_those_within_the_read_out_window(store: Path, tmp_path: Path) -> None:
    window = ["--protocol.readout_start=0.0", "--protocol.readout_stop=0.06"]
    assert walk("T4c", *options(store, tmp_path, *window)) == 0
    (item,) = ThreeOptima.read(tmp_path / "walk.h5")
    searched = read(tmp_path / "search" / "result.h5")
    row = list(searched["cell_type"]).index("T4c")
    assert item.naturalistic.peak == pytest.approx(searched["peak_response"][row, 0], rel=1e-6)
    for optimum in item.optima.values():
        assert optimum.peak == np.nanmax(optimum.central_response[:6])
        assert optimum.peak_frame < 6
    # There is something to leave out.
    assert item.artificial.central_response[6:].max() > item.artificial.peak
    board = EventAccumulator(str(tmp_path / "generate"))
    board.Reload()
    last = read(tmp_path / "generate" / "result.h5")["response_peak"][-1, 0]
    assert board.Scalars("response/peak")[-1].value == pytest.approx(last, rel=1e-6)


@pytest.mark.slow
def test_several_networks_and_seeds_are_items_of_one_fit(
    store: Path, trained_folder: Path, connectome_file: Path, tmp_path: Path
) -> None:
    folders = [str(trained_folder / name) for name in ("000", "001")]
    more = [
        f"--network.path=[{', '.join(folders)}]",
        f"--network.connectome={connectome_file}",
        "--seeds=[0, 3]",
    ]
    assert walk("T4c", *options(store, tmp_path, *more, steps=2)) == 0
    kept = ThreeOptima.read(tmp_path / "walk.h5")
    assert [(item.network, item.seed) for item in kept] == [(0, 0), (0, 3), (1, 0), (1, 3)]
    assert len({item.label for item in kept}) == 4
    # Seeds share the clip and its regularization, networks do not.
    assert len(kept.regularized["cell_type"]) == len(kept.naturalistic["cell_type"]) == 2
    np.testing.assert_array_equal(kept[0].regularized.stimulus, kept[1].regularized.stimulus)
    assert kept[0].naturalistic.peak != kept[2].naturalistic.peak
    network = flyvis_network(folders, connectome_file, EXTENT)
    for item in kept:
        cells = torch.tensor([network.cell_index("T4c")])
        said = network.respond(
            torch.from_numpy(item.artificial.stimulus)[None],
            kept.artificial.protocol,
            cells,
            torch.tensor([item.network]),
        )
        np.testing.assert_allclose(said[0, :, 0], item.artificial.central_response, atol=1e-5)
    assert len(list((tmp_path / "gallery" / "figures").iterdir())) == 4


def test_movies_are_rendered_on_the_way_and_films_drawn_at_the_end(tmp_path: Path) -> None:
    movies = tmp_path / "movies"
    movies.mkdir()
    frames = np.random.default_rng(0).integers(0, 256, (6, 120, 400), np.uint8)
    np.save(movies / "noise.npy", frames)
    output = tmp_path / "walk"
    arguments = [a for a in options(movies, output, steps=2) if not a.startswith("--data.stores")]
    assert walk("T4c", *arguments, f"--data.path={movies}", "--animate=true") == 0
    assert (output / "movies.h5").is_file()
    assert read(output / "walk.h5", "naturalistic")["store"][0, 0] == str(output / "movies.h5")
    films = sorted((output / "animations").iterdir())
    assert [film.stem for film in films] == sorted(f"T4c_{kind}" for kind in KINDS)
    for film, optimum in zip(films, ("artificial", "naturalistic", "regularized"), strict=True):
        stimulus = getattr(ThreeOptima.read(output / "walk.h5")[0], optimum).stimulus
        with Image.open(film) as opened:
            assert opened.format == "GIF" and opened.n_frames == len(stimulus)


@pytest.mark.slow
def test_the_main_job_without_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert walk() == 0
    output = tmp_path / "logs" / "optima_T4c"
    kept = ThreeOptima.read(output / "walk.h5")
    item = kept[0]
    span = np.ptp(item.naturalistic.central_response)
    assert item.artificial.peak > item.naturalistic.peak
    kept_within = np.abs(item.regularized.central_response - item.naturalistic.central_response)
    assert kept_within.max() <= 0.02 * span
    grey = [np.square(o.stimulus - 0.5).sum() for o in (item.naturalistic, item.regularized)]
    assert grey[1] < 0.1 * grey[0]
    # T4c: bright and upward.
    assert abs(kept.artificial["preferred_direction_deg"][0] - 90) < 30
    assert kept.artificial["polarity"][0] == 1
