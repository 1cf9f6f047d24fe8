"""The equation of a network solved apart from the package: dense, float64, Runge-Kutta.

For the response to a smooth wave that drifts over the lattice, from the steady state at grey.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from stimopt.networks.frozen import FrozenNetwork
from stimopt.protocol import GREY, Protocol
from tests.dynamics.dense_step import dense_weights

Floats = NDArray[np.float64]
DURATION = 0.48
REPORTED = 0.04
"""Seconds between the voltages that are compared."""


def wave(network: FrozenNetwork, time: Floats) -> Floats:
    """Luminance `(frames, columns)`; grey until time 0."""
    lattice = network.lattice
    place = 1.5 * lattice.v + 0.9 * (lattice.u + lattice.v / 2)
    swell = np.sin(np.pi * np.clip(time / DURATION, 0, 1)) ** 2
    return GREY + 0.4 * swell[:, None] * np.sin(2 * np.pi * 4 * time[:, None] - place[None])


def by_euler(network: FrozenNetwork, dt: float) -> Floats:
    """Voltages of all cells at multiples of `REPORTED`, `(times, cells)`, by the package."""
    n = round(DURATION / dt)
    luminance = torch.as_tensor(wave(network, dt * np.arange(1, n + 1))[None])
    state = torch.as_tensor(steady_state(network))[None]
    protocol = Protocol(dt=dt)
    with torch.no_grad():
        voltages = network.respond(luminance, protocol, initial_state=state)[0].numpy()
    every = round(REPORTED / dt)
    return voltages[every - 1 :: every]


def by_runge_kutta(network: FrozenNetwork, dt: float = 2e-4) -> Floats:
    """The same voltages by the classical Runge-Kutta method with much shorter steps."""
    slope = equation(network)
    voltage, voltages = steady_state(network), []
    for i in range(round(DURATION / dt)):
        x = wave(network, dt * np.array([i, i + 0.5, i + 1]))
        a = slope(voltage, x[0])
        b = slope(voltage + dt / 2 * a, x[1])
        c = slope(voltage + dt / 2 * b, x[1])
        d = slope(voltage + dt * c, x[2])
        voltage = voltage + dt / 6 * (a + 2 * b + 2 * c + d)
        if (i + 1) % round(REPORTED / dt) == 0:
            voltages.append(voltage)
    return np.stack(voltages)


def equation(network: FrozenNetwork) -> Callable[[Floats, Floats], Floats]:
    """dV/dt as a function of voltage `(cells,)` and luminance `(columns,)`."""
    weights = dense_weights(network.connectome, network.lattice, network.tap_weight[0])
    of_cell = network.layout.type_of_cell
    bias = network.bias[0].double().numpy()[of_cell]
    time_const = network.time_const[0].double().numpy()[of_cell]
    cells, columns = network.layout.input_cells

    def slope(voltage: Floats, luminance: Floats) -> Floats:
        drive = bias + weights @ np.maximum(voltage, 0)
        drive[cells] += luminance[columns]
        return (drive - voltage) / time_const

    return slope


def steady_state(network: FrozenNetwork) -> Floats:
    """Voltages `(cells,)` that stay at grey."""
    slope = equation(network)
    voltage = network.bias[0].double().numpy()[network.layout.type_of_cell]
    grey = np.full(network.lattice.n_columns, GREY)
    for _ in range(4000):
        voltage = voltage + 0.002 * slope(voltage, grey)
    assert np.abs(slope(voltage, grey)).max() < 1e-6
    return voltage
