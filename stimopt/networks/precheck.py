"""Checks before a network is simulated: the Euler step suits it, and light reaches its cells."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.connectome import Connectome
from stimopt.networks.stability import LinearizedNetwork, Stability
from stimopt.protocol import MIN_DT

ALIKE = 1 + 1e-5
"""A time constant of 10 ms stored in float32 is not shorter than a step of 10 ms."""


def refuse_step(linear: LinearizedNetwork, dt: float, name: str) -> NoReturn:
    """Reject a step at which the simulation of a network is unstable.

    Args:
        linear: the network, linearized.
        dt: the step in seconds.
        name: of the network.

    Raises:
        ValueError: with the largest stable step.
    """
    largest = linear.largest_stable_step()
    advice = "leave this network out; its parameters may be damaged"
    expect.that(MIN_DT <= largest < dt, f"a stable step for {name}", "none of use", advice)
    limit = f"{_rounded_down(largest):g}"
    raise ValueError(
        f"expected dt of at most {limit} s, the largest stable step of {name}, got {dt:g} s; "
        f"set protocol.dt to {limit} or less, or leave this network out"
    )


def warn_of_unstable(networks: Sequence[tuple[str, Stability]]) -> None:
    """Warn of networks whose results are marked, with the reason for each.

    Args:
        networks: name and stability of each.
    """
    if listed := _unstable(networks):
        warnings.warn(
            f"networks that cannot be trusted at this dt and are marked in results: {listed}; "
            "shorten protocol.dt, or leave them out by --network.unstable=leave_out",
            stacklevel=3,
        )


def choose_stable(
    networks: Sequence[tuple[str, Stability]], dt: float, unstable: Literal["leave_out", "refuse"]
) -> list[int]:
    """Positions of the networks that are stable.

    Args:
        networks: name and stability of each.
        dt: the step in seconds.
        unstable: whether the others are left out, with a warning, or refused.

    Raises:
        ValueError: if networks are refused, or none is left.
    """
    listed = _unstable(networks)
    stable = [k for k, (_, stability) in enumerate(networks) if stability is Stability.STABLE]
    enough = stable and (unstable == "leave_out" or not listed)
    advice = "shorten protocol.dt, or see what they do at it by --network.unstable=mark"
    expect.that(enough, f"networks that can be simulated at dt = {dt:g} s", listed, advice)
    if listed:
        warnings.warn(f"networks that are left out: {listed}", stacklevel=3)
    return stable


def _unstable(networks: Sequence[tuple[str, Stability]]) -> str:
    unstable = [(name, why) for name, why in networks if why is not Stability.STABLE]
    return ", ".join(f"{name} ({why.value})" for name, why in unstable)


def warn_if_coarse(time_const: Mapping[str, float], dt: float, name: str) -> None:
    """Warn of a step that is longer than the time constant of some cell types.

    Args:
        time_const: of each cell type, in seconds.
        dt: the step in seconds.
        name: of the network.
    """
    types = faster_types(time_const, dt)
    if types:
        shortest = min(time_const.values())
        listed = ", ".join(types[:4]) + (", ..." if len(types) > 4 else "")
        warnings.warn(
            f"dt = {1000 * dt:g} ms is longer than the time constant of {len(types)} of "
            f"{len(time_const)} cell types of {name} ({listed}; the shortest is "
            f"{1000 * shortest:.3g} ms): these follow their input at once, and responses differ "
            "from those at shorter steps by more than in proportion to dt; set protocol.dt to "
            f"{max(_rounded_down(shortest * ALIKE), MIN_DT):g} s or less to avoid it",
            stacklevel=3,
        )


def faster_types(time_const: Mapping[str, float], dt: float) -> list[str]:
    """Cell types whose time constant is shorter than a step: they follow their input at once."""
    return [name for name, tau in time_const.items() if dt > tau * ALIKE]


def reached_types(connectome: Connectome, used: NDArray[np.bool_]) -> set[str]:
    """Cell types on a path of taps that starts at a photoreceptor.

    Args:
        connectome: cell types and taps.
        used: taps to follow, `(taps,)`.
    """
    taps = connectome.taps
    edges = set(zip(taps.source[used].tolist(), taps.target[used].tolist(), strict=True))
    reached = {connectome.type_index[name] for name in connectome.input_types}
    while more := {target for source, target in edges if source in reached} - reached:
        reached |= more
    return {connectome.cell_types[i] for i in reached}


def _rounded_down(seconds: float) -> float:
    """To two significant digits, so that the step named is itself stable."""
    unit = 10.0 ** (np.floor(np.log10(seconds)) - 1)
    return float(np.floor(seconds / unit) * unit)
