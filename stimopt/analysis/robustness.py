"""How responses change when the simulation or the stimulus is changed a little.

All figures are `(items,)` and relative to the drive: how far the unchanged stimulus takes the peak
response from grey. Where a stimulus does not drive its cell they are NaN.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stimopt.analysis.currents import require_connectome
from stimopt.analysis.shown import ShownStimuli, drive_of, peak_gradient, traces_of
from stimopt.lattice import NEIGHBOURS, Floats
from stimopt.networks.model import ResponseModel, device_of
from stimopt.networks.stability import crossing_edges
from stimopt.protocol import GREY

RINGS = 3
"""Added to the lattice; taps reach up to that many columns in most pathways."""
NOISE, DRAWS = 0.05, 4
"""Standard deviation of luminance noise, as of a coarse display, and how often it is drawn."""
MISSED = 5
"""Frames that a display may miss; each is tried, back from the peak."""
STEPS = (0.02, 0.1, 0.3)
"""Parts of the way to the optimum of the linear region."""
GREY_SECONDS = 1.0


def change_at_half_step(network: ResponseModel, shown: ShownStimuli, drive: Tensor) -> Floats:
    """Change of the drive if dt is halved and every frame shown for two steps."""
    finer = dataclasses.replace(
        shown,
        luminance=shown.luminance.repeat_interleave(2, dim=1),
        lengths=2 * shown.lengths,
        protocol=dataclasses.replace(shown.protocol, dt=shown.protocol.dt / 2),
    )
    return _change(drive_of(network, finer), drive)


def change_on_larger_lattice(network: ResponseModel, shown: ShownStimuli, drive: Tensor) -> Floats:
    """Change of the drive if the lattice gets `RINGS` rings more, grey around the stimulus."""
    known = require_connectome(network)
    larger, lattice = known.at_extent(known.lattice.extent + RINGS), known.lattice
    place = torch.as_tensor(larger.lattice.index(lattice.u, lattice.v))
    items, frames, _ = shown.luminance.shape
    luminance = torch.full((items, frames, larger.lattice.n_columns), GREY)
    luminance[..., place] = shown.luminance
    types = known.layout.type_of_cell[shown.cells.numpy()]
    cells = torch.as_tensor(larger.layout.cell_index[types, place[shown.columns].numpy()])
    surrounded = dataclasses.replace(shown, luminance=luminance, cells=cells)
    return _change(drive_of(larger, surrounded), drive)


def left_under_noise(network: ResponseModel, shown: ShownStimuli, drive: Tensor) -> Floats:
    """Part of the drive that is left, mean over draws of normal luminance noise."""
    random = torch.Generator().manual_seed(0)
    left = []
    for _ in range(DRAWS):
        # The same noise for all items.
        noise = NOISE * torch.randn(shown.luminance.shape[1:], generator=random)
        left.append(drive_of(network, _with(shown, shown.luminance + noise)))
    return _left(torch.stack(left).mean(dim=0), drive)


def left_one_column_off(network: ResponseModel, shown: ShownStimuli, drive: Tensor) -> Floats:
    """Part of the drive that is left, mean over shifts of the stimulus to the six neighbours."""
    lattice, left = network.lattice, []
    for du, dv in NEIGHBOURS:
        place = torch.as_tensor(lattice.index(lattice.u - du, lattice.v - dv))
        moved = torch.where(place >= 0, shown.luminance[..., place.clamp(min=0)], GREY)
        left.append(drive_of(network, _with(shown, moved)))
    return _left(torch.stack(left).mean(dim=0), drive)


def left_with_a_missed_frame(network: ResponseModel, shown: ShownStimuli, drive: Tensor) -> Floats:
    """Smallest part of the drive that is left if a frame is replaced by the one before it.

    Each of the last `MISSED` frames up to the peak is missed in turn.
    """
    peaks = shown.peaks(traces_of(network, shown)).frame
    every, left = torch.arange(len(shown)), []
    for back in range(MISSED):
        missed = (peaks - back).clamp(min=0)
        luminance = shown.luminance.clone()
        before = luminance[every, (missed - 1).clamp(min=0)]
        luminance[every, missed] = torch.where(missed[:, None] > 0, before, GREY)
        left.append(drive_of(network, _with(shown, luminance)))
    return _left(torch.stack(left).amin(dim=0), drive)


def gain_by_small_steps(
    network: ResponseModel, shown: ShownStimuli, drive: Tensor, free: bool
) -> Floats:
    """Largest gain of the drive by a small step toward the optimum of the linear region.

    A response that is piecewise affine has its largest values on ridges, where the gradient does
    not vanish. Whether the response rises is therefore simulated.

    Args:
        network: simulated.
        shown: the stimuli.
        drive: how far they drive their cells.
        free: whether the step may lead anywhere in [0, 1], or preserves the distance to grey.

    Returns:
        `(items,)`, from 0, where no step gains.
    """
    peaks = shown.peaks(traces_of(network, shown)).frame
    pull = shown.signs[:, None, None] * torch.as_tensor(peak_gradient(network, shown, peaks))
    away = shown.luminance - GREY
    distance = _norm(away)
    if free:
        optimum = torch.where(pull == 0, away, GREY * pull.sign())
    else:
        optimum = _at_distance(pull, distance)
    gains = [torch.zeros_like(drive)]
    for step in STEPS:
        moved = away + step * (optimum - away)
        if not free:
            moved = moved * (distance / _norm(moved).clamp(min=1e-12)).clamp(max=1.0)
        gains.append(drive_of(network, _with(shown, GREY + moved)) - drive)
    return _left(torch.stack(gains).amax(dim=0), drive)


def _at_distance(pull: Tensor, distance: Tensor) -> Tensor:
    """Of clip(mu pull) in [-0.5, 0.5] the one at a distance from zero, by bisection of log mu."""
    unit = pull / pull.abs().amax((1, 2), keepdim=True).clamp(min=1e-12)
    low, high = torch.full_like(distance, -7.0), torch.full_like(distance, 7.0)
    for _ in range(30):
        middle = (low + high) / 2
        further = _norm((10**middle * unit).clamp(-GREY, GREY)) > distance
        low, high = torch.where(further, low, middle), torch.where(further, middle, high)
    return (10**low * unit).clamp(-GREY, GREY)


def _norm(values: Tensor) -> Tensor:
    return values.square().sum((1, 2), keepdim=True).sqrt()


def drift_at_grey(network: ResponseModel, shown: ShownStimuli, drive: Tensor) -> Floats:
    """Largest change of the voltage in a second of grey after the pre-stimulus.

    It is relative to the drive; infinite where the voltage leaves the finite numbers.
    """
    n_frames = max(shown.protocol.frames(GREY_SECONDS), 1)
    # A cell is simulated once for all stimuli it has.
    keys = torch.stack([shown.cells, shown.networks], dim=1)
    cells, back = torch.unique(keys, dim=0, return_inverse=True)
    grey = torch.full((len(cells), n_frames, shown.luminance.shape[2]), GREY)
    still = dataclasses.replace(
        shown,
        luminance=grey,
        lengths=torch.full((len(cells),), n_frames),
        cells=cells[:, 0],
        networks=cells[:, 1],
    )
    traces = traces_of(network, still)
    first = traces[:, :1]
    moved = (traces - first).abs().nan_to_num(nan=torch.inf).amax(dim=1)[back]
    return _left(moved, drive)


def share_in_other_networks(
    network: ResponseModel, shown: ShownStimuli, drive: Tensor, others: Sequence[ResponseModel]
) -> Floats:
    """How far each stimulus drives its cell in other networks, the median over them.

    Networks share no unit, so a drive is relative to the largest one by full-contrast edges in the
    same network, and then to the same figure in the stimulus's own network: 1 drives the others as
    far as its own.

    Args:
        network: the stimuli are for; its other parameter sets count as others.
        shown: the stimuli.
        drive: how far they drive their cells.
        others: with the same lattice and cell types.

    Returns:
        `(items,)`; NaN where there is no other network.
    """
    own = drive / _drive_by_edges(network, shown)
    shares = [torch.full_like(drive, torch.nan)]
    for other in [network, *others]:
        for position in range(other.n_networks):
            itself = (shown.networks == position) & (other is network)
            if not itself.all():
                moved = shown.in_network(other, position)
                share = drive_of(other, moved) / _drive_by_edges(other, moved) / own
                shares.append(torch.where(itself, torch.nan, share))
    return np.asarray(torch.stack(shares).nanmedian(dim=0).values.numpy())


@torch.no_grad()
def _drive_by_edges(network: ResponseModel, shown: ShownStimuli) -> Tensor:
    """Largest drive by the eight edges of `crossing_edges`, `(items,)`; NaN if none excites."""
    n_frames, device = shown.luminance.shape[1], device_of(network)
    edges = torch.as_tensor(crossing_edges(network.lattice, n_frames))
    probes = torch.cat([edges, torch.full_like(edges[:1], GREY)]).to(device)
    best = torch.full((len(shown),), torch.nan, dtype=torch.float64)
    for position in sorted(set(shown.networks.tolist())):
        rows = torch.nonzero(shown.networks == position)[:, 0]
        index = torch.full((len(probes),), position, device=device)
        cells, signs = shown.cells[rows].to(device), shown.signs[rows]
        responses = network.respond(probes, shown.protocol, cells, index).double().cpu()
        peaks = (signs * responses)[:, shown.protocol.readout(n_frames)].amax(dim=1)
        best[rows] = peaks[:-1].amax(dim=0) - peaks[-1]
    return torch.where(best > 0, best, torch.nan)


def _with(shown: ShownStimuli, luminance: Tensor) -> ShownStimuli:
    """The stimuli with other luminance, clipped to [0, 1]."""
    return dataclasses.replace(shown, luminance=luminance.clamp(0.0, 1.0))


def _change(changed: Tensor, drive: Tensor) -> Floats:
    return _left((changed - drive).abs(), drive)


def _left(part: Tensor, drive: Tensor) -> Floats:
    """Part of the drive; NaN where there is none."""
    return np.asarray(torch.where(drive > 0, part / drive, torch.nan).numpy())
