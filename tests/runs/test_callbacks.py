"""Pictures for any logger, and the config of a run that has started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, Logger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stimopt.networks.frozen import FrozenNetwork
from stimopt.runs.callbacks import ConfigWriter, StimulusPictures, picture_log
from stimopt.runs.trainer import fit
from tests.optimize.cases import generator

CPU: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False}


class PictureFolder(Logger):
    """A logger with the interface of Lightning's WandbLogger: pictures by `log_image`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    @property
    def name(self) -> str:
        return "pictures"

    @property
    def version(self) -> int:
        return 0

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        pass

    def log_image(self, key: str, images: list[Any], step: int | None = None) -> None:
        for i, image in enumerate(images):
            path = self.folder / key / f"{step}-{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)


def test_a_logger_that_takes_pictures_by_log_image(
    small_network: FrozenNetwork, tmp_path: Path
) -> None:
    options = {**CPU, "logger": PictureFolder(tmp_path), "pictures_every_n_steps": 3}
    fit(generator(small_network), 7, **options)
    for name in ("stimulus/T4c", "response/T4c", "stimulus/T5a", "response/T5a"):
        drawn = sorted(path.name for path in (tmp_path / name).iterdir())
        assert drawn == ["3-0.png", "6-0.png", "7-0.png"]
    with Image.open(tmp_path / "stimulus" / "T4c" / "7-0.png") as picture:
        assert picture.mode == "RGB" and np.ptp(np.asarray(picture)) == 255


def test_tensorboard_takes_the_same_pictures(small_network: FrozenNetwork, tmp_path: Path) -> None:
    pictures = PictureFolder(tmp_path / "pictures")
    fit(generator(small_network), 4, tmp_path, pictures_every_n_steps=2, **CPU)
    fit(generator(small_network), 4, logger=pictures, pictures_every_n_steps=2, **CPU)
    board = EventAccumulator(str(tmp_path), size_guidance={"images": 0})
    board.Reload()
    events = board.Images("stimulus/T4c")
    assert [event.step for event in events] == [2, 4]
    shown = tmp_path / "shown.png"
    shown.write_bytes(events[-1].encoded_image_string)
    with Image.open(shown) as one, Image.open(pictures.folder / "stimulus/T4c/4-0.png") as other:
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_other_loggers_are_left_out(small_network: FrozenNetwork, tmp_path: Path) -> None:
    assert picture_log(CSVLogger(tmp_path)) is None
    fit(generator(small_network), 2, logger=CSVLogger(tmp_path), pictures_every_n_steps=1, **CPU)


def test_draws_the_first_items_and_no_stimulus_that_is_not_finite(
    small_network: FrozenNetwork, tmp_path: Path
) -> None:
    module = generator(small_network)
    pictures = StimulusPictures(every_n_steps=1, max_items=1)
    options = {**CPU, "logger": PictureFolder(tmp_path), "pictures_every_n_steps": 1000}
    fit(module, 2, callbacks=[pictures], **options)
    assert (tmp_path / "stimulus/T4c/1-0.png").is_file()
    assert not (tmp_path / "stimulus/T5a/1-0.png").exists()
    with torch.no_grad():
        module.stimulus[0, 3, 2] = torch.nan
    assert pictures._pictures(module, 0) == {}


@pytest.mark.parametrize("options", [{"every_n_steps": 0}, {"max_items": -1}])
def test_rejects_numbers_out_of_range(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="as a whole number"):
        StimulusPictures(**options)


def test_the_config_is_written_when_a_run_has_started(
    small_network: FrozenNetwork, tmp_path: Path
) -> None:
    def run(cell_type: str, steps: int, config: str) -> None:
        writer = ConfigWriter(tmp_path, config)
        fit(generator(small_network, [cell_type]), steps, tmp_path, callbacks=[writer], **CPU)

    run("T4c", 25, "first")
    with pytest.raises(ValueError, match="items"):
        run("T5a", 26, "refused")
    assert (tmp_path / "config.yaml").read_text() == "first"
    run("T4c", 26, "resumed")
    assert (tmp_path / "config.yaml").read_text() == "resumed"
