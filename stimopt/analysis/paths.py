"""Whether an optimum drives a cell through the same inputs as natural clips do."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from stimopt import expect
from stimopt.analysis.currents import input_currents
from stimopt.analysis.shown import ShownStimuli
from stimopt.lattice import Floats
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.networks.model import ResponseModel
from stimopt.protocol import BEFORE_PEAK
from stimopt.results.items import cells_of, rows_by_cell
from stimopt.results.result import Result, Variable


def path_similarity(
    result: Result, network: ResponseModel, clips: Result, seconds: float = BEFORE_PEAK
) -> Floats:
    """Cosine between the input currents under each stimulus and under clips for the same cell.

    Currents are summed by source type, taken relative to stimulus onset and aligned at the peaks:
    a vector over source types and frames. 1 is the same course through the same inputs; 0 is other
    inputs; below 0, what one excites through, the other suppresses through.

    Example:
        >>> import stimopt
        >>> from stimopt.analysis import path_similarity
        >>> network = stimopt.builtin_network(extent=3)
        >>> result = stimopt.StimulusGenerator(network, "T4c", t_stim=0.1).result()
        >>> path_similarity(result, network, clips=result).round(6)
        array([[1.]])

    Args:
        result: of a search or fit.
        network: the one the result is of.
        clips: of a search with the same network and protocol; `ranked_clips` adds more than the
            best clip of each cell.
        seconds: compared before the peak.

    Returns:
        `(items, clips)`, in the order of the clips; NaN beyond the clips of a cell, and where a
        stimulus changes no current.

    Raises:
        ValueError: for results of another network or protocol, or a network without a connectome.
    """
    shown, natural = ShownStimuli.of(result, network), ShownStimuli.of(clips, network)
    expect.that(
        result.protocol == clips.protocol,
        f"clips under the protocol of the result ({result.protocol})",
        str(clips.protocol),
        "search with the same options",
    )
    frames = shown.protocol.frames(seconds)
    expect.that(frames >= 1, "at least one frame before the peak", f"{seconds} s", "pass 0.2")
    rows = rows_of_cells(result, clips)
    used = sorted({row for of_item in rows for row in of_item})
    similarity = np.full((len(rows), max(map(len, rows))), np.nan)
    if used:
        of_clips = _changes_before_peak(network, natural.select(torch.tensor(used)), frames)
        of_items = _changes_before_peak(network, shown, frames)
        for i, of_item in enumerate(rows):
            for rank, row in enumerate(of_item):
                similarity[i, rank] = _cosine(of_items[i], of_clips[used.index(row)])
    return similarity


def rows_of_cells(result: Result, clips: Result) -> list[list[int]]:
    """For each item the clips of its cell, by number."""
    of_clips = rows_by_cell(clips)
    return [of_clips.get(cell, []) for cell in cells_of(result)]


def ranked_clips(search: Result, data: StimulusDataModule) -> Result:
    """All ranked clips of a search; its own stimuli are only the best of each cell.

    Args:
        search: with `top_k` above 1.
        data: of the search; see `StimulusDataModule`.

    Returns:
        The search with an item for each clip.

    Raises:
        ValueError: for data other than those of the search.
    """
    stored = search.config.get("data")
    expect.that(
        stored == data.fingerprint,
        f"the movies of the search ({stored})",
        str(data.fingerprint),
        "name its stores, and the window, mirrorings and rotations of its config",
    )
    items, ranks = np.nonzero(search["sample"] >= 0)
    samples = search["sample"][items, ranks]
    clips = {s: np.asarray(data.dataset[s].luminance) for s in np.unique(samples).tolist()}
    lengths = np.array([len(clips[s]) for s in samples.tolist()])
    stimulus = np.full((len(samples), lengths.max(), search["u"].size), np.nan, np.float32)
    for row, sample in zip(stimulus, samples.tolist(), strict=True):
        row[: len(clips[sample])] = clips[sample]
    of_items = ("label", "cell_type", "network", "readout_u", "readout_v")
    variables = {
        **{name: Variable(("item",), search[name][items]) for name in of_items},
        "n_frames": Variable(("item",), lengths, "frames"),
        "stimulus": search.variables["stimulus"]._replace(values=stimulus),
    }
    if (every := search.variables.get("every_peak_response")) is not None:
        variables["every_peak_response"] = every._replace(values=every.values[:, items])
    return dataclasses.replace(search, variables=variables)


def _changes_before_peak(network: ResponseModel, shown: ShownStimuli, frames: int) -> Floats:
    """Changes of the currents up to each peak, `(items, frames, types + 1)`, zero before onset."""
    currents = input_currents(network, shown)
    peaks = shown.peaks(torch.as_tensor(currents.voltage)).frame.numpy()
    changes = currents.change_by_source
    padded = np.pad(changes, ((0, 0), (frames, 0), (0, 0)))
    return np.stack([each[t + 1 : t + 1 + frames] for each, t in zip(padded, peaks, strict=True)])


def _cosine(a: Floats, b: Floats) -> float:
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum() / norm) if norm > 0 else np.nan
