"""Commands that fit stimuli: `stimopt generate` and `stimopt regularize`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from stimopt import expect
from stimopt.commands import options
from stimopt.optimize.module import StimulusModule
from stimopt.results import Result
from stimopt.runs.callbacks import ConfigWriter
from stimopt.runs.trainer import FIT_DEFAULTS, fit

Methods = Mapping[str, type[StimulusModule]]


def fit_parser(
    command: str, description: str, methods: Methods, steps: int, arguments: Sequence[str] = ()
) -> ArgumentParser:
    """The options of a fit; those of the model are of the method that the arguments choose."""
    early = options.early_options(arguments, ("method", "protocol_preset", "trainer.max_steps"))
    expect.that("trainer.max_steps" not in early, "steps", "trainer.max_steps", "give --steps")
    parser = options.new_parser(command, description)
    if len(methods) > 1:
        options.add_method(parser, "", methods)
    options.add_model(parser, "model", options.chosen_method(early, methods))
    parser.add_argument(
        "--steps", type=int, default=steps, help="of the optimizer, in all (max_steps in Lightning)"
    )
    options.add_intervals(parser, steps=True)
    options.add_trainer(parser, FIT_DEFAULTS, options.OF_FITS)
    contents = "checkpoints, TensorBoard, result.h5, figures, config.yaml"
    options.add_output(parser, command, contents)
    options.set_preset(parser, early)
    return parser


def run_fit(
    parser: ArgumentParser, methods: Methods, arguments: Sequence[str]
) -> tuple[Result, Path]:
    """Parse, fit or resume; returns the result and the output folder."""
    config, text = options.resolve(parser, parser.parse_args(arguments))
    network, protocol = options.open_network(config)
    model = options.chosen_method(config, methods)
    trainer_options = vars(config.trainer)
    callbacks = trainer_options.pop("callbacks") or []
    result = fit(
        model(network, protocol=protocol, **vars(config.model)),
        config.steps,
        config.output,
        ckpt_path=config.ckpt_path,
        checkpoint_every_n_steps=config.checkpoint_every_n_steps,
        pictures_every_n_steps=config.pictures_every_n_steps,
        callbacks=[*callbacks, ConfigWriter(config.output, text)],
        **trainer_options,
    )
    return result, Path(config.output)


def print_files(output: Path) -> None:
    """Print the paths that people open."""
    for path in (output / "result.h5", *sorted(output.glob("*.png")), output):
        print(path)
