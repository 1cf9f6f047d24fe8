"""`stimopt search`: its table, several processes that share a search, and their schedulers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from stimopt.cli import main
from stimopt.commands import search
from stimopt.results.result import read
from stimopt.runs.checkpointing import SafeCheckpointIO
from tests.commands.processes import STIMOPT, descendants, finish, started, wait_for
from tests.search.cases import EXTENT, assert_same_result, noise_store, variables_of

CONFIG = Path(__file__).parents[2] / "configs" / "search_slurm.yaml"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise_store(tmp_path_factory.mktemp("noise"))


def command(store: Path, output: Path, *more: str) -> list[str]:
    """A search over 600 samples that takes a few seconds."""
    return [
        "search",
        f"--network.extent={EXTENT}",
        f"--data.stores=[{', '.join([str(store)] * 10)}]",
        "--data.batch_size=4",
        "--model.top_k=3",
        "--model.one_per_window=true",
        "--model.keep_all=true",
        "--trainer.accelerator=cpu",
        "--checkpoint_every_n_batches=2",
        f"--output={output}",
        *more,
    ]


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of one process that was not interrupted."""
    output = tmp_path_factory.mktemp("whole")
    assert main(command(store, output)) == 0
    return output / "result.h5"


def test_prints_the_winner_of_every_cell_type(store: Path, tmp_path: Path, capsys: Capture) -> None:
    more = ["--protocol_preset=flyvis_search", "--protocol.baseline=grey", "--data.stop_sample=60"]
    assert main(command(store, tmp_path, *more)) == 0
    printed = capsys.readouterr()
    result = read(tmp_path / "result.h5")
    protocol = result.protocol
    assert (protocol.t_pre, protocol.t_fade_in, protocol.baseline) == (0.0, 2.0, "grey")
    rows = {line.split()[1]: line for line in printed.out.splitlines() if line.startswith("│")}
    for i, cell_type in enumerate(result.cell_type):
        row = rows[cell_type]
        assert f"{result.peak_response[i, 0]:.3f}" in row and str(result.scene[i, 0]) in row
    assert printed.out.splitlines()[-1] == str(tmp_path / "result.h5")
    assert "60/60 samples" in printed.err
    # The config beside the result gives the same again.
    again = tmp_path / "again"
    written = [f"--config={tmp_path / 'config.yaml'}", f"--output={again}"]
    assert main(["search", *written]) == 0
    assert_same_result(tmp_path / "result.h5", again / "result.h5")


# -- several processes ----------------------------------------------------------------------------

SHARED_WORK = """
import sys
from pathlib import Path
import lightning.pytorch as pl
import stimopt

store, extent, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])


class Watch(pl.Callback):
    def on_test_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        with (folder / f"rank{trainer.global_rank}").open("a") as file:
            print(*batch.sample.tolist(), file=file)


search = stimopt.NaturalisticSearch(
    stimopt.builtin_network(extent), top_k=3, one_per_window=True, keep_all=True
)
data = stimopt.StimulusDataModule([store] * 10, batch_size=4)
two = {"accelerator": "cpu", "devices": 2, "strategy": "ddp", "callbacks": [Watch()]}
stimopt.run_search(search, data, folder, **two)
"""


def test_two_processes_share_a_search_and_give_the_result_of_one(
    store: Path, whole: Path, tmp_path: Path
) -> None:
    script = tmp_path / "shared_work.py"
    script.write_text(SHARED_WORK)
    finish(sys.executable, str(script), str(store), str(EXTENT), str(tmp_path))
    seen = [set(map(int, (tmp_path / f"rank{i}").read_text().split())) for i in range(2)]
    assert seen[0] | seen[1] == set(range(600)) and not seen[0] & seen[1]
    assert len(seen[0]) == len(seen[1]) == 300
    assert_same_result(whole, tmp_path / "result.h5")


def next_sample(output: Path) -> int:
    checkpoint = SafeCheckpointIO().load_checkpoint(output / "checkpoints" / "last.ckpt")
    sample: int = checkpoint["stimopt"]["next_sample"]
    return sample


