"""Commands that fit stimuli: `stimopt generate` and `stimopt regularize`, and stages of others."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.cli import LightningArgumentParser

from stimopt.commands import options
from stimopt.networks.model import ResponseModel
from stimopt.optimize.at_level import GreyestAtLevel
from stimopt.optimize.module import StimulusModule
from stimopt.optimize.record import StopReason
from stimopt.report.figures import MAX_FIGURES
from stimopt.results.result import Result, read, require_same_result
from stimopt.runs.callbacks import ConfigWriter
from stimopt.runs.checkpointing import require_checkpoint
from stimopt.runs.trainer import FIT_DEFAULTS, as_list, fit, fit_trainer, fit_with
from stimopt.storage.identity import as_json

Methods = Mapping[str, type[StimulusModule]]


def fit_parser(
    command: str, description: str, methods: Methods, arguments: Sequence[str] = ()
) -> LightningArgumentParser:
    """The options of a fit; those of the model are of the method that the arguments choose."""
    early = options.early_options(arguments, ("method", "protocol_preset"))
    parser = options.new_parser(command, description)
    if len(methods) > 1:
        options.add_method(parser, "", methods)
    model = options.chosen_method(early, methods)
    options.add_model(parser, "model", model)
    options.add_intervals(parser, steps=True)
    defaults = {**FIT_DEFAULTS, "max_steps": model.usual_steps}
    options.add_trainer(parser, defaults, options.TRAINER_IN_FIT)
    contents = "checkpoints, TensorBoard, result.h5, figures, config.yaml"
    options.add_output(parser, command, contents)
    options.set_preset(parser, early)
    return parser


class FitCLI(options.RunCLI):
    """A LightningCLI with the module and the Trainer of a fit.

    A fit at a level of the response is preceded by the fit of its ceiling, in the folder `ceiling`
    of the output, unless one is passed.
    """

    def __init__(
        self, parser: LightningArgumentParser, methods: Methods, arguments: Sequence[str]
    ) -> None:
        self.methods = methods
        super().__init__(parser, arguments)

    def instantiate_classes(self) -> None:
        """Build module and Trainer."""
        config, text = options.resolve(self.parser, self.config)
        network, protocol = options.open_network(config)
        model = options.chosen_method(vars(config), self.methods)
        chosen: dict[str, Any] = {"network": network, "protocol": protocol, **vars(config.model)}
        trainer = vars(config.trainer)
        shared = {name: trainer[name] for name in options.TRAINER_IN_STAGES}
        often = {
            name: config[name] for name in ("checkpoint_every_n_steps", "pictures_every_n_steps")
        }
        callbacks, max_steps = as_list(trainer.pop("callbacks")), trainer.pop("max_steps")
        self.trainer = fit_trainer(
            max_steps,
            config.output,
            **often,
            callbacks=[*callbacks, ConfigWriter(config.output, text)],
            **trainer,
        )
        if config.ckpt_path != "last":
            require_checkpoint(config.ckpt_path)  # before the time of a ceiling is spent
        if issubclass(model, GreyestAtLevel) and chosen["ceiling"] is None:
            del chosen["ceiling"]
            first = model.range_fit(**chosen)
            chosen["ceiling"] = fit_stage(first, Path(config.output) / "ceiling", **often, **shared)
        self.model = model(**chosen)

    def run(self) -> tuple[Result, Path]:
        """Fit or resume; returns the result and the output folder."""
        output, ckpt_path = self.config.output, self.config.ckpt_path
        result = fit_with(self.trainer, self.model, output, ckpt_path=ckpt_path)
        _warn_of_time(self.trainer)
        return result, Path(output)


def _warn_of_time(trainer: Trainer) -> None:
    """Say that max_time ended the fit: its result looks like any other."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    timers = [callback for callback in callbacks if isinstance(callback, Timer)]
    done, steps = trainer.global_step, trainer.max_steps
    if done < steps and any((timer.time_remaining() or 1) <= 0 for timer in timers):
        text = f"max_time was over after {done} of {steps} steps; rerun the command to resume"
        warnings.warn(text, stacklevel=2)


def fit_stage(
    module: StimulusModule, folder: Path, steps: int | None = None, **options: Any
) -> Result:
    """The result of a fit in a folder: read if all of it is there, else run or resumed.

    All of it is as many steps, or fewer after which every item had stopped by itself.

    Raises:
        ValueError: if the folder has a result of other settings.
    """
    path = folder / "result.h5"
    steps = module.usual_steps if steps is None else steps
    if path.is_file():
        result = read_same(path, module.network, module.settings())
        bounded = any(StopReason(text).of_trainer for text in result["stop_reason"])
        if len(result["losses"]) == steps + 1 or not bounded:
            return result
    fit(module, steps, folder, max_figures=0, **options)
    return read(path)


def read_same(path: Path, network: ResponseModel, settings: Mapping[str, Any]) -> Result:
    """Read a result, unless it is of another network or other settings."""
    result = read(path)
    require_same_result(result, {"network_hash": network.content_hash, **as_json(settings)}, path)
    return result


def print_files(result: Result, output: Path) -> None:
    """Print the paths that people open, and how to see the stimuli that have no figure."""
    path = output / "result.h5"
    for each in (path, *sorted(output.glob("*.png")), output):
        print(each)
    if (n_items := len(result["label"])) > MAX_FIGURES:
        print(f"{MAX_FIGURES} of {n_items} stimuli are drawn; stimopt page {path} shows all")
