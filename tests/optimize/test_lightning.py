"""Lightning's own callbacks and loggers see the terms of a fit."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from stimopt.networks.frozen import FrozenNetwork
from stimopt.optimize.generate import StimulusGenerator
from stimopt.optimize.record import StopReason
from stimopt.optimize.regularize import StimulusRegularizer
from tests.optimize.cases import generator, noise_clip, same_run

Trainers = Callable[..., pl.Trainer]


def test_early_stopping_ends_a_fit_whose_loss_no_longer_falls(
    small_network: FrozenNetwork, make_trainer: Trainers
) -> None:
    # Steps of length zero improve nothing.
    fit = generator(small_network, ["T4c"], optimizer=lambda p: torch.optim.SGD(p, lr=0.0))
    stopper = EarlyStopping(monitor="loss/total", patience=2)
    trainer = make_trainer(500, callbacks=[stopper], log_every_n_steps=5)
    trainer.fit(fit)
    # Once to set the mark, twice without progress.
    assert trainer.global_step == 15
    assert stopper.stopped_epoch == 2
    assert fit.record.stop_reasons == [StopReason.ENDED.value]
    # It sees the loss that the record has.
    assert float(stopper.best_score) == pytest.approx(float(fit.record.history["loss/total"][0, 0]))


def test_model_checkpoint_stores_the_highest_peak(
    small_network: FrozenNetwork, make_trainer: Trainers, tmp_path: Path
) -> None:
    fit = generator(small_network)
    best = ModelCheckpoint(tmp_path, "{epoch}", monitor="response/peak", mode="max")
    make_trainer(30, callbacks=[best], log_every_n_steps=10).fit(fit)
    peaks = fit.record.history["response/peak"].mean(dim=1)
    assert best.best_model_score is not None
    assert float(best.best_model_score) == pytest.approx(float(peaks[[0, 10, 20]].max()))
    assert Path(best.best_model_path).is_file()


def test_a_csv_logger_gets_every_term_of_every_item(
    small_network: FrozenNetwork, make_trainer: Trainers, tmp_path: Path
) -> None:
    fit = generator(small_network)
    logger = CSVLogger(tmp_path, name="", version="")
    make_trainer(20, logger=logger, log_every_n_steps=10).fit(fit)
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = {int(row["step"]): row for row in csv.DictReader(file) if row["loss/total/T4c"]}
    assert sorted(rows) == [0, 10, 20]
    for name, values in fit.record.history.items():
        for i, label in enumerate(fit.labels):
            for step, row in rows.items():
                assert float(row[f"{name}/{label}"]) == pytest.approx(float(values[step, i]))


def test_the_trainer_sees_the_mean_over_running_items(
    small_network: FrozenNetwork, make_trainer: Trainers
) -> None:
    clip = noise_clip(2, 20, small_network.lattice.n_columns)
    fit = StimulusRegularizer(small_network, ["T4c", "T5a"], init=clip)
    trainer = make_trainer(11, log_every_n_steps=10)
    with pytest.warns(UserWarning, match="expected a greyer stimulus"):
        trainer.fit(fit)
    for name, values in fit.record.history.items():
        assert float(trainer.callback_metrics[name]) == pytest.approx(float(values[10].mean()))


@pytest.mark.parametrize("log_every_n_steps", [1, 7, 50])
def test_the_length_of_an_epoch_changes_no_stimulus(
    small_network: FrozenNetwork, make_trainer: Trainers, log_every_n_steps: int
) -> None:
    def run(every: int) -> StimulusGenerator:
        fit = generator(small_network, ["T4c"])
        make_trainer(15, log_every_n_steps=every).fit(fit)
        return fit

    assert same_run(run(log_every_n_steps), run(10))
