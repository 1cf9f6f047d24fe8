"""A stimulus optimized for what a rig can show of it, to the end that it was made for."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stimopt import expect
from stimopt.export.formats import Shown
from stimopt.export.light import Luminance
from stimopt.export.seen import Seen
from stimopt.export.stimuli import Stimulus
from stimopt.networks.model import ResponseModel
from stimopt.optimize.ceiling import CEILING, FLOOR
from stimopt.optimize.efficient import EfficientGenerator, ResponseLadder
from stimopt.optimize.filtered import Filtered
from stimopt.optimize.generate import FLYVIS_PENALTIES, StimulusGenerator
from stimopt.optimize.limited import LimitedRange
from stimopt.optimize.minimal import MinimalGenerator
from stimopt.optimize.objective_module import ObjectiveModule
from stimopt.optimize.objectives import OBJECTIVES, POOLS
from stimopt.optimize.region import Fall
from stimopt.optimize.varied import VariedGenerator
from stimopt.protocol import GREY, Protocol
from stimopt.results import Result, Variable
from stimopt.results.items import seeking_grey, select_items

FITTED = "_fit_to_rig"
"""After the name of a stimulus, once it was optimized for a rig."""
PENALTIES = ("grey", "grey_sum", "variation", "roughness")
GREYEST = tuple(each.__name__ for each in (EfficientGenerator, ResponseLadder))
"""Fits of the stimulus nearest to grey at a level."""
FIRST_LIMIT = 0.2
"""Luminance that a pixel may move in the first step to a level. From a stimulus near its level, 30
such steps end within 4 % of the contrast of 200 with any limit; of 0.05, as from a ceiling, 50."""
UNFIT = tuple(each.__name__ for each in (VariedGenerator, LimitedRange))
"""Fits whose stimuli would lose their variety or their limit of contrast."""


def fit_to_rig(
    shown: Shown, network: ResponseModel, protocol: Protocol, result: Result, steps: int
) -> ObjectiveModule:
    """A fit that starts from a stimulus and moves what its rig shows, to the same end as before.

    The cell sees the stimulus through the rig: held at the display's refresh, drawn as pixels,
    and blurred by the acceptance angle, with all else that its columns see. Levels are relaxed.
    The grey before the stimulus is part of the fit, since a dark surround begins with it.

    - For an efficient stimulus, or one of a ladder, it seeks the one nearest to grey that drives
      the cell through the rig as far beyond grey as the stimulus does without it; where the rig
      does not pass so much, the largest response.
    - For a ceiling it seeks the largest response; for a minimal stimulus too, on the columns and
      frames of that stimulus.
    - For a weighted loss it minimises that loss; for any other stimulus, such as a clip, flyvis's.

    Args:
        shown: the stimulus on the rig.
        network: whose cell it is for.
        protocol: of the stimulus's response.
        result: that the stimulus comes from.
        steps: that the fit will take.

    Returns:
        The fit, to be run by `stimopt.fit` and read by `fitted`.

    Raises:
        ValueError: as for `require_fit`.
    """
    require_fit(result)
    stimulus, method = shown.stimulus, result.config.get("class")
    filters = _filters(shown)
    start = np.full((1, len(filters.time), stimulus.luminance.shape[1]), GREY, np.float32)
    start[0, filters.still :] = stimulus.luminance
    options: dict[str, Any] = {
        "cell_types": [stimulus.cell_type],
        "protocol": _after_grey(protocol, filters.still),
        "networks": [stimulus.network],
        "u": stimulus.u,
        "v": stimulus.v,
        "sign": stimulus.sign,
    }
    if method in GREYEST:
        known = {name: result.config.get(name) for name in ("objective", "temperature")}
        options |= {**known, "parametrization": filters}
        return _greyest(network, result, stimulus.label, torch.as_tensor(start), steps, options)
    if method == MinimalGenerator.__name__:
        filters = on_support(filters, torch.as_tensor(start[0]))
    weights = weights_of(result)
    # Means over frames, which the grey frames would dilute.
    longer = start.shape[1] / len(stimulus.luminance)
    weights["penalties"] = {
        name: weight if name == "grey_sum" else weight * longer
        for name, weight in weights["penalties"].items()
    }
    options |= {"parametrization": filters, "init": torch.as_tensor(start), **weights}
    return StimulusGenerator(network, **options)


def require_fit(result: Result) -> None:
    """Reject results whose stimuli a fit to a rig would turn into others.

    Raises:
        ValueError: for items that read out several cells, of which a fit to a rig knows the first
            alone; for varied stimuli and those of a limited contrast; and for an objective of the
            user's own, as functions are not taken from a file.
    """
    config, advice = result.config, "export them without a fit"
    single = "reading_response" not in result.variables
    expect.that(single, "items of one cell to fit", "several cells", advice)
    method = config.get("class")
    fits = method not in UNFIT
    expect.that(fits, "stimuli that a fit to a rig leaves what they are", f"{method}'s", advice)
    filtered = str(config.get("parametrization", "")).startswith(Filtered.__name__)
    expect.that(not filtered, "stimuli without filters of their own", "a bandwidth", advice)
    if "objective" in config:
        expect.one_of("objective of a fit", config["objective"], OBJECTIVES, advice)
    if method in GREYEST:
        expect.one_of("pool of a level", config.get("pool"), POOLS, advice)


def seeks_drive(result: Result, label: str) -> bool:
    """Whether a stimulus is to drive its cell, as all are but the rung of a ladder at grey."""
    return not seeking_grey(result)[result["label"].tolist().index(label)]


def fitted(module: ObjectiveModule, stimulus: Stimulus) -> Stimulus:
    """The stimulus to be shown, after the last step of a fit of `fit_to_rig`."""
    pixels = module.stimulus.detach()[0, -len(stimulus.luminance) :]
    luminance: Luminance = pixels.float().cpu().numpy()
    return dataclasses.replace(stimulus, luminance=luminance, name=stimulus.name + FITTED)


def improves(result: Result, before: Seen, after: Seen, sign: int) -> bool:
    """Whether a stimulus that was fitted serves its end better on the rig than before.

    Args:
        result: that the stimulus comes from.
        before: the stimulus on the rig.
        after: the one fitted.
        sign: 1 where a large response is sought, -1 where a low one is.
    """
    if result.config.get("class") in GREYEST:  # then a response beyond the level is a loss, too
        return abs(after.shown - before.ideal) < abs(before.shown - before.ideal)
    return sign * (after.shown - before.shown) > 0


def weights_of(result: Result) -> dict[str, Any]:
    """Objective and penalties of a generation to be used again; flyvis's for a clip.

    Penalties of a user's own are not taken from a file.
    """
    config = result.config
    if "objective" not in config:
        return {"penalties": dict(FLYVIS_PENALTIES)}
    stored = {name: config.get(f"penalties.{name}") for name in PENALTIES}
    return {
        "objective": config["objective"],
        "temperature": config.get("temperature"),
        "activity_weight": config.get("activity_weight", 1.0),
        "penalties": {name: value[0] for name, value in stored.items() if value},
    }


def on_support(filters: Filtered, stimulus: Tensor) -> Filtered:
    """The filters of pixels that stay grey where whole columns or frames of a stimulus are.

    Args:
        filters: of all pixels.
        stimulus: `(frames, columns)`.
    """
    differs = stimulus != GREY
    frames, columns = differs.any(dim=1).float(), differs.any(dim=0).float()
    still = GREY * (1 - frames[:, None] * columns)
    rest = filters.time @ still @ filters.space.T + filters.rest
    return Filtered(filters.time * frames, filters.space * columns, rest, filters.still)


def _filters(shown: Shown) -> Filtered:
    """From pixels to what the columns see of them on a rig, with the grey before that matters."""
    stimulus, plan = shown.stimulus, shown.plan
    space, rest = shown.view.matrix
    # Grey before the stimulus matters where something else than grey surrounds it.
    before = plan.frames_before if np.abs(space.sum(1) * GREY + rest - GREY).max() > 1e-3 else 0
    n = len(stimulus.luminance)
    refreshes = slice(plan.before, plan.before + len(plan.shown))
    time = np.eye(before + n, dtype=np.float32)
    time[before:, before:] = plan.seen()[plan.frames_before :][:n, refreshes] @ plan.shown
    seen, around = torch.as_tensor(space), torch.as_tensor(rest)
    return Filtered(torch.as_tensor(time), seen, around, before)


def _greyest(
    network: ResponseModel,
    result: Result,
    label: str,
    start: Tensor,
    steps: int,
    options: dict[str, Any],
) -> EfficientGenerator:
    """The efficient fit through a rig, from a stimulus of an efficient one.

    Args:
        network: whose cell it is for.
        result: of the efficient fit.
        label: of the item.
        start: its pixels after the grey before, `(1, frames, columns)`.
        steps: that the fit will take.
        options: of the fit.
    """
    item = select_items(result, [result["label"].tolist().index(label)])
    protocol, bound = options["protocol"], CEILING if options["sign"] == 1 else FLOOR
    known = {
        "bound": Variable(("item",), np.array([bound])),
        "stimulus": Variable(("item", "frame", "column"), start.numpy()),
        "objective": item.variables["ceiling"],
        "start_spread": item.variables["ceiling_start_spread"],
        "optimality_residual": item.variables["ceiling_optimality_residual"],
    }
    ceiling = dataclasses.replace(
        item,
        kind="range",
        protocol=protocol,
        variables={**item.variables, **known},
        config={**item.config, "parametrization": repr(options["parametrization"])},
    )
    module = EfficientGenerator(
        network,
        ceiling=ceiling,
        fraction=abs(float(item["fraction"][0])),
        anneal=steps,
        t_stim=protocol.seconds(start.shape[1]),
        seeds=int(item["seed"][0]),
        **options,
    )
    through = module.parametrization.luminance
    with torch.no_grad():
        grey = module.objective_values(module.respond(through(torch.full_like(start, GREY))))
        driven = module.objective_values(module.respond(start))
    # The response is measured against that to grey on the same rig, as a recording would.
    module.aim(grey + driven - module.at_grey, at_grey=grey, fall=Fall(steps, FIRST_LIMIT))
    return module


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
