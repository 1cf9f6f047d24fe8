"""The input current of a cell, synapse by synapse.

A step of the equation (`stimopt.dynamics`) moves the voltage of cell i by

    V_t - V_{t-1} = a (leak + bias + light + sum over taps of w max(V_{t-1} of the source, 0)),

with leak = -V_{t-1} and a = dt / max(tau, dt). Solved for the voltage at the peak T, with I_t the
sum of light and taps,

    V_T = (1 - a)^(T+1) V_{-1} + sum over t of a (1 - a)^(T-t) (bias + I_t),

so that every current has an exact share in the peak. Taken relative to the current at stimulus
onset, the shares add up to V_T - V_{-1}, but for what the cell had not settled at onset.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stimopt.analysis.shown import ShownStimuli
from stimopt.dynamics.layout import leak_of
from stimopt.lattice import Floats, Ints
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.model import ResponseModel, device_of
from stimopt.protocol import GREY

LIGHT = "light"
"""The source of a photoreceptor's current, beside cell types."""


@dataclass(frozen=True)
class InputTaps:
    """The taps onto cells, one row an item, padded to the longest.

    Attributes:
        cell: that the tap comes from, `(items, taps)`; 0 where there is none.
        source: position of its type among the cell types, `(items, taps)`; -1 where there is none.
        du: place of the source relative to the target, in columns, `(items, taps)`.
        dv: its other coordinate.
        weight: signed, `(items, taps)`; 0 where there is no tap.
    """

    cell: Ints
    source: Ints
    du: Ints
    dv: Ints
    weight: Floats

    @classmethod
    def onto(cls, network: FrozenNetwork, cells: Ints, networks: Ints) -> InputTaps:
        """The taps onto some cells.

        Args:
            network: with the connectome.
            cells: targets, `(items,)`.
            networks: parameter set of each, `(items,)`.
        """
        taps, layout, lattice = network.connectome.taps, network.layout, network.lattice
        weights = network.tap_weight.detach().cpu().double().numpy()
        rows = []
        for cell, position in zip(cells.tolist(), networks.tolist(), strict=True):
            column = layout.column_of_cell[cell]
            number = np.flatnonzero(taps.target == layout.type_of_cell[cell])
            du, dv, source = -taps.du[number], -taps.dv[number], taps.source[number]
            place = lattice.index(lattice.u[column] + du, lattice.v[column] + dv)
            origin = np.where(place >= 0, layout.cell_index[source, place], -1)
            there = origin >= 0
            columns = (origin, source, du, dv, weights[position, number])
            rows.append([values[there] for values in columns])
        longest = max((len(row[0]) for row in rows), default=0)
        padded = [
            np.stack(
                [np.pad(row[k], (0, longest - len(row[k])), constant_values=fill) for row in rows]
            )
            for k, fill in enumerate((0, -1, 0, 0, 0))
        ]
        return cls(*padded)


