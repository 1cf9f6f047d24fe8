"""Commands that fit stimuli: `stimopt generate` and `stimopt regularize`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning.pytorch.cli import LightningArgumentParser

from stimopt.commands import options
from stimopt.optimize.module import StimulusModule
from stimopt.results import Result
from stimopt.runs.callbacks import ConfigWriter
from stimopt.runs.trainer import FIT_DEFAULTS, fit_trainer, fit_with

Methods = Mapping[str, type[StimulusModule]]


def fit_parser(
    command: str, description: str, methods: Methods, steps: int, arguments: Sequence[str] = ()
) -> LightningArgumentParser:
    """The options of a fit; those of the model are of the method that the arguments choose."""
    early = options.early_options(arguments, ("method", "protocol_preset"))
    parser = options.new_parser(command, description)
    if len(methods) > 1:
        options.add_method(parser, "", methods)
    options.add_model(parser, "model", options.chosen_method(early, methods))
    options.add_intervals(parser, steps=True)
    options.add_trainer(parser, {**FIT_DEFAULTS, "max_steps": steps}, options.OF_FITS)
    contents = "checkpoints, TensorBoard, result.h5, figures, config.yaml"
    options.add_output(parser, command, contents)
    options.set_preset(parser, early)
    return parser


class FitCLI(options.RunCLI):
    """A LightningCLI with the module and the Trainer of a fit."""

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
        self.model = model(network, protocol=protocol, **vars(config.model))
        chosen = vars(config.trainer)
        callbacks = chosen.pop("callbacks") or []
        self.trainer = fit_trainer(
            chosen.pop("max_steps"),
            config.output,
            config.checkpoint_every_n_steps,
            config.pictures_every_n_steps,
            callbacks=[*callbacks, ConfigWriter(config.output, text)],
            **chosen,
        )

    def run(self) -> tuple[Result, Path]:
        """Fit or resume; returns the result and the output folder."""
        output, ckpt_path = self.config.output, self.config.ckpt_path
        return fit_with(self.trainer, self.model, output, ckpt_path=ckpt_path), Path(output)


def print_files(output: Path) -> None:
    """Print the paths that people open."""
    for path in (output / "result.h5", *sorted(output.glob("*.png")), output):
        print(path)
