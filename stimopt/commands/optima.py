"""`stimopt optima`: search, regularize and generate under one protocol, then one page of it all."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from jsonargparse import ArgumentParser, Namespace
from rich.console import Console

from stimopt.commands.base import add_preset, board, interruptible, quiet_lightning
from stimopt.commands.fit import FitProgress, resumed_step
from stimopt.commands.search import quiet_about_loading, resumed_sample, search_or_go_on
from stimopt.items import ALL, make_items
from stimopt.movies import render
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.movies.eye import RenderSettings
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import NetworkSource
from stimopt.optimize.generate import StimulusGenerator
from stimopt.optimize.module import StimulusModule
from stimopt.optimize.regularize import StimulusRegularizer
from stimopt.protocol import Protocol
from stimopt.report.gallery import safe_names, walk_table, write_animations, write_gallery
from stimopt.results.result import Result, read, require_same
from stimopt.results.three_optima import Walk, require_same_result
from stimopt.runs.callbacks import ResultWriter, StimulusPictures
from stimopt.runs.checkpointing import SafeCheckpointIO, find_last, going_on_from, last_checkpoint
from stimopt.search.callbacks import SearchCheckpoint, SearchProgress
from stimopt.search.naturalistic import NaturalisticSearch
from stimopt.search.result import search_result
from stimopt.storage.files import only_run_in, replace_text

CELL_TYPE = "T4c"
STEPS = {"regularize": 300, "generate": 200}

# What the walk itself gives to each stage, and what makes no sense in one.
_SHARED = {"network", "cell_types", "protocol", "seeds", "networks", "u", "v"}
_SKIPPED = {
    "data": {"dt", "extent"},
    "search": _SHARED,
    "regularize": _SHARED | {"init", "n_frames", "target"},
    "generate": _SHARED,
}
_TRAINER = {
    "accelerator",
    "precision",
    "log_every_n_steps",
    "enable_progress_bar",
    "deterministic",
    "detect_anomaly",
}


def run(arguments: list[str]) -> int:
    """Walk or go on, and say where the files are."""
    quiet_lightning()
    parser = _parser()
    config = _parsed(parser, arguments)
    output = Path(config.output)
    with quiet_about_loading(), only_run_in(output):
        text = parser.dump(config, skip_none=False)
        kept = output / "config.yaml"
        if not kept.exists():
            replace_text(kept, text)
        plain = json.loads(parser.dump(config, format="json", skip_none=False))
        walk = _Stages(parser.instantiate_classes(config), plain, output).run()
        # Another one belongs to what is there until no stage has refused it.
        replace_text(kept, text)
        written = [walk.write(output / "walk.h5")]
        written += write_gallery(walk, output / "gallery")
        _log_figures(output, [path for path in written if path.suffix == ".png"])
        if config.animate:
            written += write_animations(walk, output / "animations")
    Console(width=None if Console().is_terminal else 120).print(walk_table(walk))
    for path in (written[0], *written[1:9], output):
        print(path)
    return 0


class _Stages:
    """Each stage in a folder of its own: done already, gone on with, or begun."""

    def __init__(self, options: Namespace, plain: dict[str, Any], output: Path) -> None:
        self.options, self.plain, self.output = options, plain, output
        self.protocol = Protocol(**vars(options.protocol))
        self.network: FrozenNetwork = NetworkSource(**vars(options.network)).open()
        # Asked before an hour of searching: names and numbers that are not there.
        make_items(self.network, options.cell_types, options.seeds, options.networks)
        if isinstance(options.regularize.tolerance, list):
            raise ValueError(
                f"expected one tolerance, got {options.regularize.tolerance}; several make a "
                "trade-off curve, which is what stimopt regularize draws"
            )

    def run(self) -> Walk:
        """All three, in order, and what the artificial optima say."""
        options = self.options
        naturalistic, path = self.search()
        shared = {
            "network": self.network,
            "cell_types": options.cell_types,
            "protocol": self.protocol,
            "networks": options.networks,
        }
        regularizer = StimulusRegularizer(
            **shared, init=f"naturalistic:{path}", **_without_steps(options.regularize)
        )
        regularized = self.fit("regularize", regularizer)
        generator = StimulusGenerator(
            **shared, seeds=options.seeds, **_without_steps(options.generate)
        )
        artificial = self.fit("generate", generator)
        return Walk(naturalistic, regularized, artificial).with_tuning(self.network)

    def search(self) -> tuple[Result, str]:
        """The winners of all cell types, which cost no more than one, and their file."""
        given = self.options.search_result
        if given is not None:
            result = read(given)
            expected = {"network_hash": self.network.content_hash, **self.protocol.settings()}
            require_same_result(result, expected, given)
            return result, given
        folder = self.output / "search"
        path, data = folder / "result.h5", self._data()
        search = NaturalisticSearch(
            self.network,
            self.protocol,
            cell_types=[t for t in self.network.cell_types if self._has_central_cell(t)],
            networks=self.options.networks,
            **vars(self.options.search),
        )
        if path.is_file():
            result = read(path)
            expected = {
                "network_hash": self.network.content_hash,
                **search.settings(),
                "data": data.fingerprint,
                "first_sample": data.samples.start,
                "samples": len(data.samples),
            }
            require_same_result(result, expected, path)
            return result, str(path)
        with only_run_in(folder):
            self._test(search, data, folder)
            search_result(search).write(path)
        return read(path), str(path)

    def fit(self, stage: str, module: StimulusModule) -> Result:
        """A fit to its end; one that is there already is given as it stands."""
        folder, steps = self.output / stage, self.plain[stage]["steps"]
        path, checkpoints = folder / "result.h5", folder / "checkpoints"
        self._require_same_options(stage)
        if path.is_file():
            result = read(path)
            settings = json.loads(json.dumps(module.settings(), default=str))
            require_same_result(
                result, {"network_hash": self.network.content_hash, **settings}, path
            )
            if len(result["losses"]) > steps:
                return result
        with only_run_in(folder):
            trainer = self._trainer(
                folder,
                resumed_step(checkpoints),
                max_steps=steps,
                callbacks=[
                    *self._progress(_StageProgress(stage)),
                    last_checkpoint(checkpoints, self.options.checkpoint_every),
                    StimulusPictures(self.options.pictures_every),
                    ResultWriter(folder, max_figures=0),
                ],
            )
            last = find_last(checkpoints)
            with interruptible(trainer), going_on_from(last, trainer):
                trainer.fit(module, ckpt_path=last)
        return read(path)

    def _test(self, search: NaturalisticSearch, data: StimulusDataModule, folder: Path) -> None:
        checkpoints = folder / "checkpoints"
        last = find_last(checkpoints)
        trainer = self._trainer(
            folder,
            resumed_sample(checkpoints),
            # Lightning's own checkpoints are made in fits alone.
            enable_checkpointing=False,
            callbacks=[
                *self._progress(SearchProgress()),
                SearchCheckpoint(checkpoints, self.options.checkpoint_every),
            ],
        )
        search_or_go_on(trainer, search, data, last)

    def _trainer(self, folder: Path, step: int | None, **more: Any) -> pl.Trainer:
        return pl.Trainer(
            **vars(self.options.trainer),
            **more,
            devices=1,
            enable_model_summary=False,
            default_root_dir=folder,
            logger=board(folder, step),
            plugins=[SafeCheckpointIO()],
        )

    def _progress(self, bar: pl.Callback) -> list[pl.Callback]:
        return [] if self.options.trainer.enable_progress_bar is False else [bar]

    def _data(self) -> StimulusDataModule:
        options = dict(vars(self.options.data))
        source = options.pop("path")
        if source is not None:
            if options["stores"] is not None:
                raise ValueError(
                    "expected data.path or data.stores, got both; movies under data.path are "
                    "rendered first, data.stores are rendered already"
                )
            settings = RenderSettings(extent=self.network.lattice.extent)
            shown = self.options.trainer.enable_progress_bar is not False
            store = render(source, self.output / "movies.h5", settings, progress=shown)
            options["stores"] = [str(store)]
        return StimulusDataModule(
            **options, dt=self.protocol.dt, extent=self.network.lattice.extent
        )

    def _has_central_cell(self, cell_type: str) -> bool:
        return bool(self.network.cells_of(cell_type)[self.network.lattice.center] >= 0)

    def _require_same_options(self, stage: str) -> None:
        """Settings of a module leave out its optimizer; what is gone on with must have the same."""
        folder, options = self.output / stage, dict(self.plain[stage])
        options.pop("steps")  # more of them continue a finished stage
        path = folder / "options.json"
        if path.is_file() and (
            (folder / "result.h5").exists() or find_last(folder / "checkpoints")
        ):
            held = json.loads(path.read_text(encoding="utf-8"))
            theirs, ours = ({f"{stage}.{k}": v for k, v in d.items()} for d in (held, options))
            require_same(theirs, ours, str(path))
            return
        replace_text(path, json.dumps(options, indent=2))


class _StageProgress(FitProgress):
    """Lightning's bar, named for the stage."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self._stage = stage

    def _get_train_description(self, current_epoch: int) -> str:
        return self._stage


