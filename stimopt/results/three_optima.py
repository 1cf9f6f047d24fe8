"""The three optima of every cell type side by side: what a walk leaves, under one protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stimopt.analysis import stimulus_tuning
from stimopt.lattice import HexLattice
from stimopt.networks.model import ResponseModel
from stimopt.plotting import walk_figure
from stimopt.results.result import Result, Variable, read, require_same, write

Floats = NDArray[np.float32]

KINDS = ("naturalistic", "regularized", "artificial")
"""The groups of a walk's file, in the order of the walk."""


@dataclass(frozen=True)
class OptimalStimulus:
    """The clip of a movie set that drives a cell type most.

    Attributes:
        stimulus: luminance, `(frames, columns)`.
        response: of the cell type in every column, `(frames, columns)`; NaN where it has no cell.
        central_response: `(frames,)`.
        peak_frame: frame at which that is largest within the read-out window.
    """

    stimulus: Floats
    response: Floats
    central_response: Floats
    peak_frame: int

    @property
    def peak(self) -> float:
        """Largest central response within the read-out window."""
        return float(self.central_response[self.peak_frame])


@dataclass(frozen=True)
class RegularizedStimulus(OptimalStimulus):
    """That clip pulled to grey; `stimulus` is `regularized_stimulus`.

    Attributes:
        regularized_stimulus: the same as `stimulus`, by the name flyvis has for it.
        central_target_response: central response to the clip, `(frames,)`.
        central_predicted_response: the same as `central_response`.
        losses: total loss at every iterate, `(steps + 1,)`.
    """

    regularized_stimulus: Floats
    central_target_response: Floats
    central_predicted_response: Floats
    losses: Floats


@dataclass(frozen=True)
class GeneratedStimulus(OptimalStimulus):
    """The stimulus grown from noise.

    Attributes:
        losses: total loss at every iterate, `(steps + 1,)`.
    """

    losses: Floats


@dataclass(frozen=True)
class WalkItem:
    """The three optima of one cell type, network and seed."""

    label: str
    cell_type: str
    network: int
    seed: int
    naturalistic: OptimalStimulus
    regularized: RegularizedStimulus
    artificial: GeneratedStimulus

    @property
    def optima(self) -> dict[str, OptimalStimulus]:
        """All three by name, in the order of the walk."""
        return {kind: getattr(self, kind) for kind in KINDS}

    def figure(self, lattice: HexLattice, dt: float, **options: Any) -> Figure:
        """Three strips of stimulus over response, then the central traces over each other.

        Args:
            lattice: the columns.
            dt: duration of a frame in seconds.
            **options: as for `plotting.walk_figure`.
        """
        drawn = [(kind, o.stimulus, o.response) for kind, o in self.optima.items()]
        peaks = [optimum.peak_frame for optimum in self.optima.values()]
        return walk_figure(drawn, lattice, dt, self.cell_type, peak_frames=peaks, **options)


