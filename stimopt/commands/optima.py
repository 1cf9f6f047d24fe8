"""`stimopt optima`: search, regularize and generate under one protocol, and a page of all three."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from stimopt import expect
from stimopt.commands import generate, options, regularize
from stimopt.commands.fitting import fit_stage, read_same
from stimopt.items import ALL
from stimopt.movies import render
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.movies.eye import RenderSettings
from stimopt.optimize.at_level import GreyestAtLevel
from stimopt.optimize.ceiling import RANGE_STARTS
from stimopt.optimize.module import StimulusModule
from stimopt.plotting import FitPictures, save_figure
from stimopt.report.figures import optima_figure, write_animations
from stimopt.report.optima_tuning import with_tuning
from stimopt.report.page import write_page
from stimopt.report.tables import optima_table, print_table
from stimopt.results import ThreeOptima
from stimopt.results.result import Result, read, require_same_result
from stimopt.runs.trainer import FIT_DEFAULTS, run_search
from stimopt.search.naturalistic import NaturalisticSearch
from stimopt.storage.files import only_run_in, replace_text, safe_names

CELL_TYPE = "T4c"
METHODS = {
    "regularize": regularize.METHODS,
    "generate": {name: generate.METHODS[name] for name in ("efficient", "weighted", "region")},
}

# What the command itself passes to each stage, or what has no place in one.
_SHARED = {"cell_types", "seeds", "networks", "u", "v"}
_SKIPPED = {"regularize": {*_SHARED, "init"}, "generate": {*_SHARED, "ceiling"}}

_FIGURE_DPI = 130
"""A figure 8.2 inches wide fills a usual screen."""


def run(arguments: Sequence[str]) -> int:
    """Run or resume the three stages, and print the responses and the files."""
    chosen = parser(arguments)
    config, text = options.resolve(chosen, _parsed(chosen, arguments))
    output = Path(config.output)
    with only_run_in(output):
        config_file = output / "config.yaml"
        if not config_file.exists():
            replace_text(config_file, text)
        optima = _Stages(config, output).run()
        # The old options describe the folder until every stage has accepted the new ones.
        replace_text(config_file, text)
        written = [optima.write(output / "optima.h5")]
        if config.page:
            written.append(write_page(optima, output / "page"))
        written += _write_figures(optima, output / "figures")
        _log_pictures(optima, output / "optima")
        if config.animate:
            written += write_animations(optima, output / "animations")
    print_table(optima_table(optima))
    for path in (*written[:9], output):
        print(path)
    return 0


class _Stages:
    """Search and fits, each in a folder of its own: read if finished, else run or resumed."""

    def __init__(self, config: Namespace, output: Path) -> None:
        self.config, self.output = config, output
        self.network, self.protocol = options.open_network(config)
        self.trainer = vars(config.trainer)
        self.shared: dict[str, Any] = {
            "network": self.network,
            "cell_types": config.cell_types,
            "protocol": self.protocol,
            "networks": config.networks,
        }

    def run(self) -> ThreeOptima:
        """All three in order, with the tuning of the artificial optima."""
        # Created first, to find wrong names and numbers before the long search.
        method, chosen = self.options_of("generate", seeds=self.config.seeds)
        at_level = issubclass(method, GreyestAtLevel)
        _ = method.range_fit(**chosen) if at_level else method(**chosen)
        clips = self.search()
        regularizer, others = self.options_of("regularize", init=f"naturalistic:{clips}")
        regularized = self.fit("regularize", regularizer(**others))
        if at_level:
            starts = [f"naturalistic:{clips}", *RANGE_STARTS]
            chosen["ceiling"] = self.fit("ceiling", method.range_fit(starts=starts, **chosen))
        artificial = self.fit("generate", method(**chosen))
        return with_tuning(ThreeOptima(read(clips), regularized, artificial), self.network)

    def search(self) -> Path:
        """The winners of all cell types, which cost no more than one; returns their file."""
        if self.config.search_result is not None:
            path = Path(self.config.search_result)
            result = read(path)
            result.require_network(self.network)
            require_same_result(result, self.protocol.settings(), path)
            return path
        path, data = self.output / "search" / "result.h5", self.data()
        middle = self.network.lattice.center
        search = NaturalisticSearch(
            self.network,
            self.protocol,
            cell_types=[
                t for t in self.network.cell_types if self.network.cells_of(t)[middle] >= 0
            ],
            networks=self.config.networks,
            **vars(self.config.search),
        )
        if path.is_file():
            samples = {"first_sample": data.samples.start, "samples": len(data.samples)}
            wanted = {**search.settings(), "data": data.fingerprint, **samples}
            read_same(path, self.network, wanted)
        else:
            every = self.config.checkpoint_every_n_batches
            names = options.TRAINER_IN_STAGES & options.TRAINER_IN_SEARCH
            more = {name: self.trainer[name] for name in names}
            run_search(search, data, path.parent, checkpoint_every_n_batches=every, **more)
        return path

    def data(self) -> StimulusDataModule:
        """The samples; movies that are not rendered yet are rendered first."""
        chosen, extent = dict(vars(self.config.data)), self.network.lattice.extent
        if (movies := chosen.pop("path")) is not None:
            expect.that(
                chosen["stores"] is None,
                "data.path or data.stores",
                "both",
                "movies in data.path are rendered first, data.stores are rendered already",
            )
            progress = self.trainer["enable_progress_bar"] is not False
            store = self.output / "movies.h5"
            render(movies, store, RenderSettings(extent=extent), progress=progress)
            chosen["stores"] = [str(store)]
        return StimulusDataModule(**chosen, dt=self.protocol.dt, extent=extent)

    def options_of(self, stage: str, **more: Any) -> tuple[Any, dict[str, Any]]:
        """The class of a fit, which its options choose, and what it is created with."""
        chosen = dict(vars(self.config[stage]))
        del chosen["max_steps"]
        method = options.chosen_method({"method": chosen.pop("method", None)}, METHODS[stage])
        return method, {**self.shared, **more, **chosen}

    def fit(self, stage: str, module: StimulusModule) -> Result:
        """The result of a fit, which is run or resumed if it is not there with as many steps."""
        own = self.config.get(stage)
        return fit_stage(
            module,
            self.output / stage,
            None if own is None else own.max_steps,
            checkpoint_every_n_steps=self.config.checkpoint_every_n_steps,
            pictures_every_n_steps=self.config.pictures_every_n_steps,
            **self.trainer,
        )


def _write_figures(optima: ThreeOptima, folder: Path) -> list[Path]:
    """The three optima of each item as `<item>.png`."""
    return [
        save_figure(optima_figure(optima, i), folder / f"{name}.png", dpi=_FIGURE_DPI)
        for i, name in enumerate(safe_names([item.label for item in optima]))
    ]


def _log_pictures(optima: ThreeOptima, folder: Path) -> None:
    """The optima beside the scalars of the stages in TensorBoard, in the size it shows."""
    from torch.utils.tensorboard import SummaryWriter

    pictures = FitPictures(optima.lattice, optima.dt)
    with SummaryWriter(str(folder)) as writer:
        for item in optima:
            traces = {kind: optimum.central_response for kind, optimum in item.optima.items()}
            peaks = {kind: optimum.peak_frame for kind, optimum in item.optima.items()}
            drawn = {
                kind: pictures.strip(
                    optimum.stimulus,
                    optimum.response,
                    title=f"{item.label}, {kind}",
                    peak_frame=optimum.peak_frame,
                )
                for kind, optimum in item.optima.items()
            }
            drawn["responses"] = pictures.trace(traces, peaks=peaks)
            for name, picture in drawn.items():
                writer.add_image(f"optima/{item.label}/{name}", picture, dataformats="HWC")


# -- options --------------------------------------------------------------------------------------


def parser(arguments: Sequence[str] = ()) -> ArgumentParser:
    """The options, as far as the arguments decide which there are."""
    text = "The three optimal stimuli of each cell type: the clip that drives it most, that clip "
    text += "pulled to grey, and the one nearest to grey that drives it nearly to its ceiling."
    methods = [f"{stage}.method" for stage in METHODS]
    early = options.early_options(arguments, [*methods, "protocol_preset"])
    parser = options.new_parser("optima", text)
    add = parser.add_argument
    add("types", nargs="*", type=str, help=f"cell types, or 'all'; {CELL_TYPE} if none are named")
    add("--cell_types", type=str | list[str], default=CELL_TYPE, help="the same, for configs")
    add("--seeds", type=int | list[int], default=0, help="of the noise")
    add("--networks", type=str | list[int], default=ALL, help="positions of networks, or 'all'")
    options.add_model(parser, "data", StimulusDataModule, skip=("dt", "extent"))
    add(
        "--data.path",
        type=str | None,
        default=None,
        help="movies to render into the output folder first, as for stimopt render",
    )
    options.add_model(parser, "search", NaturalisticSearch, skip=_SHARED)
    for stage in METHODS:
        if len(METHODS[stage]) > 1:
            options.add_method(parser, f"{stage}.", METHODS[stage])
        model: Any = options.chosen_method(early, METHODS[stage], f"{stage}.method")
        options.add_model(parser, stage, model, skip=_SKIPPED[stage])
        steps = model.usual_steps
        add(f"--{stage}.max_steps", type=int, default=steps, help="of the optimizer, in all")
    add(
        "--search_result",
        type=str | None,
        default=None,
        help="result.h5 of a search of this network under this protocol, in place of a new one",
    )
    options.add_intervals(parser, steps=True, batches=True)
    options.add_trainer(parser, FIT_DEFAULTS, options.TRAINER_IN_STAGES)
    contents = "search/, regularize/, ceiling/, generate/, optima.h5, page/, figures/, config.yaml"
    add("--output", type=str | None, default=None, help=f"folder of this run: {contents}")
    add("--page", type=bool, default=True, help="write the page of all optima")
    add("--animate", type=bool, default=False, help="write a GIF of each optimum too")
    options.set_preset(parser, early)
    return parser


def _parsed(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Options with the cell types in one place; those without effect are refused."""
    config = parser.parse_args(list(arguments))
    names = config.types or config.cell_types
    config.types, config.cell_types = [], names if isinstance(names, str) else ",".join(names)
    if config.output is None:
        name = "-".join(expect.names(config.cell_types))
        config.output = f"logs/optima_{safe_names([name])[0][:60]}"
    if config.search_result is not None:
        defaults = parser.get_defaults()
        for group in ("data", "search"):
            for name, value in vars(config[group]).items():
                expect.that(
                    value == defaults[group][name],
                    f"no --{group}.{name} beside --search_result",
                    repr(value),
                    "the search is done: leave one of them out",
                )
    tolerance = config.regularize.get("tolerance")
    expect.that(
        not isinstance(tolerance, list),
        "one tolerance",
        tolerance,
        "several make a trade-off curve, which stimopt regularize draws",
    )
    for stage in METHODS:
        steps = config[stage].max_steps
        expect.whole(f"{stage}.max_steps", steps, "leave it out for the usual number", at_least=1)
    return config
