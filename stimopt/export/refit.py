"""A stimulus optimized for what a rig can show of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from stimopt import expect
from stimopt.export.formats import Shown
from stimopt.export.light import Luminance
from stimopt.export.stimuli import Stimulus
from stimopt.networks.model import ResponseModel
from stimopt.optimize.filtered import Filtered
from stimopt.optimize.generate import FLYVIS_PENALTIES, StimulusGenerator
from stimopt.optimize.objectives import OBJECTIVES
from stimopt.protocol import GREY, Protocol
from stimopt.results import Result

FITTED = "_fit_to_rig"
"""After the name of a stimulus, once it was optimized for a rig."""
PENALTIES = ("grey", "grey_sum", "variation", "roughness")


def fit_to_rig(
    shown: Shown, network: ResponseModel, protocol: Protocol, **options: Any
) -> StimulusGenerator:
    """A fit that starts from a stimulus and moves what its rig shows.

    The cell sees the stimulus through the rig: held at the display's refresh, drawn as pixels,
    and blurred by the acceptance angle, with all else that its columns see. Levels are relaxed.
    The grey before the stimulus is part of the fit, since a dark surround begins with it.

    Args:
        shown: the stimulus on the rig.
        network: whose cell it is for.
        protocol: of the stimulus's response.
        **options: of `StimulusGenerator`; `penalties` as a mapping of names to weights.

    Returns:
        The fit, to be run by `stimopt.fit` and read by `fitted`.
    """
    stimulus, plan = shown.stimulus, shown.plan
    space, rest = shown.view.matrix
    # Grey before the stimulus matters where something else than grey surrounds it.
    before = plan.frames_before if np.abs(space.sum(1) * GREY + rest - GREY).max() > 1e-3 else 0
    n = len(stimulus.luminance)
    refreshes = slice(plan.before, plan.before + len(plan.shown))
    time = np.eye(before + n, dtype=np.float32)
    time[before:, before:] = plan.seen()[plan.frames_before :][:n, refreshes] @ plan.shown
    if "penalties" in options:
        # Means over frames, which the grey frames would dilute.
        options["penalties"] = {
            name: weight if name == "grey_sum" else weight * (before + n) / n
            for name, weight in options["penalties"].items()
        }
    start = np.full((1, before + n, stimulus.luminance.shape[1]), GREY, np.float32)
    start[0, before:] = stimulus.luminance
    return StimulusGenerator(
        network,
        [stimulus.cell_type],
        _after_grey(protocol, before),
        networks=[stimulus.network],
        u=stimulus.u,
        v=stimulus.v,
        init=torch.as_tensor(start),
        parametrization=Filtered(
            torch.as_tensor(time), torch.as_tensor(space), torch.as_tensor(rest), before
        ),
        **{"sign": stimulus.sign, **options},
    )


def fitted(module: StimulusGenerator, stimulus: Stimulus) -> Stimulus:
    """The stimulus to be shown, after the last step of a fit of `fit_to_rig`."""
    pixels = module.stimulus.detach()[0, -len(stimulus.luminance) :]
    luminance: Luminance = pixels.float().cpu().numpy()
    return dataclasses.replace(stimulus, luminance=luminance, name=stimulus.name + FITTED)


def options_of(result: Result) -> dict[str, Any]:
    """Objective and penalties of a generation to be used again; flyvis's for another result.

    Functions of a user's own are not taken from a file.

    Raises:
        ValueError: if items read out several cells, of which a fit to a rig knows the first alone.
    """
    single = "reading_response" not in result.variables
    expect.that(single, "items of one cell to fit", "several cells", "export them without a fit")
    config, penalties = result.config, dict(FLYVIS_PENALTIES)
    if config.get("objective") not in OBJECTIVES:
        return {"penalties": penalties}
    stored = {name: config.get(f"penalties.{name}") for name in PENALTIES}
    return {
        "objective": config["objective"],
        "activity_weight": config.get("activity_weight", 1.0),
        "penalties": {name: value[0] for name, value in stored.items() if value},
    }


def _after_grey(protocol: Protocol, n_frames: int) -> Protocol:
    """The protocol with a read-out window that counts from after some frames of grey."""
    seconds, stop = protocol.seconds(n_frames), protocol.readout_stop
    start = protocol.readout_start or 0.0
    return dataclasses.replace(
        protocol,
        t_fade_in=0.0,
        readout_start=start if start < 0 else start + seconds,
        readout_stop=stop if stop is None or stop < 0 else stop + seconds,
    )
