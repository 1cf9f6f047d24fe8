"""`stimopt optima`: three stages under one protocol, each read, resumed or run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stimopt.cli import main
from stimopt.networks.opening import builtin_network, flyvis_network
from stimopt.results.result import Result, read
from stimopt.results.three_optima import KINDS, ThreeOptima
from tests.search.cases import EXTENT, noise_store
from tests.whole.commandline import refusal

STAGES = ("search", "regularize", "ceiling", "generate")
FITS = ("search", "regularize", "generate")
Capture = pytest.CaptureFixture[str]

# A handful of steps finds no greyer stimulus.
pytestmark = pytest.mark.filterwarnings("ignore:expected a greyer stimulus")


def options(store: Path, output: Path, *more: str, steps: int = 6) -> list[str]:
    return [
        f"--network.extent={EXTENT}",
        f"--data.stores=[{store}]",
        "--data.batch_size=8",
        f"--regularize.max_steps={steps}",
        f"--generate.max_steps={steps}",
        "--generate.t_stim=0.08",
        "--trainer.accelerator=cpu",
        "--trainer.log_every_n_steps=2",
        "--trainer.enable_progress_bar=false",
        "--checkpoint_every_n_steps=2",
        f"--output={output}",
        *more,
    ]


def optima(*arguments: str) -> int:
    return main(["optima", *arguments])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise_store(tmp_path_factory.mktemp("noise"), lengths=(2, 4, 2, 3))


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run for two cell types that was finished after four steps, and continued to six."""
    output = tmp_path_factory.mktemp("whole") / "a run with späces"
    assert optima("T4c,T5a", *options(store, output, steps=4)) == 0
    before = files_of(output / "search")
    assert optima("T4c,T5a", *options(store, output)) == 0
    assert files_of(output / "search") == before
    return output


def test_the_efficient_optimum_comes_with_its_ceiling(
    store: Path, tmp_path: Path, capsys: Capture
) -> None:
    more = ["--generate.fraction=0.8", "--pictures_every_n_steps=1000"]
    assert optima("T4c,T5a", *options(store, tmp_path, *more, steps=120)) == 0
    found = ThreeOptima.read(tmp_path / "optima.h5")
    ceiling = read(tmp_path / "ceiling" / "result.h5")
    for item, peak in zip(found, ceiling["objective"], strict=True):
        assert item.span.ceiling == pytest.approx(float(peak), rel=1e-6)
        assert item.span.ceiling >= item.naturalistic.peak - 1e-4
        assert item.span.fraction(item.artificial.central_response[-1]) == pytest.approx(
            0.805, abs=5e-3
        )
    table = capsys.readouterr().out
    assert "ceiling" in table and "(80 %)" in table


def assert_same(one: Result, other: Result) -> None:
    """The same numbers, bit for bit."""
    assert one.variables.keys() == other.variables.keys()
    for name in one.variables:
        np.testing.assert_array_equal(one[name], other[name], err_msg=f"{one.kind}/{name}")


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def board_of(folder: Path) -> EventAccumulator:
    board = EventAccumulator(str(folder))
    board.Reload()
    return board


def test_a_run_leaves_what_it_promises(whole: Path) -> None:
    three, network = ThreeOptima.read(whole / "optima.h5"), builtin_network(EXTENT)
    for kind in KINDS:
        assert getattr(three, kind).check(network) <= 1e-6
    assert [item.label for item in three] == ["T4c", "T5a"]
    for stage in STAGES:
        assert (whole / stage / "result.h5").is_file()
        assert (whole / stage / "checkpoints" / "last.ckpt").is_file()
    for name in ("T4c", "T5a"):
        assert (whole / "figures" / f"{name}.png").is_file()
    assert "T5a" in (whole / "page" / "data" / "index.js").read_text(encoding="utf-8")
    text = (whole / "config.yaml").read_text(encoding="utf-8")
    assert "cell_types: T4c,T5a" in text and "method: efficient" in text
    assert not list(whole.rglob("*.part-*"))


def test_tensorboard_has_a_run_of_each_stage(whole: Path) -> None:
    for stage, tag in (
        ("search", "response/peak/T4c"),
        ("regularize", "constraint/violation/T4c"),
        ("generate", "loss/total/T5a"),
    ):
        assert board_of(whole / stage).Scalars(tag), stage
    board = board_of(whole / "optima")
    for name in (*KINDS, "responses"):
        # One of either run.
        _, picture = board.Images(f"optima/T4c/{name}")
        # In the width of a card, so that its text is not scaled.
        assert picture.encoded_image_string.startswith(b"\x89PNG") and picture.width == 350


