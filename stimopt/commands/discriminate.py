"""`stimopt discriminate`: stimuli that tell networks apart, and how often they name a fly right."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser, Namespace

from stimopt import expect
from stimopt.analysis.discriminate import Round, flies_left_out, judge, lesioned_flies
from stimopt.analysis.edge_tuning import moving_edges, responses_to
from stimopt.analysis.flyvis_probes import ANGLES_DEG, INTENSITIES, flash
from stimopt.analysis.indices import MeanInterval, mean_interval
from stimopt.analysis.transfer import ResponseScale
from stimopt.commands import options
from stimopt.commands.fitting import fit_stage
from stimopt.items import choose_cell_types
from stimopt.lattice import Floats
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.networks.model import ResponseModel
from stimopt.optimize.ceiling import ResponseRange
from stimopt.optimize.limited import discriminating
from stimopt.plotting.files import save_figure
from stimopt.plotting.identification import plot_identification
from stimopt.protocol import Protocol
from stimopt.report.rows import write_csv
from stimopt.results import Result, fitted
from stimopt.results.campaign import side_by_side
from stimopt.storage.files import safe_names

MADE, ALL_TYPES = "discriminating", "all cell types"
SPEEDS = (4.8, 9.7, 19.0)
"""Of the edges, columns a second."""
SIZES = (1, 3, 6)
"""Of the discs that flash, beside the whole lattice, in columns around the central one."""


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
        self.of_fits = {"protocol": protocol, "t_stim": config.t_stim, "anneal": config.steps}
        if config.ranges:
            self.ranges = fitted(config.ranges)
            self.ranges.require_network(network)
        else:
            sought = ResponseRange(network, self.names, **self.of_fits)
            folder = self.folder / "ranges"
            self.ranges = fit_stage(sought, folder, config.steps, enable_progress_bar=False)
        self.scale = ResponseScale.of(self.ranges, self.names, range(network.n_networks))
        self.fractions = defaultdict[tuple[str, str], list[Floats]](list)
        self.questions: list[dict[str, Any]] = []

    def run(self) -> int:
        """Every round; then the tables and the figure."""
        shown = self.shown()
        rounds = [self.lesioned] if self.lesioned else self.left_out(shown)
        for chosen in rounds:
            self.ask(chosen, shown)
        self.write(self.chance(rounds))
        return 0

    def shown(self) -> dict[str, Floats]:
        """Responses to clips, to edges in 12 directions and to flashes of full contrast."""
        lattice, protocol = self.network.lattice, self.protocol
        data = StimulusDataModule(**vars(self.config.data), dt=protocol.dt, extent=lattice.extent)
        clips = (batch.luminance.numpy() for batch in data.test_dataloader())
        edges = (moving_edges(lattice, ANGLES_DEG, speed, protocol) for speed in SPEEDS)
        on = protocol.frames(self.config.t_stim)
        discs = itertools.product((*SIZES, lattice.extent), INTENSITIES)
        flashes = [[flash(lattice, shade, radius, on, on) for radius, shade in discs]]
        stimuli = {"clips": clips, "edges": edges, "flashes": flashes}
        return {name: self.responses(batches) for name, batches in stimuli.items()}

    def named(self, key: str, stimulus: int, made: Sequence[str]) -> str:
        """A stimulus of a set in words, or a clip's number among the samples."""
        edges = itertools.product(SPEEDS, ("ON", "OFF"), ANGLES_DEG)
        discs = itertools.product((*SIZES, self.network.lattice.extent), ("black", "white"))
        words: dict[str, Sequence[str]] = {
            MADE: made,
            "edges": [f"{kind} to {a:g} degrees, {v:g} columns/s" for v, kind, a in edges],
            "flashes": [f"{shade}, within {radius} columns" for radius, shade in discs],
        }
        if key in words:
            return words[key][stimulus]
        return f"sample {stimulus + self.config.data.start_sample}"

    def chance(self, rounds: Sequence[Round]) -> dict[str, float]:
        """Part of the flies named right by guessing, for each cell type and for all."""
        guessed = defaultdict[str, list[float]](list)
        for chosen in rounds:
            for group in (ALL_TYPES, *chosen.cell_types):
                guessed[group] += [1 / len(set(chosen.candidates.values()))] * len(chosen.flies)
        return {group: float(np.mean(each)) for group, each in guessed.items()}

    def responses(self, batches: Iterable[Any]) -> Floats:
        """Normalized responses `(networks, types, stimuli, frames)`; NaN after the end."""
        parts = [responses_to(self.network, batch, self.names, self.protocol) for batch in batches]
        return side_by_side(parts, axis=2) / self.scale.span[:, :, None, None]

    def left_out(self, shown: Mapping[str, Floats]) -> list[Round]:
        """Every network of a group left out."""
        rounds = []
        for t, name in enumerate(self.names):
            flat = [values[:, t].reshape(len(values), -1) for values in shown.values()]
            responses = np.nan_to_num(np.concatenate(flat, axis=1))
            own = flies_left_out(name, responses, seed=self.config.seed)
            if not own:
                print(f"{name}: no groups of two networks or more, so that none can play the fly")
            rounds += own
        expect.that(rounds, "a cell type whose networks fall into groups", "none", "add lesions")
        return rounds

    def made(self, chosen: Round) -> dict[str, Result]:
        """Fits of the stimuli on which a class exceeds another, by the name of the pair."""
        config, types, results = self.config, list(chosen.cell_types), {}
        label = "lesions" if self.lesioned else f"{types[0]}-{next(iter(chosen.flies))}"
        options = {"noise": config.noise, "rms_contrast": config.rms_contrast, **self.of_fits}
        for pair in chosen.pairs:
            first, second = groups = [chosen.members(each) for each in pair]
            short = [[self.network.names[k].rsplit("/", 1)[-1] for k in group] for group in groups]
            name = " over ".join(map("+".join, short))
            module = discriminating(self.network, types, first, second, self.ranges, **options)
            folder = self.folder / "fits" / label / safe_names([name])[0]
            results[name] = fit_stage(module, folder, config.steps, enable_progress_bar=False)
        return results

    def ask(self, chosen: Round, shown: Mapping[str, Floats]) -> None:
        """Make stimuli for a round, and ask its flies."""
        config, made = self.config, self.made(chosen)
        asked = {name: config[name] for name in ("noise", "trials", "draws", "seed")}
        for name in chosen.cell_types:
            own = [result["stimulus"][result["cell_type"] == name] for result in made.values()]
            sets = {MADE: self.responses([np.concatenate(own)]), **shown}
            of_type = {key: values[:, self.names.index(name)] for key, values in sets.items()}
            for key, judged in judge(chosen, of_type, number=config.n_stimuli, **asked).items():
                for group in (ALL_TYPES, name):
                    self.fractions[group, key].append(judged.fractions)
                asked_about = enumerate(zip(judged.stimuli, judged.frames, strict=True))
                self.questions += [
                    {
                        "cell_type": name,
                        "set": key,
                        "question": number,
                        "stimulus": self.named(key, int(stimulus), list(made)),
                        "read_at_s": self.protocol.seconds(int(frame)),
                        "flies": ", ".join(self.network.names[k] for k in chosen.flies),
                    }
                    for number, (stimulus, frame) in asked_about
                ]

    def write(self, chance: Mapping[str, float]) -> None:
        """Write `identification.csv`, `questions.csv` and `identification.png`."""
        seed, trial = self.config.seed, self.config.trials // 2
        fractions = {which: np.concatenate(each) for which, each in self.fractions.items()}
        curves, rows = dict[str, dict[str, MeanInterval]](), []
        for (name, key), each in fractions.items():
            curves.setdefault(name, {})[key] = curve = mean_interval(each, seed)
            rows += [
                {"cell_type": name, "set": key, "trials": n, "fraction": f, "low": lo, "high": hi}
                for n, (f, lo, hi) in enumerate(zip(*curve, strict=True), start=1)
            ]
        write_csv(self.folder / "identification.csv", rows)
        write_csv(self.folder / "questions.csv", self.questions)
        save_figure(plot_identification(curves, chance), self.folder / "identification.png")
        text = "{:4.0f} % ({:.0f} to {:.0f})".format
        print(f"named right after {trial + 1} trials, and how many more by {MADE} (95 % interval):")
        for key, curve in curves[ALL_TYPES].items():
            # The same flies answer to all sets, so that each is compared with itself.
            more = mean_interval(fractions[ALL_TYPES, MADE] - fractions[ALL_TYPES, key], seed)
            right, gain = (text(*(100 * ends[trial] for ends in each)) for each in (curve, more))
            print(f"{key:>15}  {right}  {'' if key == MADE else gain}")
        print(self.folder)
