"""Options that the commands share: the same name and the same default everywhere."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import lightning.pytorch as pl
from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import NotEmptyStr
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from stimopt import expect
from stimopt.commands.early import early_options as early_options
from stimopt.commands.parsers import command_parser
from stimopt.networks.model import ResponseModel
from stimopt.networks.opening import NetworkSource
from stimopt.protocol import PRESETS, Protocol

Class = TypeVar("Class", bound=type)

TRAINER_IN_SEARCH = {
    *("accelerator", "strategy", "devices", "num_nodes", "precision", "logger", "callbacks"),
    *("enable_progress_bar", "enable_model_summary", "deterministic", "benchmark", "profiler"),
    *("plugins", "default_root_dir"),
}
"""Options of Lightning's Trainer that have an effect in a search; all have one in a fit too."""
TRAINER_IN_STAGES = {
    *("accelerator", "precision", "log_every_n_steps", "enable_progress_bar"),
    *("deterministic", "detect_anomaly"),
}
"""Those that the search and the fits of a command share."""
TRAINER_IN_FIT = TRAINER_IN_SEARCH | {
    *("max_steps", "max_time", "log_every_n_steps", "enable_checkpointing", "detect_anomaly"),
}
"""Those that have an effect in a fit."""


def new_parser(command: str, description: str) -> LightningArgumentParser:
    """A parser with the options of every command that runs a network."""
    parser = command_parser(LightningArgumentParser, command, description)
    parser.add_class_arguments(NetworkSource, "network", instantiate=False)
    parser.add_argument(
        "--protocol_preset",
        type=str | None,
        default=None,
        help=f"named protocol ({', '.join(PRESETS)}), which options of the protocol change",
    )
    parser.add_class_arguments(Protocol, "protocol", instantiate=False)
    return parser


def add_model(parser: ArgumentParser, group: str, model: type, skip: Collection[str] = ()) -> None:
    """The options of a module or data module, such as `--model.*`."""
    # What the command creates itself, and tensors, which only Python can pass.
    skip = {"network", "protocol", "n_frames", "target", "variants", *skip}
    parser.add_class_arguments(model, group, skip=skip, instantiate=False, sub_configs=True)


def add_method(parser: ArgumentParser, prefix: str, methods: Mapping[str, type]) -> None:
    """The option that chooses among classes, whose options then are those of the group."""
    default = next(iter(methods))
    parser.add_argument(
        f"--{prefix}method",
        choices=list(methods),
        default=default,
        help=f"which class fits; --method NAME --help all lists its options (default: {default})",
    )


def add_trainer(
    parser: ArgumentParser, defaults: Mapping[str, Any], offered: Collection[str]
) -> None:
    """Options of Lightning's Trainer."""
    parser.add_class_arguments(
        pl.Trainer,
        "trainer",
        skip=set(inspect.signature(pl.Trainer).parameters) - set(offered),
        instantiate=False,
        sub_configs=True,
        fail_untyped=False,
    )
    parser.set_defaults({f"trainer.{name}": defaults[name] for name in {*defaults} & {*offered}})


def add_output(parser: ArgumentParser, command: str, contents: str) -> None:
    """The folder of a run, and where to resume from."""
    parser.add_argument(
        "--output",
        type=NotEmptyStr,
        default=f"logs/{command}",
        help=f"folder of this run: {contents}",
    )
    parser.add_argument(
        "--ckpt_path",
        type=str,
        default="last",
        help="resume from 'last' (the output folder's, if there is one) or a checkpoint file",
    )


def add_intervals(parser: ArgumentParser, *, steps: bool = False, batches: bool = False) -> None:
    """How often a run is saved and drawn."""
    if steps:
        add = parser.add_argument
        add("--checkpoint_every_n_steps", type=int, default=25, help="how often a fit is saved")
        add("--pictures_every_n_steps", type=int, default=50, help="how often a fit is drawn")
    if batches:
        parser.add_argument(
            "--checkpoint_every_n_batches", type=int, default=5, help="how often a search is saved"
        )


class RunCLI(LightningCLI):
    """A LightningCLI of a command: parses, and builds what is to be run, but does not run it.

    A subclass builds `self.model`, `self.trainer` and, if it has data, `self.datamodule`.

    Args:
        parser: with all options of the command.
        arguments: what followed the name of the command.
    """

    def __init__(self, parser: LightningArgumentParser, arguments: Sequence[str]) -> None:
        self._with_options = parser
        with warnings.catch_warnings():
            # Lightning doubts arguments that are not those of the interpreter.
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            super().__init__(run=False, args=list(arguments), auto_configure_optimizers=False)

    def setup_parser(self, *args: Any) -> None:
        """The parser has its options."""
        self.parser = self._with_options

    def _set_seed(self) -> None:
        """Items have seeds of their own."""


# -- parsing --------------------------------------------------------------------------------------


def chosen_method(
    early: Mapping[str, Any], methods: Mapping[str, Class], option: str = "method"
) -> Class:
    """The class that an early option names; the first one by default."""
    name = early.get(option) or next(iter(methods))
    expect.one_of(f"--{option}", name, methods)
    return methods[name]


def set_preset(parser: ArgumentParser, early: Mapping[str, Any]) -> None:
    """Make the named protocol the default, so that options of the protocol change it."""
    if (preset := early.get("protocol_preset")) is not None:
        parser.set_defaults(Protocol.preset(preset).settings())


def resolve(parser: ArgumentParser, config: Namespace) -> tuple[Namespace, str]:
    """The options with classes such as callbacks created, and as the text of a config file."""
    text: str = parser.dump(config, skip_none=False)
    return parser.instantiate_classes(config), text


def open_network(options: Namespace) -> tuple[ResponseModel, Protocol]:
    """Network and protocol.

    Raises:
        ValueError: if a file is missing or damaged, or a number out of range.
    """
    protocol = Protocol(**vars(options.protocol))
    if (shared := _SHARED.get()) is not None:
        return shared, protocol
    return NetworkSource(**vars(options.network)).open(protocol), protocol


@contextmanager
def shared_network(network: ResponseModel) -> Iterator[None]:
    """Within the block commands use this network, where each would open and check it anew."""
    token = _SHARED.set(network)
    try:
        yield
    finally:
        _SHARED.reset(token)


_SHARED: ContextVar[ResponseModel | None] = ContextVar("network of a campaign", default=None)
