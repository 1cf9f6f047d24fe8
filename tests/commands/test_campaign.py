"""`stimopt campaign`: the same command in chunks, shared, resumed, and read as one."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import stimopt
from stimopt.cli import main
from stimopt.networks.opening import builtin_network
from stimopt.results import Result, ThreeOptima
from tests.commands.processes import STIMOPT, finish, started, wait_for
from tests.search.cases import EXTENT, noise_store
from tests.whole.commandline import refusal

Capture = pytest.CaptureFixture[str]
CONFIG = Path(__file__).parents[2] / "configs" / "campaign_slurm.yaml"
SMALL = [
    f"--network.extent={EXTENT}",
    "--network.lesions=Mi9>T4c",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
]
NO_PICTURES = "--trainer.logger=false"

# A handful of steps finds no greyer stimulus.
pytestmark = pytest.mark.filterwarnings("ignore:expected a greyer stimulus")


def generate(output: Path, *more: str, steps: int = 4) -> list[str]:
    items = ["--model.cell_types=T4c,T5d", "--model.seeds=[0, 2]", "--model.t_stim=0.05"]
    options = [f"--trainer.max_steps={steps}", f"--output={output}", "--checkpoint_every_n_steps=2"]
    return [*SMALL, *items, *options, *more]


def campaign(*arguments: str) -> int:
    return main(["campaign", *arguments])


def read(folder: Path) -> Result:
    result = stimopt.read(folder)
    assert isinstance(result, Result)
    return result


def assert_same(one: Result, other: Result) -> None:
    assert one.variables.keys() == other.variables.keys()
    for name, variable in one.variables.items():
        np.testing.assert_array_equal(
            np.asarray(variable.values), np.asarray(other[name]), err_msg=name
        )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise_store(tmp_path_factory.mktemp("noise"), lengths=(2, 4, 2, 3))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished campaign of four chunks."""
    output = tmp_path_factory.mktemp("campaigns") / "whole"
    options = generate(output, NO_PICTURES)
    assert campaign("--command=generate", *options, "--items_per_chunk=3") == 0
    return output


def test_a_campaign_is_the_command_in_chunks(whole: Path, tmp_path: Path) -> None:
    chunks = sorted(path.name for path in (whole / "chunks").iterdir())
    assert chunks == [
        "0000-builtin-T4c",
        "0001-builtin-T5d",
        "0002-builtin_without_Mi9_T4c-T4c",
        "0003-builtin_without_Mi9_T4c-T5d",
    ]
    assert not list((whole / "unfinished").iterdir()) and not list(whole.rglob("*.ckpt"))
    assert main(["generate", *generate(tmp_path, NO_PICTURES)]) == 0
    assert_same(read(whole), read(tmp_path / "result.h5"))
    assert read(whole).check(builtin_network(EXTENT).lesion("Mi9>T4c")) <= 1e-6


def test_a_chunk_has_the_config_that_runs_it_again(whole: Path, tmp_path: Path) -> None:
    config = f"--config={whole / 'chunks' / '0001-builtin-T5d' / 'config.yaml'}"
    assert main(["generate", config, f"--output={tmp_path}"]) == 0
    assert_same(read(tmp_path / "result.h5"), read(whole / "chunks/0001-builtin-T5d/result.h5"))


def test_a_rerun_does_nothing_again(whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (whole / "chunks").rglob("*")}
    assert campaign("--command=generate", *generate(whole), "--items_per_chunk=3") == 0
    assert campaign(f"--config={whole / 'config.yaml'}") == 0
    assert {path: path.stat().st_mtime_ns for path in (whole / "chunks").rglob("*")} == before


def test_a_level_is_sought_from_the_ceilings_of_a_campaign(tmp_path: Path) -> None:
    options = ["--command=generate", "--method=ceiling", "--model.cell_types=T4c,T5d", *SMALL]
    few = ["--model.t_stim=0.1", "--trainer.max_steps=4", "--items_per_chunk=1"]
    assert campaign(*options, *few, f"--output={tmp_path / 'campaign'}") == 0
    efficient = ["generate", "--model.cell_types=T4c,T5d", "--model.t_stim=0.1", *SMALL]
    file = f"--model.ceiling={tmp_path / 'campaign'}"
    assert main([*efficient, "--trainer.max_steps=4", file, f"--output={tmp_path / 'fit'}"]) == 0
    assert len(read(tmp_path / "fit" / "result.h5")["ceiling"]) == 4


