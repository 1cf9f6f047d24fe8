"""The stimuli of a result that are to be shown, and controls made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stimopt import expect
from stimopt.export.light import Luminance
from stimopt.items import ALL, Reading
from stimopt.lattice import HexLattice
from stimopt.protocol import GREY
from stimopt.results import Result, ThreeOptima
from stimopt.results.items import cells_of
from stimopt.results.three_optima import KINDS
from stimopt.storage.files import safe_names

RESERVED = ("session", "seen", "patterns", "test_pattern", "protocol", "play")
"""Names of a session's other files."""


@dataclass(frozen=True)
class Stimulus:
    """What a rig shows, and the cell whose response it is about.

    Attributes:
        name: of its files: letters, digits, `.`, `_` and `-`.
        luminance: in [0, 1], `(frames, columns)`.
        lattice: its columns.
        cell_type: of the cell.
        u: column of the cell.
        v: its other coordinate.
        network: of the cell, by position.
        sign: 1 where a large response is sought, -1 where a low one is.
        label: of the item in the result.
        kind: `naturalistic`, `regularized`, `artificial` or the name of a control.
    """

    name: str
    luminance: Luminance
    lattice: HexLattice
    cell_type: str = ""
    u: int = 0
    v: int = 0
    network: int = 0
    sign: int = 1
    label: str = ""
    kind: str = "artificial"


def _once(names: str | Sequence[str]) -> list[str]:
    """Names once each; several in one string have commas between."""
    return list(dict.fromkeys(part.strip() for part in expect.names(names) if part.strip()))


def results_of(
    found: Result | ThreeOptima, kinds: str | Sequence[str] = ("artificial",)
) -> list[Result]:
    """The results in a file that hold the kinds sought; a file of one result holds its own.

    Raises:
        ValueError: for an invalid kind, or no kind.
    """
    kinds = _once(kinds)
    expect.that(kinds, "at least one kind of optimum", "none", "name some, such as artificial")
    for kind in kinds:
        expect.one_of("kind of optimum", kind, KINDS)
    return [found] if isinstance(found, Result) else [getattr(found, kind) for kind in kinds]


def choose_stimuli(results: Sequence[Result], items: str | Sequence[str] = ALL) -> list[Stimulus]:
    """Stimuli of results.

    Args:
        results: whose items are to be shown.
        items: labels or cell types, or `all`; several in one string with commas between.

    Raises:
        ValueError: for an unknown item, or a stimulus that is not finite or out of range.
    """
    chosen = _once(items)
    expect.that(chosen, "at least one item", "none", "name some, or all")
    every = [
        (result, i, cell, {ALL, str(result["label"][i]), cell.cell_type})
        for result in results
        for i, cell in enumerate(cells_of(result))
    ]
    known = sorted({name for *_, names in every for name in names})
    for name in chosen:
        expect.one_of("item", name, known)
    several = len(results) > 1
    return named(
        [_stimulus(r, i, cell, several) for r, i, cell, names in every if names & set(chosen)]
    )


def named(stimuli: Sequence[Stimulus]) -> list[Stimulus]:
    """The same with names that differ, and that are safe as names of files."""
    names = safe_names([*RESERVED, *(stimulus.name for stimulus in stimuli)])[len(RESERVED) :]
    return [dataclasses.replace(s, name=name) for s, name in zip(stimuli, names, strict=True)]


def _stimulus(result: Result, i: int, cell: Reading, several: bool) -> Stimulus:
    label = str(result["label"][i])
    luminance = result["stimulus"][i, : int(result["n_frames"][i])].astype(np.float32)
    lattice = HexLattice(result.extent)
    advice = "fit it again with parametrization clamp"
    shape = ("frames", lattice.n_columns)
    expect.shape(f"the stimulus of {label}", luminance, shape, "run it again")
    expect.finite(f"luminance of {label}", luminance, advice)
    expect.within(f"luminance of {label}", luminance, 0, 1, advice)
    return Stimulus(
        name=f"{label}_{result.kind}" if several else label,
        luminance=luminance,
        lattice=lattice,
        **vars(cell),
        sign=int(result.signs[i]),
        label=label,
        kind=result.kind,
    )


# -- controls -------------------------------------------------------------------------------------


def add_controls(
    stimuli: Sequence[Stimulus], controls: str | Sequence[str], seed: int = 0
) -> list[Stimulus]:
    """Stimuli, then the controls of each; `grey` comes once, as long as the longest.

    Args:
        stimuli: to be controlled.
        controls: of `CONTROLS`, and `grey`; several in one string with commas between.
        seed: of the scrambled phases.

    Raises:
        ValueError: for an unknown control.
    """
    controls = _once(controls)
    for control in controls:
        expect.one_of("control", control, [*CONTROLS, "grey"])
    made = [
        dataclasses.replace(
            stimulus,
            name=f"{stimulus.name}_{control}",
            luminance=CONTROLS[control](stimulus, seed),
            kind=control,
        )
        for stimulus in stimuli
        for control in controls
        if control != "grey"
    ]
    if "grey" in controls:
        longest = max(stimuli, key=lambda stimulus: len(stimulus.luminance))
        made.append(grey_like(longest, len(longest.luminance), "grey"))
    return named([*stimuli, *made])


def grey_like(stimulus: Stimulus, n_frames: int, name: str) -> Stimulus:
    """Grey on the same lattice."""
    luminance = np.full((n_frames, stimulus.lattice.n_columns), GREY, np.float32)
    return dataclasses.replace(stimulus, name=name, luminance=luminance, label=name, kind=name)


def mirrored(stimulus: Stimulus) -> Luminance:
    """Left and right swapped about the column read out; grey comes in from beyond the lattice."""
    lattice = stimulus.lattice
    # Picture coordinates are x = 3/2 v, which is reflected, and y = -sqrt(3) (u + v / 2), kept.
    source = lattice.index(lattice.u + lattice.v - stimulus.v, 2 * stimulus.v - lattice.v)
    swapped: Luminance = np.where(source >= 0, stimulus.luminance[:, source], np.float32(GREY))
    return swapped


def scrambled(stimulus: Stimulus, seed: int) -> Luminance:
    """Random phases at the same amplitudes in space and time, at the same contrast.

    The stimulus, with grey beyond the lattice, is Fourier-transformed over frames and axial
    coordinates; the phases of noise are added. What leaves [0, 1] is cut.
    """
    lattice, extent = stimulus.lattice, stimulus.lattice.extent
    contrast = stimulus.luminance.astype(np.float64) - GREY
    place = (slice(None), lattice.u + extent, lattice.v + extent)
    grid = np.zeros((len(contrast), 2 * extent + 1, 2 * extent + 1))
    grid[place] = contrast
    noise = np.fft.fftn(np.random.default_rng(seed).standard_normal(grid.shape))
    mixed = np.fft.ifftn(np.fft.fftn(grid) * noise / np.abs(noise)).real[place]
    spread = np.sqrt((mixed**2).mean())
    mixed = mixed * np.sqrt((contrast**2).mean()) / (spread if spread > 0 else 1)
    return np.asarray(np.clip(mixed + GREY, 0, 1), np.float32)


CONTROLS: dict[str, Callable[[Stimulus, int], Luminance]] = {
    "reversed": lambda stimulus, seed: stimulus.luminance[::-1],
    "inverted": lambda stimulus, seed: 2 * np.float32(GREY) - stimulus.luminance,
    "mirrored": lambda stimulus, seed: mirrored(stimulus),
    "scrambled": scrambled,
}
"""Luminance of a control by its name, from a stimulus and a seed."""