@dataclass(frozen=True)
class InputCurrents:
    """Input currents of one cell for each item.

    Attributes:
        taps: that the synaptic currents pass.
        synaptic: w max(V_{t-1}, 0), `(items, frames, taps)`.
        light: luminance at the cell, `(items, frames)`; zero for all but photoreceptors.
        light_at_grey: the same before the stimulus, `(items,)`.
        leak: -V_{t-1}, `(items, frames)`.
        bias: `(items,)`.
        step: a = dt / max(tau, dt), `(items,)`.
        voltage: V_t, `(items, frames)`.
        initial: V_{-1}, `(items,)`.
        n_types: cell types of the network.
    """

    taps: InputTaps
    synaptic: Floats
    light: Floats
    light_at_grey: Floats
    leak: Floats
    bias: Floats
    step: Floats
    voltage: Floats
    initial: Floats
    n_types: int

    @property
    def by_source(self) -> Floats:
        """Currents summed by source, `(items, frames, types + 1)`; the last is the light."""
        items, frames, _ = self.synaptic.shape
        summed = np.zeros((items, frames, self.n_types + 1))
        summed[..., -1] = self.light
        for i, source in enumerate(self.taps.source):
            for s in np.unique(source[source >= 0]):
                summed[i, :, s] = self.synaptic[i][:, source == s].sum(axis=1)
        return summed

    @property
    def change_by_source(self) -> Floats:
        """The same, less the current at stimulus onset."""
        currents = self.by_source
        onset = currents[:, :1].copy()
        onset[:, 0, -1] = self.light_at_grey
        return np.asarray(currents - onset)

    def contributions(self, frames: Ints) -> Floats:
        """Change of the voltage in a frame since onset by source, `(items, types + 1)`.

        Args:
            frames: one for each item.
        """
        return np.asarray(np.einsum("it,its->is", self._share_in(frames), self.change_by_source))

    def tap_contributions(self, frames: Ints) -> Floats:
        """The same tap by tap, `(items, taps)`."""
        change = self.synaptic - self.synaptic[:, :1]
        return np.asarray(np.einsum("it,itk->ik", self._share_in(frames), change))

    def _share_in(self, frames: Ints) -> Floats:
        """Weight of the current in each frame in the voltage of one, `(items, frames)`."""
        back = frames[:, None] - np.arange(self.voltage.shape[1])
        a = self.step[:, None]
        return np.where(back >= 0, a * (1 - a) ** np.maximum(back, 0), 0.0)


@torch.no_grad()
def input_currents(network: ResponseModel, shown: ShownStimuli) -> InputCurrents:
    """Simulate the stimuli and split the input of each item's cell.

    Raises:
        ValueError: for a network without a connectome.
    """
    with_taps = require_connectome(network)
    layout, device = with_taps.layout, device_of(network)
    cells, networks = shown.cells.numpy(), shown.networks.numpy()
    taps = InputTaps.onto(with_taps, cells, networks)
    read = torch.as_tensor(np.concatenate([cells[:, None], taps.cell], axis=1))
    voltages, states = [], []
    with network.busy():
        for rows in shown.batches():
            part = shown.select(rows)
            luminance, index = part.luminance.to(device), part.networks.to(device)
            wanted = read[rows].to(device)
            start = with_taps.initial_state(luminance, part.protocol, index)
            response = with_taps.respond(
                luminance, part.protocol, wanted, index, initial_state=start
            )
            voltages.append(_array(response))
            states.append(_array(torch.gather(start, 1, wanted)))
    voltage, initial = np.concatenate(voltages), np.concatenate(states)
    before = np.concatenate([initial[:, None], voltage[:, :-1]], axis=1)
    of_type = layout.type_of_cell[cells]
    lit = np.isin(cells, layout.input_cells[0]).astype(np.float64)
    at_column = shown.luminance.numpy()[np.arange(len(cells)), :, layout.column_of_cell[cells]]
    return InputCurrents(
        taps=taps,
        synaptic=taps.weight[:, None] * np.maximum(before[..., 1:], 0),
        light=lit[:, None] * at_column,
        light_at_grey=lit * GREY,
        leak=-before[..., 0],
        bias=_array(with_taps.bias)[networks, of_type],
        step=_array(leak_of(with_taps.time_const, shown.protocol.dt))[networks, of_type],
        voltage=voltage[..., 0],
        initial=initial[:, 0],
        n_types=len(network.cell_types),
    )


def require_connectome(network: ResponseModel) -> FrozenNetwork:
    """The network, if it has a connectome.

    Raises:
        ValueError: if it has none.
    """
    if not isinstance(network, FrozenNetwork):
        raise ValueError(
            f"expected a network with a connectome (FrozenNetwork), got {type(network).__name__}; "
            "only there have inputs a cell type"
        )
    return network


def _array(tensor: Tensor) -> Floats:
    return np.asarray(tensor.detach().double().cpu().numpy())