def test_a_campaign_goes_on_where_a_file_that_it_names_has_moved(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sought = ["--method=ceiling", "--model.cell_types=T4c", "--model.t_stim=0.1", *SMALL]
    for name, anneal in (("here", 2), ("other", 3)):
        assert main(["generate", *sought, f"--model.anneal={anneal}", f"--output={name}"]) == 0
    options = ["--command=generate", "--model.t_stim=0.1", "--trainer.max_steps=4", *SMALL]
    options.append("--output=campaign")
    assert campaign(*options, "--model.ceiling=here/result.h5") == 0
    Path("here").rename("there")
    moved = tmp_path / "there" / "result.h5"
    assert campaign(*options, f"--model.ceiling={moved}") == 0
    other = "--model.ceiling=other/result.h5"
    line = refusal(["campaign", *options, other], capsys)
    assert "expected model.ceiling = " in line


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--network.lesions=Mi9>T4a"], "network_hash"),
        (["--protocol.t_pre=0.5"], "protocol.t_pre"),
        (["--model.cell_types=T4a"], "cell_types"),
        (["--model.seeds=0"], "seeds"),
        (["--model.networks=[1]"], "networks"),
        (["--model.fraction=0.5"], "model.fraction"),
        (["--trainer.max_steps=9"], "trainer.max_steps"),
        (["--items_per_chunk=5"], "items_per_chunk"),
    ],
)
def test_a_folder_of_another_campaign_is_left_alone(
    whole: Path, capsys: Capture, more: list[str], named: str
) -> None:
    config = (whole / "config.yaml").read_bytes()
    options = ["--command=generate", *generate(whole), "--items_per_chunk=3", *more]
    line = refusal(["campaign", *options], capsys)
    assert f"expected {named} = " in line and "another output folder" in line
    assert (whole / "config.yaml").read_bytes() == config


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--command=fly"], "command as one of 'optima'"),
        (["--cell_types=T4C"], "T4c"),
        (["--cell_types=T4c,T4c"], "once"),
        (["--network.lesions=Mi9>T4x"], "T4x"),
        (["--network.lesions=Mi9>T5c"], "a pathway to cut"),
        (
            ["--network.lesions=L1>Mi1", "--cell_types=Mi1,T4c"],
            "photoreceptors to every cell, got none to Mi1 of builtin without L1>Mi1",
        ),
        (["--networks=[0, 0]"], "networks listed once each"),
        (["--items_per_chunk=0"], "items_per_chunk"),
        (["--data.path=movies"], "stimopt render"),
        (["--command=generate", "--trainer.max_time=00:01:00:00"], "no trainer.max_time"),
        (["--model.t_stim=1"], "model"),
    ],
)
def test_bad_input_is_refused_before_the_first_chunk(
    tmp_path: Path, capsys: Capture, arguments: list[str], named: str
) -> None:
    output = tmp_path / "out"
    assert named in refusal(["campaign", *SMALL, f"--output={output}", *arguments], capsys)
    assert not output.exists()


def test_the_config_for_slurm_gives_the_optima_of_several_networks_and_their_page(
    store: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert CONFIG.name == "campaign_slurm.yaml"
    short = ["--regularize.max_steps=3", "--generate.max_steps=3", "--generate.t_stim=0.05"]
    options = [*SMALL, *short, f"--data.stores=[{store}]", "--cell_types=T4c"]
    own = ["--network.path=null", f"--output={tmp_path / 'all'}"]
    assert campaign(f"--config={CONFIG}", *options, *own) == 0
    written = (tmp_path / "all" / "config.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(written)["items_per_chunk"] == 65
    printed = capsys.readouterr().out
    assert printed.count("T4c-builtin") == 2 and str(tmp_path / "all/page/index.html") in printed
    assert main(["optima", *options, f"--output={tmp_path / 'once'}"]) == 0
    joined, once = stimopt.read(tmp_path / "all"), stimopt.read(tmp_path / "once" / "optima.h5")
    assert isinstance(joined, ThreeOptima) and isinstance(once, ThreeOptima)
    for kind in ("naturalistic", "regularized", "artificial"):
        assert_same(getattr(joined, kind), getattr(once, kind))
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name / "page").rglob("*.*")}
        for name in ("all", "once")
    ]
    assert files[0] == files[1] and "0001.js" in files[0]
    assert not list((tmp_path / "all" / "chunks").rglob("index.html"))


def test_a_search_is_split_by_networks(store: Path, tmp_path: Path) -> None:
    options = [*SMALL, f"--data.stores=[{store}]", "--model.top_k=2"]
    assert campaign("--command=search", *options, f"--output={tmp_path / 'all'}") == 0
    assert len(list((tmp_path / "all" / "chunks").iterdir())) == 2
    assert main(["search", *options, f"--output={tmp_path / 'once'}"]) == 0
    assert_same(read(tmp_path / "all"), read(tmp_path / "once" / "result.h5"))


# -- several processes ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_campaign_resumes(whole: Path, tmp_path: Path) -> None:
    options = ["--command=generate", *generate(tmp_path), "--items_per_chunk=3"]
    checkpoint = tmp_path / "unfinished" / "0001-builtin-T5d" / "checkpoints" / "last.ckpt"
    with started(*STIMOPT, "campaign", *options) as process:
        wait_for(checkpoint, process)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "chunks" / "0001-builtin-T5d").exists()
    before = (tmp_path / "chunks" / "0000-builtin-T4c" / "result.h5").stat().st_mtime_ns
    finish(*STIMOPT, "campaign", *options)
    assert (tmp_path / "chunks/0000-builtin-T4c/result.h5").stat().st_mtime_ns == before
    assert_same(read(whole), read(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("by", ["terminals", "torchrun"])
def test_processes_share_the_chunks_and_run_none_twice(
    whole: Path, tmp_path: Path, by: str
) -> None:
    options = ["campaign", "--command=generate", *generate(tmp_path), "--items_per_chunk=3"]
    if by == "torchrun":
        run = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
        finish(*run, "-m", "stimopt", *options)
    else:
        with started(*STIMOPT, *options) as one, started(*STIMOPT, *options) as other:
            for process in (one, other):
                _, err = process.communicate(timeout=240)
                assert process.returncode == 0, err
    assert_same(read(whole), read(tmp_path))
    # A chunk that ran twice would have two logs.
    logs = [len(list(path.glob("events*"))) for path in (tmp_path / "chunks").iterdir()]
    assert logs == [1] * 4