def _without_steps(options: Namespace) -> dict[str, Any]:
    return {name: value for name, value in vars(options).items() if name != "steps"}


def _log_figures(walk_output: Path, figures: list[Path]) -> None:
    """The finished figures beside the stages' scalars in TensorBoard, as a run `walk`."""
    from PIL import Image
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(walk_output / "walk")) as writer:
        for path in figures:
            pixels = np.asarray(Image.open(path).convert("RGB"))
            writer.add_image(f"walk/{path.stem}", pixels, dataformats="HWC")


def _parsed(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """Options with the preset as the protocol's defaults, and cell types in one place."""
    config = parser.parse_args(arguments)
    if config.protocol_preset is not None:
        parser.set_defaults(Protocol.preset(config.protocol_preset).settings())
        config = parser.parse_args(arguments)
    if config.types:
        config.cell_types, config.types = ",".join(config.types), []
    elif isinstance(config.cell_types, list):
        config.cell_types = ",".join(config.cell_types)
    if config.output is None:
        name = "-".join(part.strip() for part in config.cell_types.split(","))
        config.output = f"logs/optima_{safe_names([name])[0][:60]}"
    for stage in STEPS:
        if config[stage].steps < 1:
            raise ValueError(
                f"expected {stage}.steps >= 1, got {config[stage].steps}; {STEPS[stage]} is usual"
            )
    return config


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="stimopt optima",
        exit_on_error=False,
        description="Three optimal stimuli of each cell type: the clip that drives it most, that "
        "clip pulled to grey, and one grown from noise. Without options: T4c of the built-in "
        "circuit and the built-in movies. The same command given again goes on where it was "
        "stopped.",
    )
    parser.add_argument("--config", action="config", help="options as a YAML file")
    parser.add_argument(
        "types", nargs="*", type=str, help=f"cell types, or 'all'; {CELL_TYPE} if none are named"
    )
    parser.add_argument(
        "--cell_types",
        type=str | list[str],
        default=CELL_TYPE,
        help="the same as an option, for configs",
    )
    parser.add_argument("--seeds", type=int | list[int], default=0, help="of the noise")
    parser.add_argument(
        "--networks", type=str | list[int], default=ALL, help="positions of those to use, or 'all'"
    )
    for name, kind in (
        ("network", NetworkSource),
        ("protocol", Protocol),
        ("data", StimulusDataModule),
        ("search", NaturalisticSearch),
        ("regularize", StimulusRegularizer),
        ("generate", StimulusGenerator),
    ):
        parser.add_class_arguments(kind, name, skip=_SKIPPED.get(name, set()), instantiate=False)
    parser.add_argument(
        "--data.path",
        type=str | None,
        default=None,
        help="movies that are not rendered yet, as for stimopt render: they are rendered into the "
        "output folder first",
    )
    for stage, steps in STEPS.items():
        parser.add_argument(f"--{stage}.steps", type=int, default=steps, help="of that fit")
    add_preset(parser)
    parser.add_argument(
        "--search_result",
        type=str | None,
        default=None,
        help="result.h5 of a search of the same network under the same protocol, in place of one",
    )
    parser.add_class_arguments(
        pl.Trainer,
        "trainer",
        skip=set(inspect.signature(pl.Trainer).parameters) - _TRAINER,
        instantiate=False,
    )
    parser.set_defaults({"trainer.log_every_n_steps": 10})
    parser.add_argument(
        "--output",
        type=str | None,
        default=None,
        help="folder of this walk: search/, regularize/, generate/, walk.h5, gallery/, "
        "config.yaml; logs/optima_CELLTYPES by default",
    )
    parser.add_argument(
        "--checkpoint_every", type=int, default=25, help="steps or batches between checkpoints"
    )
    parser.add_argument(
        "--pictures_every", type=int, default=50, help="steps between TensorBoard pictures"
    )
    parser.add_argument(
        "--animate", type=bool, default=False, help="write a GIF of each optimum too"
    )
    return parser