@dataclass(frozen=True)
class Walk(Sequence[WalkItem]):
    """Results of search, regularization and generation; `walk[i]` has the three of one item.

    Items are those of the generation. Those that differ in their seed alone share the clip and its
    regularization.

    Args:
        naturalistic: of a search; cell types that are not in the others are left out.
        regularized: of a regularization that started from it.
        artificial: of a generation.

    Raises:
        ValueError: if they are not of one network and protocol, or one lacks an item.
    """

    naturalistic: Result
    regularized: Result
    artificial: Result

    def __post_init__(self) -> None:
        for kind in KINDS:
            result = getattr(self, kind)
            if result.kind != kind:
                raise ValueError(
                    f"expected a result of kind {kind}, got {result.kind}; give the results of "
                    "search, regularize and generate in this order"
                )
            if (result.network_hash, result.protocol) != (
                self.artificial.network_hash,
                self.artificial.protocol,
            ):
                raise ValueError(
                    f"expected results of one network and protocol, got a {kind} one of another; "
                    "run the three with the same options"
                )
        wanted = list(dict.fromkeys(_keys(self.artificial)))
        rows = [_row(self.naturalistic, key) for key in wanted]
        object.__setattr__(self, "naturalistic", select_items(self.naturalistic, rows))
        for key in wanted:
            _row(self.regularized, key)

    @classmethod
    def read(cls, path: str | Path) -> Walk:
        """Read a walk's file.

        Raises:
            ValueError: if it is missing, damaged or no walk.
        """
        return cls(**{kind: read(path, kind) for kind in KINDS})

    def write(self, path: str | Path) -> Path:
        """Write one file with a group for each kind, whole or not at all; gives its path."""
        return write(path, {kind: getattr(self, kind) for kind in KINDS})

    @property
    def lattice(self) -> HexLattice:
        """The columns."""
        return HexLattice(self.artificial.extent)

    @property
    def dt(self) -> float:
        """Duration of a frame in seconds."""
        return self.artificial.protocol.dt

    def __len__(self) -> int:
        return len(self.artificial["cell_type"])

    def __iter__(self) -> Iterator[WalkItem]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        key = _keys(self.artificial)[i]
        clip, pulled = _row(self.naturalistic, key), _row(self.regularized, key)
        cut = slice(0, int(self.regularized["n_frames"][pulled]))
        regularized = _optimum(self.regularized, pulled)
        return WalkItem(
            label=str(self.artificial["label"][i]),
            cell_type=key[0],
            network=key[1],
            seed=int(self.artificial["seed"][i]),
            naturalistic=OptimalStimulus(**_optimum(self.naturalistic, clip)),
            regularized=RegularizedStimulus(
                **regularized,
                regularized_stimulus=regularized["stimulus"],
                central_target_response=self.regularized["central_target_response"][pulled, cut],
                central_predicted_response=regularized["central_response"],
                losses=self.regularized["losses"][:, pulled],
            ),
            artificial=GeneratedStimulus(
                **_optimum(self.artificial, i), losses=self.artificial["losses"][:, i]
            ),
        )

    def with_tuning(self, network: ResponseModel) -> Walk:
        """What each artificial optimum says, asked of the network and added to its result.

        The variables `preferred_direction_deg`, `direction_selectivity`, `polarity` and
        `polarity_index` are as in `tuning.StimulusTuning`.
        """
        said = [
            stimulus_tuning(
                network,
                item.artificial.stimulus,
                item.cell_type,
                self.artificial.protocol,
                item.network,
            )
            for item in self
        ]
        columns = {
            "preferred_direction_deg": ([t.preferred_direction_deg for t in said], "degrees"),
            "direction_selectivity": ([t.direction_selectivity for t in said], "0 to 1"),
            "polarity": ([t.polarity for t in said], "1 ON, -1 OFF, 0 neither"),
            "polarity_index": ([t.polarity_index for t in said], "-1 (OFF) to 1 (ON)"),
        }
        added = {
            name: Variable(("item",), np.array(values), units)
            for name, (values, units) in columns.items()
        }
        told = dataclasses.replace(
            self.artificial, variables={**self.artificial.variables, **added}
        )
        return dataclasses.replace(self, artificial=told)


def select_items(result: Result, rows: Sequence[int]) -> Result:
    """A result with some of its items alone, in the order given."""
    chosen = np.asarray(rows, dtype=np.int64)
    variables = {
        name: variable._replace(values=variable.values.take(chosen, variable.dims.index("item")))
        if "item" in variable.dims
        else variable
        for name, variable in result.variables.items()
    }
    return dataclasses.replace(result, variables=variables)


def require_same_result(result: Result, expected: Mapping[str, Any], path: str | Path) -> None:
    """Refuse a result that belongs to another run.

    Args:
        result: read from `path`.
        expected: by name: `network_hash`, `protocol.dt` and the like, or an entry of its config.
        path: for the message.

    Raises:
        ValueError: naming the first entry that differs.
    """
    held = {
        **result.config,
        "network_hash": result.network_hash,
        **result.protocol.settings(),
    }
    # The network first: where that is another, so is much else.
    for name in sorted(expected, key=lambda name: name != "network_hash"):
        require_same({name: held.get(name)}, {name: expected[name]}, str(path))


def _keys(result: Result) -> list[tuple[str, int]]:
    """Cell type and position of the network of every item."""
    return [
        (str(name), int(network))
        for name, network in zip(result["cell_type"], result["network"], strict=True)
    ]


def _row(result: Result, key: tuple[str, int]) -> int:
    keys = _keys(result)
    if key not in keys:
        raise ValueError(
            f"expected {key[0]} of network {key[1]} among the {result.kind} optima, got "
            f"{', '.join(dict.fromkeys(name for name, _ in keys))}; run it for that cell type"
        )
    return keys.index(key)


def _optimum(result: Result, i: int) -> dict[str, Any]:
    """Arrays of one item, cut to its own length, and the frame of its peak."""
    cut = slice(0, int(result["n_frames"][i]))
    arrays = ("stimulus", "response", "central_response")
    return {
        **{name: result[name][i, cut] for name in arrays},
        "peak_frame": result.frame_of_peak(i),
    }
