"""Checkpoints and scalars within the pass of a search."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger

from stimopt.movies.datamodule import StimulusDataModule
from stimopt.protocol import Protocol
from stimopt.runs.checkpointing import SafeCheckpointIO
from stimopt.search.callbacks import SearchCheckpoint
from stimopt.search.naturalistic import NaturalisticSearch
from tests.search.cases import grey_store, linear_network, searched


def test_checkpoints_and_any_logger_see_the_best_so_far(tmp_path: Path) -> None:
    path = grey_store(tmp_path, [[0.6] * 4, [0.9] * 4, [0.2] * 4])
    data = StimulusDataModule(str(path), mirrorings=[0], rotations=[0], batch_size=1)
    logger = CSVLogger(tmp_path / "log", flush_logs_every_n_steps=1)
    search = searched(
        NaturalisticSearch(linear_network(), Protocol(t_pre=0.05)),
        data,
        logger=logger,
        callbacks=[SearchCheckpoint(tmp_path, every_n_batches=2)],
    )
    metrics = {name: float(value) for name, value in search.trainer.callback_metrics.items()}
    assert metrics == pytest.approx(
        {"response/peak/on": 0.9, "response/peak/off": -0.1, "response/peak/dull": 0.0}
    )
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [2, 3]
    assert [float(row["response/peak/off"]) for row in rows] == pytest.approx([-0.3, -0.1])
    assert float(rows[1]["samples_per_second"]) > 0
    saved = SafeCheckpointIO().load_checkpoint(tmp_path / "last.ckpt")["stimopt"]
    assert saved["next_sample"] == 3


def test_rejects_no_batches_between_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected batches between checkpoints"):
        SearchCheckpoint(tmp_path, every_n_batches=0)
