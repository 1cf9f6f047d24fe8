"""The one way to run: what it writes, resumes, refuses and passes on to Lightning."""

from __future__ import annotations

import contextlib
import csv
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import stimopt
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.networks.frozen import FrozenNetwork
from stimopt.results import Result
from stimopt.runs.checkpointing import SafeCheckpointIO
from stimopt.runs.progress import FitProgress
from stimopt.runs.trainer import fit, fit_trainer, fit_with, run_search
from stimopt.search.naturalistic import NaturalisticSearch
from stimopt.storage.files import only_run_in
from tests.optimize.cases import generator
from tests.search.cases import EXTENT, noise_store, two_networks

CPU: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False}


def assert_same(one: Result, other: Result) -> None:
    assert one.variables.keys() == other.variables.keys()
    for name in one.variables:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def scalars(folder: Path, tag: str) -> list[int]:
    """Steps at which TensorBoard has a scalar."""
    board = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    board.Reload()
    return [event.step for event in board.Scalars(tag)]


# -- fits -----------------------------------------------------------------------------------------


def test_a_fit_without_a_folder_writes_nothing(
    small_network: FrozenNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = generator(small_network)
    result = stimopt.fit(module, steps=3, **CPU)
    assert not list(tmp_path.iterdir())
    assert_same(result, module.result())
    assert result["losses"].shape == (4, 2) and result.kind == "artificial"


def test_a_fit_leaves_what_it_promises(small_network: FrozenNetwork, tmp_path: Path) -> None:
    result = fit(generator(small_network), 6, tmp_path, log_every_n_steps=2, **CPU)
    assert_same(stimopt.read(tmp_path / "result.h5"), result)
    names = {path.name for path in tmp_path.iterdir() if "events" not in path.name}
    assert names == {"result.h5", "T4c.png", "T5a.png", "checkpoints", "hparams.yaml", ".lock"}
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()
    assert scalars(tmp_path, "loss/total/T4c") == [0, 2, 4, 6]


def test_a_resumed_fit_ends_as_one_that_was_not_interrupted(
    small_network: FrozenNetwork, tmp_path: Path
) -> None:
    whole = fit(generator(small_network), 11, **CPU)
    options = {**CPU, "checkpoint_every_n_steps": 4, "log_every_n_steps": 1}
    fit(generator(small_network), 6, tmp_path, **options)
    # The checkpoint is of step 4: steps 5 and 6 are done again and replace those in TensorBoard.
    resumed = fit(generator(small_network), 11, tmp_path, **options)
    assert_same(resumed, whole)
    assert scalars(tmp_path, "loss/total/T5a") == list(range(12))
    # A finished run has nothing left to do.
    assert_same(fit(generator(small_network), 11, tmp_path, **options), whole)


def test_a_run_leaves_nothing_of_its_own_in_the_trainer(small_network: FrozenNetwork) -> None:
    trainer = fit_trainer(2, **CPU)
    before = list(trainer.callbacks)  # type: ignore[attr-defined]
    fit_with(trainer, generator(small_network))
    assert trainer.callbacks == before  # type: ignore[attr-defined]


def test_a_run_that_starts_over_replaces_its_log(
    small_network: FrozenNetwork, tmp_path: Path
) -> None:
    # As after a kill before the first checkpoint.
    for _ in range(2):
        fit(generator(small_network), 3, tmp_path, enable_checkpointing=False, **CPU)
        settings = tmp_path / "hparams.yaml"
        assert "network_hash" in settings.read_text(encoding="utf-8")
        settings.write_bytes(b"")  # the kill came while it was written
    assert not (tmp_path / "checkpoints").exists()
    assert scalars(tmp_path, "loss/total/T4c") == [0, 3]


def test_a_checkpoint_is_read_once(
    small_network: FrozenNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(generator(small_network), 4, tmp_path, checkpoint_every_n_steps=2, **CPU)
    load, reads = torch.load, []

    def counted(path: Any, *args: Any, **kwargs: Any) -> Any:
        reads.append(path)
        return load(path, *args, **kwargs)

    monkeypatch.setattr(torch, "load", counted)
    fit(generator(small_network), 6, tmp_path, **CPU)
    assert reads == [tmp_path / "checkpoints" / "last.ckpt"]


def test_a_fit_resumes_from_the_file_named_or_starts_anew(
    small_network: FrozenNetwork, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    fit(generator(small_network), 4, first, checkpoint_every_n_steps=2, **CPU)
    checkpoint = first / "checkpoints" / "last.ckpt"
    module = generator(small_network)
    fit(module, 6, ckpt_path=checkpoint, **CPU)
    assert_same(module.result(), fit(generator(small_network), 6, **CPU))
    # Fewer steps than the folder has done are no error for a run that starts anew.
    again = fit(generator(small_network), 3, first, ckpt_path=None, **CPU)
    assert len(again["losses"]) == 4


def test_max_time_counts_anew_in_a_resumed_fit(
    small_network: FrozenNetwork, tmp_path: Path
) -> None:
    options = {**CPU, "checkpoint_every_n_steps": 2}
    fit(generator(small_network), 4, tmp_path, max_time={"hours": 1}, **options)
    reader, path = SafeCheckpointIO(), tmp_path / "checkpoints" / "last.ckpt"
    checkpoint = reader.load_checkpoint(path)
    # As a run leaves it that was ended by its time.
    checkpoint["callbacks"]["Timer"]["time_elapsed"]["train"] = 3600.0
    reader.save_checkpoint(checkpoint, path)
    resumed = fit(generator(small_network), 9, tmp_path, max_time={"hours": 1}, **options)
    assert len(resumed["losses"]) == 10
    # Nor does a run without a limit miss the time.
    assert len(fit(generator(small_network), 11, tmp_path, **options)["losses"]) == 12


def test_rejects_fewer_steps_than_were_done(small_network: FrozenNetwork, tmp_path: Path) -> None:
    fit(generator(small_network), 6, tmp_path, checkpoint_every_n_steps=2, **CPU)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"at least 6 steps, .*last\.ckpt has done, got 4"):
        fit(generator(small_network), 4, tmp_path, **CPU)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps as a whole number >= 1"),
        ({"max_steps": 20}, "the length of a fit as steps, got max_steps = 20"),
        ({"max_epochs": 2}, "the length of a fit as steps, got max_epochs = 2"),
        ({"devices": 2}, "one device for a fit, got 2"),
        ({"devices": 1000}, "at most .* devices on the CPU"),
        ({"checkpoint_every_n_steps": 0}, "steps between checkpoints"),
        ({"pictures_every_n_steps": 0}, "steps between pictures"),
        ({"ckpt_path": "none.ckpt"}, "a checkpoint at none.ckpt, got no file"),
    ],
)
def test_rejects_options_out_of_range(
    small_network: FrozenNetwork, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit(generator(small_network), **{"folder": tmp_path, **CPU, **options})
    assert not (tmp_path / "result.h5").exists()


def test_rejects_a_folder_in_which_another_run_is_at_work(
    small_network: FrozenNetwork, tmp_path: Path
) -> None:
    script = "import sys; from stimopt.storage.files import only_run_in\n"
    script += "with only_run_in(sys.argv[1]): print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(ValueError, match="another run is at work"):
            fit(generator(small_network), 2, tmp_path, **CPU)
        other.communicate(b"\n")
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with only_run_in(tmp_path):
        pass


def test_callbacks_and_loggers_of_the_caller(small_network: FrozenNetwork, tmp_path: Path) -> None:
    stopper = EarlyStopping(monitor="loss/total", mode="max", patience=1)  # stops what improves
    best = ModelCheckpoint(tmp_path / "best", "{epoch}", monitor="response/peak", mode="max")
    logger = CSVLogger(tmp_path, name="", version="")
    options = {**CPU, "log_every_n_steps": 3, "logger": logger}
    result = fit(generator(small_network), 60, callbacks=[stopper, best], **options)
    assert len(result["losses"]) < 60 and len(list((tmp_path / "best").iterdir())) == 1
    with open(tmp_path / "metrics.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert float(row["loss/total/T4c"]) == pytest.approx(result["losses"][0, 0])
    # Neither a checkpoint nor a log but those asked for.
    assert not list(tmp_path.rglob("last.ckpt")) and not list(tmp_path.rglob("events*"))


def test_parts_are_left_out_where_the_caller_brings_or_forbids_them(tmp_path: Path) -> None:
    def parts(**options: Any) -> tuple[list[str], bool]:
        trainer = fit_trainer(3, tmp_path, **{**CPU, **options})
        names = [type(part).__name__ for part in trainer.callbacks]  # type: ignore[attr-defined]
        return names, trainer.logger is not None

    mine = FitProgress()
    assert parts() == (["StimulusPictures", "LastCheckpoint"], True)
    assert parts(logger=False, enable_checkpointing=False) == (["StimulusPictures"], False)
    names, _ = parts(enable_progress_bar=True, callbacks=mine)
    assert names.count("FitProgress") == 1
    assert fit_trainer(3, tmp_path, **CPU).default_root_dir == str(tmp_path)
    assert fit_trainer(3, **CPU).logger is None


def test_ctrl_c_can_be_pressed_again_after_a_fit(small_network: FrozenNetwork) -> None:
    class Presses(pl.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            signal.raise_signal(signal.SIGINT)

    for _ in range(2):  # Lightning ignores the second
        with pytest.raises(KeyboardInterrupt):
            fit(generator(small_network), 5, callbacks=[Presses()], **CPU)


def test_lightning_is_quiet_within_a_run_alone(
    small_network: FrozenNetwork, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(generator(small_network), 2, tmp_path, **CPU)
    assert not [w for w in caught if "lightning" in w.filename] and not caplog.records
    pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    assert "GPU available" in caplog.text


# -- searches -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise_store(tmp_path_factory.mktemp("noise"))


class Breaks(pl.Callback):
    """Ends a search after three batches."""

    def on_test_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, i: int
    ) -> None:
        if i == 2:
            raise InterruptedError("stop")


def test_a_resumed_search_ends_as_one_that_was_not_interrupted(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    network = two_networks()

    def searched(folder: Path | None, **options: Any) -> Result:
        search = NaturalisticSearch(network, cell_types="T4c,T5a", top_k=2)
        data = StimulusDataModule([str(store)], batch_size=4, extent=EXTENT)
        return run_search(search, data, folder, **{**CPU, **options})

    whole = searched(None)
    assert not list(tmp_path.iterdir()), "without a folder it writes nothing"
    folder = tmp_path / "run"
    with contextlib.suppress(InterruptedError):
        searched(folder, checkpoint_every_n_batches=2, callbacks=[Breaks()])
    assert not (folder / "result.h5").exists()
    assert_same(searched(folder, checkpoint_every_n_batches=2), whole)
    assert_same(stimopt.read(folder / "result.h5"), whole)
    steps = scalars(folder, f"response/peak/{whole['label'][0]}")
    assert steps == [*range(8, 61, 8), 60], "at every second batch, and at the end"
    # A finished search has nothing left to do.
    assert_same(searched(folder), whole)


class CountsThreads(StimulusDataModule):
    """Notes how many threads torch has while clips are put side by side."""

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.threads = {*getattr(self, "threads", ()), torch.get_num_threads()}
        return batch


def test_torch_is_on_one_thread_throughout_a_search_and_not_after(store: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        data = CountsThreads([str(store)], batch_size=4, extent=EXTENT, stop_sample=8)
        run_search(NaturalisticSearch(two_networks(), cell_types="T4c"), data, **CPU)
        assert data.threads == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
