"""What happens beside a run: pictures to its loggers, and its options to a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.loggers import Logger

from stimopt import expect
from stimopt.optimize.module import StimulusModule
from stimopt.plotting.files import Pixels
from stimopt.plotting.tensorboard import FitPictures
from stimopt.results.responses import type_responses
from stimopt.runs.step_end import StepEnd
from stimopt.storage.files import replace_text

LogPicture = Callable[[str, Pixels, int], Any]
"""Logs a picture `(height, width, 3)` under a name at a step."""


class StimulusPictures(StepEnd):
    """Logs the stimulus strip and the response trace of items as pictures.

    Any logger with `log_image(key, images, step)` receives them, such as Weights & Biases', and any
    whose `experiment` has `add_image`, such as TensorBoard's; other loggers are left out.

    Args:
        every_n_steps: how often; a picture costs as much as a few steps.
        max_items: only the first so many items are drawn.

    Raises:
        ValueError: for numbers out of range.
    """

    def __init__(self, every_n_steps: int = 50, max_items: int = 4) -> None:
        expect.whole("steps between pictures", every_n_steps, "50 is usual", at_least=1)
        expect.whole("max_items", max_items, "4 is usual")
        self.every_n_steps, self.max_items = every_n_steps, max_items

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep figures for the whole fit: drawing one again is much faster than a new one."""
        if isinstance(pl_module, StimulusModule):
            self._drawn = FitPictures(pl_module.network.lattice, pl_module.protocol.dt)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any
    ) -> None:
        """Draw at every n-th step."""
        if trainer.global_step % self.every_n_steps == 0:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the last iterate, unless it was just drawn."""
        if trainer.global_step % self.every_n_steps:
            self._draw(trainer, pl_module)

    def _draw(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        log_pictures = [log for log in map(picture_log, trainer.loggers) if log is not None]
        if not log_pictures or not isinstance(module, StimulusModule):
            return
        for i, label in enumerate(module.labels[: self.max_items]):
            for name, picture in self._pictures(module, i).items():
                for log in log_pictures:
                    log(f"{name}/{label}", picture, trainer.global_step)

    def _pictures(self, module: StimulusModule, i: int) -> dict[str, Pixels]:
        """Strip and trace of one item by name; none where they are not finite."""
        network, protocol, item = module.network, module.protocol, module.items[i]
        length, label = int(module.n_frames[i]), module.labels[i]
        stimulus = module.luminance()[i, :length].detach().float().cpu().numpy()
        if not np.isfinite(stimulus).all():
            return {}
        (response,) = type_responses(
            network, protocol, stimulus[None], [length], [item.cell_type], [item.network]
        )
        column = int(network.lattice.index(item.u, item.v))
        central = response[:, column]
        if not np.isfinite(central).all():
            return {}
        peak = protocol.peak_frame(central, int(module.signs[i]))
        strip = self._drawn.strip(stimulus, response, title=label, column=column, peak_frame=peak)
        trace = self._drawn.trace({label: central}, peaks={label: peak})
        return {"stimulus": strip, "response": trace}


def picture_log(logger: Logger) -> LogPicture | None:
    """The function by which a logger takes pictures; None if it takes none."""
    if (log_image := getattr(logger, "log_image", None)) is not None:
        return lambda name, picture, step: log_image(name, [picture], step=step)
    if (add_image := getattr(getattr(logger, "experiment", None), "add_image", None)) is not None:
        return lambda name, picture, step: add_image(name, picture, step, dataformats="HWC")
    return None


class ConfigWriter(StepEnd):
    """Writes the resolved options of a command as `config.yaml` when the run has started.

    Not earlier: a run that is refused must leave the config of the run before it.
    """

    def __init__(self, folder: str | Path, config: str) -> None:
        self.path, self.config = Path(folder) / "config.yaml", config

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write it for a fit."""
        if trainer.is_global_zero:
            replace_text(self.path, self.config)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write it for a search."""
        self.on_train_start(trainer, pl_module)
