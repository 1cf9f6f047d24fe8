"""`stimopt discriminate`: stimuli that tell networks apart, and how often they name a fly right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser, Namespace
from numpy.typing import NDArray

from stimopt import expect
from stimopt.analysis.discriminate import Identification, identification
from stimopt.analysis.edge_tuning import POLARITIES, moving_edge
from stimopt.analysis.groups import responses_to
from stimopt.analysis.transfer import ResponseScale
from stimopt.commands import options
from stimopt.items import choose_cell_types
from stimopt.lattice import Floats, HexLattice
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.networks.model import ResponseModel
from stimopt.optimize.ceiling import ResponseRange
from stimopt.plotting.files import save_figure
from stimopt.plotting.identification import plot_identification
from stimopt.protocol import GREY, Protocol
from stimopt.report.comparison import write_csv
from stimopt.results import Result, read
from stimopt.runs.discriminate import (
    Judged,
    Round,
    flies_left_out,
    judge,
    lesioned_flies,
    seek_discriminating,
)
from stimopt.runs.trainer import fit

MADE, CLIPS, EDGES, FLASHES = "discriminating", "clips", "edges", "flashes"
ALL_TYPES = "all cell types"
SPEEDS = (4.8, 9.7, 19.0)
"""Of the edges, columns a second."""


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
    network, protocol = options.open_network(config)
    return _Experiment(config, network, protocol).run()


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
        self.fits = {"t_stim": config.t_stim, "anneal": config.steps}
        self.ranges = self.read_ranges() or fit(
            ResponseRange(network, self.names, protocol, **self.fits),
            config.steps,
            self.folder / "ranges",
            max_figures=0,
            enable_progress_bar=False,
        )
        self.scale = ResponseScale.of(self.ranges, self.names, range(network.n_networks))

    def read_ranges(self) -> Result | None:
        """The ceilings that are named, if any."""
        ranges = None if self.config.ranges is None else read(self.config.ranges)
        return ranges if isinstance(ranges, Result) else None

    def run(self) -> int:
        """Every round; then the tables and the figure."""
        shown = {
            CLIPS: self.responses(self.clips()),
            EDGES: self.responses([self.edges()]),
            FLASHES: self.responses([self.flashes()]),
        }
        fractions: dict[str, dict[str, list[Floats]]] = {}
        questions, n_classes = [], 2
        for chosen in self.rounds(shown):
            n_classes = len(set(chosen.classes))
            label = "lesions" if self.lesioned else f"{chosen.cell_types[0]}-{chosen.flies[0]}"
            made = seek_discriminating(
                self.network,
                chosen,
                self.ranges,
                self.folder / "fits" / label,
                steps=self.config.steps,
                protocol=self.protocol,
                noise=self.config.noise,
                rms_contrast=self.config.rms_contrast,
                t_stim=self.config.t_stim,
                trainer={"enable_progress_bar": False},
            )
            for name in chosen.cell_types:
                own = [r["stimulus"][r["cell_type"] == name] for r in made.values()]
                t = self.names.index(name)
                sets = {MADE: self.responses([np.concatenate(own)])}
                of_type = {key: values[:, t] for key, values in (sets | shown).items()}
                judged = judge(chosen, of_type, **self.judging())
                for key, each in judged.items():
                    fractions.setdefault(name, {}).setdefault(key, []).append(each.fractions)
                questions += list(self.described(chosen, name, judged, list(made)))
        self.write(fractions, questions, 1 / n_classes)
        return 0

    def rounds(self, shown: dict[str, Floats]) -> list[Round]:
        """Lesioned copies as flies if there are any, or every network of a group left out."""
        if self.lesioned:
            return [self.lesioned]
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

    def judging(self) -> dict[str, Any]:
        """Options of `judge`."""
        config = self.config
        return {
            "noise": config.noise,
            "number": config.n_stimuli,
            "trials": config.trials,
            "draws": config.draws,
            "seed": config.seed,
        }

    def responses(self, batches: Iterable[NDArray[Any]]) -> Floats:
        """Normalized responses `(networks, types, stimuli, frames)`; NaN after the end."""
        parts = []
        for batch in batches:
            voltage = responses_to(self.network, batch, self.names, self.protocol)
            parts.append(voltage / self.scale.span[:, :, None, None])
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

    def edges(self) -> Floats:
        """Edges of full contrast in 12 directions, ON and OFF, grey after the shorter ones."""
        lattice, angles = self.network.lattice, 30.0 * np.arange(12)
        return _padded(
            [
                moving_edge(lattice, angle, polarity, speed, self.protocol)
                for speed in SPEEDS
                for polarity in POLARITIES
                for angle in angles
            ]
        )

    def flashes(self) -> Floats:
        """ON and OFF flashes of full contrast on discs of four sizes, then grey."""
        on = self.protocol.frames(self.config.t_stim)
        return np.stack(
            [
                _flash(self.network.lattice, radius, intensity, on)
                for radius in (1, 3, 6, self.network.lattice.extent)
                for intensity in (0.0, 1.0)
            ]
        )

    def described(
        self, chosen: Round, name: str, judged: dict[str, Judged], pairs: list[str]
    ) -> Iterable[dict[str, Any]]:
        """A row for each question."""
        flies = ", ".join(self.network.names[k] for k in chosen.flies)
        for key, each in judged.items():
            for number, (stimulus, frame) in enumerate(zip(each.stimuli, each.frames, strict=True)):
                source = pairs[stimulus] if key == MADE else int(stimulus)
                row = {"cell_type": name, "set": key, "question": number, "stimulus": source}
                yield {**row, "read_at_s": self.protocol.seconds(int(frame)), "flies": flies}

    def write(
        self,
        fractions: dict[str, dict[str, list[Floats]]],
        questions: Sequence[dict[str, Any]],
        chance: float,
    ) -> None:
        """Write `identification.csv`, `questions.csv` and `identification.png`."""
        together = {
            key: [f for sets in fractions.values() for f in sets[key]]
            for key in (MADE, CLIPS, EDGES, FLASHES)
        }
        curves: dict[str, dict[str, Identification]] = {
            name: {
                key: identification(np.concatenate(each), self.config.seed)
                for key, each in sets.items()
            }
            for name, sets in {ALL_TYPES: together, **fractions}.items()
        }
        rows = [
            {"cell_type": name, "set": key, "trials": n + 1, "fraction": f, "low": lo, "high": hi}
            for name, sets in curves.items()
            for key, curve in sets.items()
            for n, (f, lo, hi) in enumerate(zip(*curve, strict=True))
        ]
        write_csv(self.folder / "identification.csv", rows)
        write_csv(self.folder / "questions.csv", questions)
        save_figure(plot_identification(curves, chance), self.folder / "identification.png")
        half = self.config.trials // 2
        print(f"named right after {half + 1} trials, and how many more by {MADE} (95 % interval):")
        made = np.concatenate(together[MADE])
        for key, curve in curves[ALL_TYPES].items():
            # The same flies answer to all sets, so that each is compared with itself.
            more = identification(made - np.concatenate(together[key]), self.config.seed)
            print(
                f"{key:>15}  {_percent(curve, half)}  {'' if key == MADE else _percent(more, half)}"
            )
        print(self.folder)


def _percent(curve: Identification, trial: int) -> str:
    fraction, low, high = (100 * values[trial] for values in curve)
    return f"{fraction:4.0f} % ({low:.0f} to {high:.0f})"


def _flash(lattice: HexLattice, radius: int, intensity: float, on: int) -> Floats:
    disc = np.abs([lattice.u, lattice.v, lattice.u + lattice.v]).max(axis=0) <= radius
    shown = np.full((2 * on, lattice.n_columns), GREY)
    shown[:on, disc] = intensity
    return shown


def _padded(stimuli: Sequence[Floats]) -> Floats:
    longest = max(map(len, stimuli))
    return np.stack(
        [np.pad(s, [(0, longest - len(s)), (0, 0)], constant_values=GREY) for s in stimuli]
    )