def test_stages_are_those_of_the_single_commands(store: Path, whole: Path, tmp_path: Path) -> None:
    # The stages were continued, the single commands are not.
    shared = ["--trainer.accelerator=cpu", f"--network.extent={EXTENT}"]
    searched = tmp_path / "search"
    data = [f"--data.stores=[{store}]", "--data.batch_size=8"]
    assert main(["search", *shared, *data, f"--output={searched}"]) == 0
    fit = [*shared, "--trainer.max_steps=6", "--model.cell_types=T4c,T5a"]
    init = f"--model.init=naturalistic:{searched / 'result.h5'}"
    assert main(["regularize", *fit, init, f"--output={tmp_path / 'regularize'}"]) == 0
    # A single command does not know the clip, which is a third start of the ceiling here.
    ceiling = f"--model.ceiling={whole / 'ceiling' / 'result.h5'}"
    grown = ["--model.t_stim=0.08", ceiling, f"--output={tmp_path / 'generate'}"]
    assert main(["generate", *fit, *grown]) == 0
    assert not (tmp_path / "generate" / "ceiling").exists()
    results = [read(tmp_path / stage / "result.h5") for stage in FITS]
    for stage, result in zip(FITS[1:], results[1:], strict=True):
        assert_same(read(whole / stage / "result.h5"), result)
    alone = ThreeOptima(*results)
    for one, other in zip(ThreeOptima.read(whole / "optima.h5"), alone, strict=True):
        for kind in KINDS:
            first, second = getattr(one, kind), getattr(other, kind)
            np.testing.assert_array_equal(first.stimulus, second.stimulus, err_msg=kind)
        np.testing.assert_array_equal(one.regularized.losses, other.regularized.losses)
        np.testing.assert_array_equal(one.artificial.losses, other.artificial.losses)


# -- a second run in the folder -------------------------------------------------------------------


def test_a_rerun_does_nothing_again(store: Path, whole: Path) -> None:
    before = {stage: files_of(whole / stage) for stage in STAGES}
    # Names apart are those of one list.
    assert optima("T4c", "T5a", *options(store, whole)) == 0
    assert {stage: files_of(whole / stage) for stage in STAGES} == before


def test_fewer_steps_are_refused(store: Path, whole: Path, capsys: Capture) -> None:
    line = refusal(["optima", "T4c,T5a", *options(store, whole, steps=4)], capsys)
    assert line.startswith("expected at least 6 steps")


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--network.extent=2"], "network_hash"),
        (["--protocol.t_pre=0.5"], "protocol.t_pre"),
        (["--data.rotations=[0]"], "data"),
        (["--data.stop_sample=5"], "samples"),
        (["--search.top_k=3"], "top_k"),
        (["--search.keep_all=true"], "keep_all"),
        (["--seeds=1"], "items"),
        (["--generate.fraction=0.5"], "fractions"),
        (["--generate.objective=window_mean"], "objective"),
        (["--generate.patience=9"], "patience"),
        (["--generate.method=weighted"], "class"),
        (["--regularize.tolerance=0.1"], "tolerance"),
        (["--regularize.method=penalized"], "class"),
    ],
)
def test_a_folder_of_another_run_is_left_alone(
    store: Path, whole: Path, capsys: Capture, more: list[str], named: str
) -> None:
    if more[0] == "--network.extent=2":
        store = noise_store(whole.parent / "smaller", extent=2)
    before = {stage: files_of(whole / stage) for stage in STAGES}
    config = (whole / "config.yaml").read_bytes()
    line = refusal(["optima", "T4c,T5a", *options(store, whole), *more], capsys)
    assert named in line and "another output folder" in line
    assert (whole / "config.yaml").read_bytes() == config
    assert {stage: files_of(whole / stage) for stage in STAGES} == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["t4C"], "T4c"),
        (["T4c", "--seeds=-1"], "seeds"),
        (["T4c", "T4c"], "once"),
        (["--generate.max_steps=0"], "generate.max_steps"),
        (["--generate.objective=best"], "objective"),
        (["--generate.fraction=1.5"], "fraction"),
        (["--generate.anneal=0"], "anneal"),
        (["--regularize.tolerance=[0.01, 0.02]"], "one tolerance"),
        (["--regularize.method=penalized", "--regularize.tolerance=0.1"], "tolerance"),
        (["--data.path=movies"], "data.path or data.stores"),
        (["--protocol_preset=flyvi"], "preset"),
        (["--no_such=1"], "no_such"),
    ],
)
def test_bad_input_is_refused_before_the_search(
    store: Path, tmp_path: Path, capsys: Capture, arguments: list[str], named: str
) -> None:
    output = tmp_path / "out"
    assert named in refusal(["optima", *options(store, output), *arguments], capsys)
    assert not list(output.rglob("*.h5")) and not list(output.rglob("*.ckpt"))


# -- where options and movies come from -----------------------------------------------------------


