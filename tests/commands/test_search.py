"""The search and render commands: as processes that are killed, doubled and scheduled."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

import stimopt
from stimopt.cli import main
from stimopt.commands.search import SearchCLI
from stimopt.movies import MovieStore
from stimopt.results.result import read
from stimopt.runs.checkpointing import SafeCheckpointIO
from tests.search.cases import EXTENT, LENGTHS, assert_same_result, noise_store, variables_of

ROOT = Path(stimopt.__file__).parents[1]
CONFIGS = ROOT / "configs"
ENVIRONMENT = {
    **{k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "MASTER_"))},
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise_store(tmp_path_factory.mktemp("noise"))


def options(store: Path, output: Path, *more: str) -> list[str]:
    """Arguments of a search over 600 samples that takes a few seconds."""
    return [
        "search",
        f"--network.extent={EXTENT}",
        f"--data.stores=[{', '.join([str(store)] * 10)}]",
        "--data.batch_size=4",
        "--model.top_k=3",
        "--model.one_per_window=true",
        "--model.keep_all=true",
        "--trainer.accelerator=cpu",
        "--checkpoint_every=2",
        f"--output={output}",
        *more,
    ]


@contextlib.contextmanager
def started(*command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own, all of which is killed at the end."""
    process = subprocess.Popen(
        command,
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def finish(*command: str, **environment: str) -> str:
    """Run a process to its end; gives what it printed."""
    with started(*command, **environment) as process:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
    return out


def stimopt_command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "stimopt", *arguments]


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a search that was left alone."""
    output = tmp_path_factory.mktemp("whole")
    assert main(options(store, output)) == 0
    return output / "result.h5"


def broken_off(command: list[str], output: Path, by: signal.Signals) -> tuple[int, str, int]:
    """Break a search off within its pass; gives exit code, errors and the next sample."""
    checkpoint = output / "checkpoints" / "last.ckpt"
    for _ in range(5):
        with started(*command) as process:
            until = time.monotonic() + 120
            while not checkpoint.exists():
                assert process.poll() is None and time.monotonic() < until
                time.sleep(0.002)
            time.sleep(random.uniform(0, 0.2))
            for pid in descendants(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, by)
            _, err = process.communicate(timeout=60)
        if not (output / "result.h5").exists():
            done = SafeCheckpointIO().load_checkpoint(checkpoint)["stimopt"]["next_sample"]
            return process.returncode, err, done
        # This machine was too busy to notice in time.
        shutil.rmtree(output)
    pytest.fail("every search was over before it could be broken off")


def descendants(pid: int) -> list[int]:
    """A process and all it started: torchrun puts its own into sessions of their own."""
    found = [pid]
    for parent in found:
        children = Path(f"/proc/{parent}/task/{parent}/children")
        found += map(int, children.read_text().split() if children.exists() else [])
    return found


def test_a_search_killed_within_its_pass_goes_on_to_the_same_answer(
    store: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    arguments = options(store, output)
    code, _, done = broken_off(stimopt_command(arguments), output, signal.SIGKILL)
    assert code == -signal.SIGKILL and 0 < done < 600
    capsys.readouterr()
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "T4c" in captured.out and str(output / "result.h5") in captured.out
    assert "600/600 samples" in captured.err
    assert_same_result(whole, output / "result.h5")


@pytest.mark.slow
def test_a_search_killed_at_any_moment_again_and_again(
    store: Path, whole: Path, tmp_path: Path
) -> None:
    arguments = stimopt_command(options(store, tmp_path))
    for _ in range(12):
        # From before the first line is run to after the last.
        patience = random.uniform(0, 12)
        with started(*arguments) as process, contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    finish(*arguments)
    assert_same_result(whole, tmp_path / "result.h5")
    assert not list(tmp_path.rglob(".*.part-*.h5"))


@pytest.mark.slow
@pytest.mark.parametrize(("by", "expected"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_and_started_again_it_goes_on(
    store: Path, whole: Path, tmp_path: Path, by: signal.Signals, expected: int
) -> None:
    output = tmp_path / "run"
    arguments = options(store, output)
    code, err, _ = broken_off(stimopt_command(arguments), output, by)
    assert code == expected and "the same command goes on" in err, err
    assert main(arguments) == 0
    assert_same_result(whole, output / "result.h5")


SHARED_WORK = """
import sys
from pathlib import Path
import lightning.pytorch as pl
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.networks.opening import builtin_network
from stimopt.search.naturalistic import NaturalisticSearch
from stimopt.search.callbacks import SearchCheckpoint

store, extent, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])


class Watch(pl.Callback):
    def on_test_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        with (folder / f"rank{trainer.global_rank}").open("a") as file:
            print(*batch.sample.tolist(), file=file)


data = StimulusDataModule([store] * 10, batch_size=4)
search = NaturalisticSearch(
    builtin_network(extent), top_k=3, one_per_window=True, keep_all=True
)
trainer = pl.Trainer(
    accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False,
    callbacks=[Watch(), SearchCheckpoint(folder, 2)],
)
trainer.test(search, datamodule=data, verbose=False)
if trainer.is_global_zero:
    search.result().write(folder / "result.h5")
