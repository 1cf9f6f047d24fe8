"""`stimopt discriminate`: stimuli that tell networks apart, and how often they name a fly right."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jsonargparse import ArgumentParser, Namespace
from numpy.typing import NDArray

from stimopt import expect
from stimopt.analysis.discriminate import (
    Judged,
    Round,
    flies_left_out,
    identification,
    judge,
    lesioned_flies,
)
from stimopt.analysis.edge_tuning import moving_edges
from stimopt.analysis.flyvis_probes import ANGLES_DEG, INTENSITIES, flash
from stimopt.analysis.groups import responses_to
from stimopt.analysis.transfer import ResponseScale
from stimopt.commands import options
from stimopt.items import choose_cell_types
from stimopt.lattice import Floats
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.networks.model import ResponseModel
from stimopt.optimize.ceiling import ResponseRange
from stimopt.optimize.limited import discriminating
from stimopt.plotting.files import save_figure
from stimopt.plotting.identification import plot_identification
from stimopt.protocol import Protocol
from stimopt.report.figures import safe_names
from stimopt.report.rows import write_csv
from stimopt.results import Result, fitted
from stimopt.runs.trainer import fit

MADE, CLIPS, EDGES, FLASHES = SETS = ("discriminating", "clips", "edges", "flashes")
ALL_TYPES = "all cell types"
SPEEDS = (4.8, 9.7, 19.0)
"""Of the edges, columns a second."""
QUIET: dict[str, Any] = {"max_figures": 0, "enable_progress_bar": False}


class Answers(NamedTuple):
    """What the flies of a round answered to one set of stimuli, for one cell type."""

    cell_type: str
    name: str
    flies: str
    judged: Judged
    sources: Sequence[str | int]


def parser(arguments: Sequence[str] = ()) -> ArgumentParser:
    """The options."""
    text = "Find stimuli that tell networks apart, and judge them as an experiment."
    parser = options.new_parser("discriminate", text)
    options.add_model(parser, "data", StimulusDataModule, skip=("dt", "extent"))
    add = parser.add_argument
    add("--cell_types", type=str | list[str], default="T4c", help="names, or all")
    add("--t_stim", type=float, default=0.4, help="duration of the stimuli in seconds")
    add("--rms_contrast", type=float, default=0.1, help="most contrast of the stimuli, 0 to 1")
    add("--noise", type=float, default=0.2, help="of a trial, as part of the way to the ceiling")
    add("--n_stimuli", type=int, default=4, help="stimuli in a set")
    add("--trials", type=int, default=20, help="shown to a fly in all")
    add("--draws", type=int, default=500, help="experiments simulated for each fly")
    add("--seed", type=int, default=0, help="of the noise")
    add("--steps", type=int, default=30, help="of each fit")
    add("--ranges", type=str | None, default=None, help="result of a range; sought without it")
    add("--output", type=str, default="logs/discriminate", help="folder of fits and tables")
    return parser


def run(arguments: Sequence[str]) -> int:
    """Make the stimuli, name the flies, and write tables and the figure."""
    config = parser().parse_args(list(arguments))
    return _Experiment(config, *options.open_network(config)).run()


def seek_discriminating(
    network: ResponseModel,
    chosen: Round,
    ranges: Result,
    folder: Path,
    *,
    steps: int = 30,
    **options: Any,
) -> dict[str, Result]:
    """Fit the stimuli on which a class exceeds another, for every pair of classes in both orders.

    Args:
        network: that holds all networks.
        chosen: candidates and their classes.
        ranges: result of `ResponseRange` for the cell types in all candidates.
        folder: for the fits, a folder each, from which they resume.
        steps: of each fit.
        **options: of `discriminating`, such as `noise`, `rms_contrast` and `t_stim`.

    Returns:
        The result of each pair, by its name: `1 over 0`.
    """
    results = {}
    for pair in chosen.pairs:
        first, second = groups = [chosen.members(each) for each in pair]
        short = [[network.names[k].rsplit("/", 1)[-1] for k in group] for group in groups]
        name = " over ".join(map("+".join, short))
        types = list(chosen.cell_types)
        module = discriminating(network, types, first, second, ranges, anneal=steps, **options)
        results[name] = fit(module, steps, folder / safe_names([name])[0], **QUIET)
    return results


class _Experiment:
    """The networks, their scales, and their responses to what a laboratory would show them."""

    def __init__(self, config: Namespace, network: ResponseModel, protocol: Protocol) -> None:
        self.config, self.network, self.protocol = config, network, protocol
        self.folder = Path(config.output)
        self.names = choose_cell_types(network, config.cell_types)
        self.lesioned = lesioned_flies(network.names, self.names)
        got = f"{network.n_networks} networks without lesioned copies"
        advice = "add copies by --network.lesions, or load at least four networks to be grouped"
        expect.that(self.lesioned or network.n_networks >= 4, "networks to play a fly", got, advice)
        options = {"t_stim": config.t_stim, "anneal": config.steps}
        self.ranges = (
            fitted(config.ranges)
            if config.ranges
            else fit(
                ResponseRange(network, self.names, protocol, **options),
                config.steps,
                self.folder / "ranges",
                **QUIET,
            )
        )
        self.scale = ResponseScale.of(self.ranges, self.names, range(network.n_networks))

    def run(self) -> int:
        """Every round; then the tables and the figure."""
        shown = {
            CLIPS: self.responses(self.clips()),
            EDGES: self.responses(self.edges()),
            FLASHES: self.responses([self.flashes()]),
        }
        rounds = [self.lesioned] if self.lesioned else self.left_out(shown)
        answers = [each for chosen in rounds for each in self.answers(chosen, shown)]
        self.write(answers, chance=1 / len(set(rounds[-1].classes)))
        return 0

    def left_out(self, shown: Mapping[str, Floats]) -> list[Round]:
        """Every network of a group left out."""
        rounds = []
        for t, name in enumerate(self.names):
            flat = [v[:, t].reshape(len(v), -1) for v in shown.values()]
            responses = np.nan_to_num(np.concatenate(flat, axis=1))
            own = flies_left_out(name, responses[:, :, None], seed=self.config.seed)
            if not own:
                print(f"{name}: no groups of two networks or more, so that none can play the fly")
            rounds += own
        expect.that(rounds, "a cell type whose networks fall into groups", "none", "add lesions")
        return rounds

    def answers(self, chosen: Round, shown: Mapping[str, Floats]) -> Iterator[Answers]:
        """Make stimuli for a round, and ask its flies."""
        config = self.config
        label = "lesions" if self.lesioned else f"{chosen.cell_types[0]}-{chosen.flies[0]}"
        made = seek_discriminating(
            self.network,
            chosen,
            self.ranges,
            self.folder / "fits" / label,
            steps=config.steps,
            protocol=self.protocol,
            **{name: config[name] for name in ("noise", "rms_contrast", "t_stim")},
        )
        asked = {name: config[name] for name in ("noise", "trials", "draws", "seed")}
        flies = ", ".join(self.network.names[k] for k in chosen.flies)
        for name in chosen.cell_types:
            own = [result["stimulus"][result["cell_type"] == name] for result in made.values()]
            sets = {MADE: self.responses([np.concatenate(own)]), **shown}
            of_type = {key: values[:, self.names.index(name)] for key, values in sets.items()}
            for key, judged in judge(chosen, of_type, number=config.n_stimuli, **asked).items():
                sources = [list(made)[i] if key == MADE else int(i) for i in judged.stimuli]
                yield Answers(name, key, flies, judged, sources)

    def responses(self, batches: Iterable[NDArray[Any]]) -> Floats:
        """Normalized responses `(networks, types, stimuli, frames)`; NaN after the end."""
        parts = [
            responses_to(self.network, batch, self.names, self.protocol)
            / self.scale.span[:, :, None, None]
            for batch in batches
        ]
        longest = max(part.shape[3] for part in parts)
        padded = [
            np.pad(part, [(0, 0)] * 3 + [(0, longest - part.shape[3])], constant_values=np.nan)
            for part in parts
        ]
        return np.concatenate(padded, axis=2)

    def clips(self) -> Iterable[NDArray[Any]]:
        """The samples of the movies."""
        extent = self.network.lattice.extent
        data = StimulusDataModule(**vars(self.config.data), dt=self.protocol.dt, extent=extent)
        return (batch.luminance.numpy() for batch in data.test_dataloader())

    def edges(self) -> Iterable[Floats]:
        """Edges of full contrast in 12 directions, ON and OFF."""
        lattice, protocol = self.network.lattice, self.protocol
        return (moving_edges(lattice, ANGLES_DEG, speed, protocol) for speed in SPEEDS)

    def flashes(self) -> Floats:
        """OFF and ON flashes of full contrast on discs of four sizes, then grey."""
        lattice, on = self.network.lattice, self.protocol.frames(self.config.t_stim)
        sizes = itertools.product((1, 3, 6, lattice.extent), INTENSITIES)
        return np.stack([flash(lattice, shade, radius, on, on) for radius, shade in sizes])

    def write(self, answers: Sequence[Answers], chance: float) -> None:
        """Write `identification.csv`, `questions.csv` and `identification.png`."""
        seed, trial = self.config.seed, self.config.trials // 2

        def fractions(key: str, name: str = ALL_TYPES) -> Floats:
            """Of all flies, `(flies, trials)`."""
            chosen = [a for a in answers if a.name == key and name in (ALL_TYPES, a.cell_type)]
            return np.concatenate([each.judged.fractions for each in chosen])

        names = dict.fromkeys([ALL_TYPES, *(each.cell_type for each in answers)])
        curves = {
            name: {key: identification(fractions(key, name), seed) for key in SETS}
            for name in names
        }
        rows = [
            {"cell_type": name, "set": key, "trials": n + 1, "fraction": f, "low": lo, "high": hi}
            for name, sets in curves.items()
            for key, curve in sets.items()
            for n, (f, lo, hi) in enumerate(zip(*curve, strict=True))
        ]
        write_csv(self.folder / "identification.csv", rows)
        questions = [
            {
                "cell_type": each.cell_type,
                "set": each.name,
                "question": number,
                "stimulus": source,
                "read_at_s": self.protocol.seconds(int(frame)),
                "flies": each.flies,
            }
            for each in answers
            for number, (source, frame) in enumerate(
                zip(each.sources, each.judged.frames, strict=True)
            )
        ]
        write_csv(self.folder / "questions.csv", questions)
        save_figure(plot_identification(curves, chance), self.folder / "identification.png")
        print(f"named right after {trial + 1} trials, and how many more by {MADE} (95 % interval):")
        for key in SETS:
            # The same flies answer to all sets, so that each is compared with itself.
            more = identification(fractions(MADE) - fractions(key), seed)
            texts = [
                "{:4.0f} % ({:.0f} to {:.0f})".format(*(100 * values[trial] for values in curve))
                for curve in (curves[ALL_TYPES][key], more)
            ]
            print(f"{key:>15}  {texts[0]}  {'' if key == MADE else texts[1]}")
        print(self.folder)