def test_cell_types_from_a_config_and_a_search_from_elsewhere(
    store: Path, whole: Path, tmp_path: Path, capsys: Capture
) -> None:
    config = tmp_path / "optima.yaml"
    config.write_text(json.dumps({"cell_types": ["T4a", "T4b"], "generate": {"max_steps": 2}}))
    output = tmp_path / "out"
    # The search was for all cell types, so another run can take it over.
    search = f"--search_result={whole / 'search' / 'result.h5'}"
    own = ("--data", "--generate.max_steps")
    given = [a for a in options(store, output, search, steps=2) if not a.startswith(own)]
    assert optima("--config", str(config), *given) == 0
    assert not (output / "search").exists()
    three = ThreeOptima.read(output / "optima.h5")
    assert [item.cell_type for item in three] == ["T4a", "T4b"]
    assert len(three[0].artificial.losses) == 3
    printed = capsys.readouterr().out.splitlines()
    assert str(output / "optima.h5") in printed and str(output / "page/index.html") in printed
    # Options of a search that is not run would have no effect.
    for option in ("--data.seed=1", "--data.path=movies", "--search.top_k=2"):
        line = refusal(["optima", "T5a", *given, option], capsys)
        assert line.startswith(f"expected no {option.partition('=')[0]} beside --search_result")
    line = refusal(["optima", "T5a", *given, "--protocol.t_pre=0.5"], capsys)
    assert "protocol.t_pre" in line
    line = refusal(["optima", "T5a", *given, "--network.extent=2"], capsys)
    assert line.startswith("expected the network of the result") and "load that network" in line
    assert "none.h5" in refusal(["optima", "T5a", *given, "--search_result=none.h5"], capsys)


def test_movies_are_rendered_first_and_films_drawn_last(tmp_path: Path) -> None:
    movies = tmp_path / "movies"
    movies.mkdir()
    frames = np.random.default_rng(0).integers(0, 256, (4, 120, 400), np.uint8)
    np.save(movies / "noise.npy", frames)
    output = tmp_path / "out"
    more = [f"--data.path={movies}", "--generate.t_stim=0.06", "--animate=true"]
    given = options(movies, output, *more, steps=2)
    assert optima("T4c", *(a for a in given if not a.startswith("--data.stores"))) == 0
    store = read(output / "optima.h5", "naturalistic")["store"][0, 0]
    assert store == str(output / "movies.h5")
    films = sorted((output / "animations").iterdir())
    assert [film.stem for film in films] == sorted(f"T4c_{kind}" for kind in KINDS)
    (item,) = ThreeOptima.read(output / "optima.h5")
    for film, kind in zip(films, ("artificial", "naturalistic", "regularized"), strict=True):
        with Image.open(film) as opened:
            assert opened.format == "GIF"
            assert opened.n_frames == len(item.optima[kind].stimulus)


def test_peaks_are_those_within_the_read_out_window(store: Path, tmp_path: Path) -> None:
    window = ["--protocol.readout_start=0.0", "--protocol.readout_stop=0.06"]
    window += ["--generate.method=weighted", "--generate.t_stim=0.15"]
    assert optima("T4c", *options(store, tmp_path, *window)) == 0
    (item,) = ThreeOptima.read(tmp_path / "optima.h5")
    searched = read(tmp_path / "search" / "result.h5")
    row = list(searched["cell_type"]).index("T4c")
    assert item.naturalistic.peak == pytest.approx(searched["peak_response"][row, 0], rel=1e-6)
    for optimum in item.optima.values():
        assert optimum.peak == np.nanmax(optimum.central_response[:6])
        assert optimum.peak_frame < 6
    # The response is larger later, outside the window.
    assert item.artificial.central_response[6:].max() > item.artificial.peak
    last = read(tmp_path / "generate" / "result.h5")["response_peak"][-1, 0]
    logged = board_of(tmp_path / "generate").Scalars("response/peak")[-1].value
    assert logged == pytest.approx(last, rel=1e-6)


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
    assert optima("T4c", *options(store, tmp_path, *more, steps=2)) == 0
    three = ThreeOptima.read(tmp_path / "optima.h5")
    assert [(item.network, item.seed) for item in three] == [(0, 0), (0, 3), (1, 0), (1, 3)]
    assert len({item.label for item in three}) == 4
    # Seeds share the clip and its regularization, networks do not.
    assert len(three.regularized["cell_type"]) == len(three.naturalistic["cell_type"]) == 2
    np.testing.assert_array_equal(three[0].regularized.stimulus, three[1].regularized.stimulus)
    assert three[0].naturalistic.peak != three[2].naturalistic.peak
    network = flyvis_network(folders, connectome_file, EXTENT)
    for item in three:
        responses = network.respond(
            torch.from_numpy(item.artificial.stimulus)[None],
            three.artificial.protocol,
            torch.tensor([network.cell_index("T4c")]),
            torch.tensor([item.network]),
        )
        np.testing.assert_allclose(responses[0, :, 0], item.artificial.central_response, atol=1e-5)
    assert len(list((tmp_path / "figures").iterdir())) == 4


@pytest.mark.slow
def test_without_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert optima() == 0
    three = ThreeOptima.read(tmp_path / "logs" / "optima_T4c" / "optima.h5")
    item = three[0]
    assert item.naturalistic.peak < item.span.ceiling
    assert item.span.fraction(item.artificial.peak) > 0.9
    off = np.abs(item.regularized.central_response - item.naturalistic.central_response)
    assert off.max() <= 0.02 * np.ptp(item.naturalistic.central_response)
    grey = [np.square(o.stimulus - 0.5).sum() for o in (item.naturalistic, item.regularized)]
    assert grey[1] < 0.1 * grey[0]
    # T4c: bright and upward.
    assert abs(three.artificial["preferred_direction_deg"][0] - 90) < 30
    assert three.artificial["polarity"][0] == 1