"""


def test_two_processes_share_the_work_and_give_the_answer_of_one(
    store: Path, whole: Path, tmp_path: Path
) -> None:
    script = tmp_path / "shared_work.py"
    script.write_text(SHARED_WORK)
    finish(sys.executable, str(script), str(store), str(EXTENT), str(tmp_path))
    seen = [set(map(int, (tmp_path / f"rank{i}").read_text().split())) for i in range(2)]
    assert seen[0] | seen[1] == set(range(600)) and not seen[0] & seen[1]
    assert len(seen[0]) == len(seen[1]) == 300
    assert_same_result(whole, tmp_path / "result.h5")


@pytest.mark.slow
def test_torchrun_and_a_single_process_go_on_from_each_other(
    store: Path, whole: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    arguments = options(store, output, "--trainer.devices=2", "--trainer.strategy=ddp")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    torchrun += [f"--master-port={free_port()}", "-m", "stimopt", *arguments]
    _, _, first = broken_off(torchrun, output, signal.SIGKILL)
    assert 0 < first < 600 and first % 16 == 0, "two processes, two batches of four"
    # One process alone goes on from what two had done, and two from what it had.
    alone = stimopt_command(options(store, output))
    with started(*alone) as process:
        checkpoint = output / "checkpoints" / "last.ckpt"
        while SafeCheckpointIO().load_checkpoint(checkpoint)["stimopt"]["next_sample"] == first:
            assert process.poll() is None
            time.sleep(0.01)
    finish(*torchrun)
    assert_same_result(whole, output / "result.h5")


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


def slurm(rank: int, tasks: int, per_node: int) -> dict[str, str]:
    """What srun sets for a task."""
    nodes = tasks // per_node
    return {
        "SLURM_JOB_ID": "4242",
        "SLURM_JOB_NAME": "search",
        "SLURM_NTASKS": str(tasks),
        "SLURM_NTASKS_PER_NODE": str(per_node),
        "SLURM_NNODES": str(nodes),
        "SLURM_NODELIST": f"node[1-{nodes}]" if nodes > 1 else "localhost",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank % per_node),
        "SLURM_NODEID": str(rank // per_node),
    }


def test_the_slurm_config_takes_its_place_from_slurm(
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The config asks for GPUs and trained networks: those alone are exchanged here.
    arguments = [
        f"--config={CONFIGS / 'search_slurm.yaml'}",
        "--network.path=null",
        f"--network.extent={EXTENT}",
        f"--data.stores={store}",
        "--trainer.accelerator=cpu",
        f"--output={tmp_path}",
    ]
    for name, value in slurm(rank=6, tasks=8, per_node=4).items():
        monkeypatch.setenv(name, value)
    # Lightning keeps the rank for the process: without this no later test would write its log.
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    trainer = SearchCLI(arguments).trainer
    environment = trainer._accelerator_connector.cluster_environment
    assert isinstance(environment, SLURMEnvironment) and environment.auto_requeue
    assert (trainer.world_size, trainer.num_nodes, trainer.num_devices) == (8, 2, 4)
    assert (trainer.global_rank, trainer.node_rank, trainer.local_rank) == (6, 1, 2)
    assert not trainer.is_global_zero
    assert environment.main_address == "node1"
    assert Path(trainer.default_root_dir) == tmp_path
    # Another number of tasks than the config says.
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    assert main(["search", *arguments]) == 2
    assert "--ntasks-per-node=2` does not match" in capsys.readouterr().err


@pytest.mark.slow
def test_two_tasks_under_slurm_share_a_search(store: Path, whole: Path, tmp_path: Path) -> None:
    arguments = options(store, tmp_path, "--trainer.devices=2", "--trainer.strategy=ddp")
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    tasks = [{**slurm(rank, 2, 2), **address} for rank in range(2)]
    command = stimopt_command(arguments)
    with started(*command, **tasks[1]) as other:
        out = finish(*command, **tasks[0])
        quiet, err = other.communicate(timeout=60)
        assert other.returncode == 0, err
    assert "T4c" in out and "T4c" not in quiet, "the first task alone prints"
    assert_same_result(whole, tmp_path / "result.h5")


def test_the_config_of_the_built_in_search_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = f"--config={CONFIGS / 'search_builtin.yaml'}"
    # 24 of the 222 movies, and fewer columns, to be done sooner.
    more = ["--data.start_sample=24", "--data.stop_sample=48", "--network.extent=4"]
    preset = ["--protocol_preset=flyvis_search", "--protocol.baseline=grey"]
    assert main(["search", config, f"--output={tmp_path}", *more, *preset]) == 0
    out = capsys.readouterr().out
    result = read(tmp_path / "result.h5")
    assert str(tmp_path / "result.h5") in out
    protocol = result.protocol
    assert (protocol.t_pre, protocol.t_fade_in, protocol.baseline) == (0.0, 2.0, "grey")
    rows = {line.split()[1]: line for line in out.splitlines() if line.startswith("│")}
    for i, cell_type in enumerate(result.cell_type):
        row = rows[cell_type]
        assert f"{result.peak_response[i, 0]:.3f}" in row and str(result.scene[i, 0]) in row
    # What was run is written down, and gives the same again.
    again = tmp_path / "again"
    written = [f"--config={tmp_path / 'config.yaml'}", f"--output={again}"]
    assert main(["search", *written]) == 0
    assert_same_result(tmp_path / "result.h5", again / "result.h5")


def test_the_config_of_the_film_search_runs(shared: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.h5"
    assert main(["render", str(shared / "data/sintel-clip"), str(film), "--progress=false"]) == 0
    flyvis = shared / "data/flyvis"
    folders = [str(flyvis / f"results/flow/0000/00{i}") for i in (0, 1)]
    arguments = [
        f"--config={CONFIGS / 'search_sintel.yaml'}",
        f"--network.path=[{', '.join(folders)}]",
        f"--network.connectome={flyvis / 'connectome/fib25-fib19_v2.2.json'}",
        f"--data.stores={film}",
        "--data.start_sample=420",
        "--data.stop_sample=424",
        "--trainer.enable_progress_bar=false",
        "--trainer.logger=false",
        f"--output={tmp_path / 'run'}",
    ]
    assert main(["search", *arguments]) == 0
    assert (tmp_path / "run/config.yaml").is_file()
    result = read(tmp_path / "run/result.h5")
    with h5py.File(shared / "reference/flyvis-1.2.0.h5") as file:
        expected = file["search/peak_response"][420:424]
    first = result.peak_response[:65, 0]
    np.testing.assert_allclose(first, expected.max(axis=0), rtol=0, atol=1e-4)
    assert (result["sample"][:65, 0] - 420).tolist() == expected.argmax(axis=0).tolist()
    assert len(result["label"]) == 130 and set(result.network.tolist()) == {0, 1}
    # All four samples are turns of one window, so there is one event.
    assert (result["sample"][:, 1:] == -1).all() and np.isnan(result.peak_response[:, 1:]).all()


def test_bad_input_ends_with_one_line_and_leaves_no_result(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = options(store, tmp_path / "run")
    assert main([*arguments, "--model.cell_types=[T9z]"]) == 2
    assert "expected one of" in capsys.readouterr().err
    assert main([*arguments, "--network.extent=2"]) == 2
    assert "expected stores of extent 2" in capsys.readouterr().err
    assert main([*arguments, f"--data.stores={tmp_path / 'none.h5'}"]) == 2
    assert "none.h5" in capsys.readouterr().err
    assert main([*arguments, "--protocol_preset=flyvis"]) == 2
    assert "expected a protocol preset" in capsys.readouterr().err
    assert not (tmp_path / "run/result.h5").exists()


def test_render_says_what_is_in_the_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise_store(tmp_path)
    out = tmp_path / "again.h5"
    arguments = ["render", str(tmp_path / "movies"), str(out), f"--extent={EXTENT}"]
    arguments += ["--kernel_size=3", "--views=2", "--width_fraction=1", "--dtype=float16"]
    arguments += ["--frame_rate=30", "--progress=false"]
    assert main(arguments) == 0
    frames = 2 * sum(LENGTHS)
    said = capsys.readouterr().out
    assert f"4 scenes in 8 views, {frames} frames of extent {EXTENT}" in said and str(out) in said
    with MovieStore(out) as store:
        assert [scene.frame_rate for scene in store.scenes] == [30.0] * 8
    assert main(arguments) == 0, "the same again is done already"
    assert main([*arguments, "--drop_first=0"]) == 2
    assert "expected no other file" in capsys.readouterr().err
    assert main([*arguments, "--drop_first=0", "--overwrite=true"]) == 0
    assert main(["render", str(tmp_path / "none"), str(out)]) == 2
    assert "nothing is at" in capsys.readouterr().err


MEASURE = """
import resource, sys
from stimopt.cli import main
assert main(sys.argv[1:]) == 0
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_is_flat_over_a_hundred_times_as_many_samples(shared: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.h5"
    render = ["render", str(shared / "data/sintel-clip"), str(film), "--extent=5"]
    assert main([*render, "--progress=false"]) == 0
    peaks, found = {}, {}
    for times in (1, 100):
        output = tmp_path / f"run{times}"
        stores = f"[{', '.join([str(film)] * times)}]"
        out = finish(
            *(sys.executable, "-c", MEASURE, "search", "--network.extent=5"),
            *(f"--data.stores={stores}", f"--output={output}", "--data.batch_size=16"),
            *("--trainer.accelerator=cpu", "--checkpoint_every=50"),
        )
        peaks[times] = int(out.split()[-1])
        found[times] = variables_of(output / "result.h5")
        assert read(output / "result.h5").config["samples"] == 432 * times
    print("peak resident memory in kB:", peaks)
    assert abs(peaks[100] / peaks[1] - 1) < 0.05
    for name in ("sample", "peak_response", "stimulus"):
        np.testing.assert_array_equal(found[1][name], found[100][name])
