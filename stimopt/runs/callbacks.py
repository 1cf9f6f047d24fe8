"""What happens beside a fit: pictures to TensorBoard, the result and its figure to files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from stimopt.optimize.module import StimulusModule
from stimopt.plotting import (
    plot_stim_response,
    save_figure,
    stimulus_strip_image,
    trace_image,
)
from stimopt.results.result import Result, type_response
from stimopt.results.variables import stimulus_result


class StimulusPictures(Callback):
    """Strip of stimulus and response, and the central trace, to TensorBoard as images.

    Args:
        every_n_steps: how often; the pictures of an item take about 50 ms, a simulation and the
            writing included, as much as three steps.
        max_items: the first so many items are drawn.
    """

    def __init__(self, every_n_steps: int = 50, max_items: int = 4) -> None:
        if every_n_steps < 1 or max_items < 0:
            raise ValueError(
                f"expected every_n_steps >= 1 and max_items >= 0, got {every_n_steps} and "
                f"{max_items}; 50 and 4 are usual"
            )
        self.every_n_steps, self.max_items = every_n_steps, max_items

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any
    ) -> None:
        """Draw at every n-th step."""
        if trainer.global_step % self.every_n_steps == 0:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the last iterate, if it was not just drawn."""
        if trainer.global_step % self.every_n_steps:
            self._draw(trainer, pl_module)

    def _draw(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        experiments = [getattr(logger, "experiment", None) for logger in trainer.loggers]
        boards: list[Any] = [e for e in experiments if hasattr(e, "add_image")]
        if not boards or not isinstance(module, StimulusModule):
            return
        luminance = module.luminance().detach()
        dt, lattice = module.protocol.dt, module.network.lattice
        for i, item in enumerate(module.items[: self.max_items]):
            stimulus = luminance[i : i + 1, : int(module.n_frames[i])]
            if not torch.isfinite(stimulus).all():
                continue
            response = type_response(
                module.network, stimulus, module.protocol, item.cell_type, item.network
            )
            shown = stimulus[0].float().cpu().numpy()
            column = int(lattice.index(item.u, item.v))
            central = response[:, column]
            strip = stimulus_strip_image(
                shown,
                response,
                lattice,
                dt,
                title=module.labels[i],
                column=column,
                peak_frame=module.protocol.peak_frame(central, module.sign),
            )
            trace = trace_image({module.labels[i]: central}, dt, sign=module.sign)
            for board in boards:
                for name, image in (("stimulus", strip), ("response", trace)):
                    board.add_image(
                        f"{name}/{module.labels[i]}", image, trainer.global_step, dataformats="HWC"
                    )


class ResultWriter(Callback):
    """Writes the result, and a figure of every item, when a fit has ended.

    Args:
        folder: where `result.h5` and `<item>.png` go.
        max_figures: the first so many items are drawn.
    """

    def __init__(self, folder: str | Path, max_figures: int = 8) -> None:
        self.folder, self.max_figures = Path(folder), max_figures
        self.written: list[Path] = []

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write result and figures, each whole or not at all."""
        if not isinstance(pl_module, StimulusModule) or not trainer.is_global_zero:
            return
        pl_module.finish()  # a module's own hook comes after its callbacks'
        result = stimulus_result(pl_module)
        self.written = [result.write(self.folder / "result.h5")]
        for i in range(min(len(pl_module.items), self.max_figures)):
            figure = item_figure(result, i, pl_module.network.lattice)
            self.written.append(save_figure(figure, self.folder / f"{_file_name(result, i)}.png"))


def item_figure(result: Result, i: int, lattice: Any) -> Any:
    """The figure of one item: stimulus over response in the last 200 ms before the peak."""
    n_frames = int(result["n_frames"][i])
    plot = plot_stim_response(
        result["stimulus"][i, :n_frames],
        result["response"][i, :n_frames],
        lattice,
        result.protocol.dt,
        title=f"{result['label'][i]}, {result.kind}",
        column=int(lattice.index(result["readout_u"][i], result["readout_v"][i])),
        peak_frame=result.frame_of_peak(i),
    )
    return plot.fig


def _file_name(result: Result, i: int) -> str:
    """A label as a file name: names such as CT1(Lo1) are fine, a slash is not."""
    return str(result["label"][i]).replace("/", "_")