@pytest.mark.slow
def test_torchrun_and_a_single_process_resume_from_each_other(
    store: Path, whole: Path, tmp_path: Path
) -> None:
    two = command(store, tmp_path, "--trainer.devices=2", "--trainer.strategy=ddp")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    torchrun += [f"--master-port={free_port()}", "-m", "stimopt", *two]
    with started(*torchrun) as process:
        wait_for(tmp_path / "checkpoints" / "last.ckpt", process)
        for pid in descendants(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    first = next_sample(tmp_path)
    assert 0 < first < 600 and first % 16 == 0, "two processes, two batches of four"
    with started(*STIMOPT, *command(store, tmp_path)) as process:
        while next_sample(tmp_path) == first:
            assert process.poll() is None
            time.sleep(0.01)
    finish(*torchrun)
    assert_same_result(whole, tmp_path / "result.h5")


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


def trainer_of(arguments: list[str]) -> pl.Trainer:
    return search.SearchCLI(search.parser(arguments), arguments).trainer


def test_the_slurm_config_takes_its_place_from_slurm(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    # The config asks for GPUs and trained networks: only those are replaced here.
    arguments = [
        f"--config={CONFIG}",
        "--network.path=null",
        f"--network.extent={EXTENT}",
        f"--data.stores={store}",
        "--trainer.accelerator=cpu",
        f"--output={tmp_path}",
    ]
    for name, value in slurm(rank=6, tasks=8, per_node=4).items():
        monkeypatch.setenv(name, value)
    # Lightning stores the rank for the process: without this no later test would write its log.
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    trainer = trainer_of(arguments)
    environment = trainer._accelerator_connector.cluster_environment
    assert isinstance(environment, SLURMEnvironment) and environment.auto_requeue
    assert (trainer.world_size, trainer.num_nodes, trainer.num_devices) == (8, 2, 4)
    assert (trainer.global_rank, trainer.node_rank, trainer.local_rank) == (6, 1, 2)
    assert not trainer.is_global_zero
    assert environment.main_address == "node1"
    assert Path(trainer.default_root_dir) == tmp_path
    # Another number of tasks than in the config.
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    assert main(["search", *arguments]) == 2
    assert "--ntasks-per-node=2` does not match" in capsys.readouterr().err


@pytest.mark.slow
def test_two_tasks_under_slurm_share_a_search(store: Path, whole: Path, tmp_path: Path) -> None:
    arguments = command(store, tmp_path, "--trainer.devices=2", "--trainer.strategy=ddp")
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    tasks = [{**slurm(rank, 2, 2), **address} for rank in range(2)]
    with started(*STIMOPT, *arguments, **tasks[1]) as other:
        out = finish(*STIMOPT, *arguments, **tasks[0])
        quiet, err = other.communicate(timeout=60)
        assert other.returncode == 0, err
    assert "T4c" in out and "T4c" not in quiet, "only the first task prints"
    assert_same_result(whole, tmp_path / "result.h5")


# -- memory ---------------------------------------------------------------------------------------

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
    peaks, variables = {}, {}
    for times in (1, 100):
        output = tmp_path / f"run{times}"
        stores = f"[{', '.join([str(film)] * times)}]"
        out = finish(
            *(sys.executable, "-c", MEASURE, "search", "--network.extent=5"),
            *(f"--data.stores={stores}", f"--output={output}", "--data.batch_size=16"),
            *("--trainer.accelerator=cpu", "--checkpoint_every_n_batches=50"),
        )
        peaks[times] = int(out.split()[-1])
        variables[times] = variables_of(output / "result.h5")
        assert read(output / "result.h5").config["samples"] == 432 * times
    print("peak resident memory in kB:", peaks)
    assert abs(peaks[100] / peaks[1] - 1) < 0.05
    for name in ("sample", "peak_response", "stimulus"):
        np.testing.assert_array_equal(variables[1][name], variables[100][name])
