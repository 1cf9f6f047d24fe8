"""What is left of a response when the stimulus is seen on a rig, and by which cause it is lost."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stimopt import expect
from stimopt.export.formats import Shown
from stimopt.export.light import Levels, Light, Luminance
from stimopt.networks.model import ResponseModel, device_of
from stimopt.protocol import GREY, Protocol


class NoResponse(ValueError):
    """A stimulus that its cell does not respond to, so that nothing can be left of it."""


@dataclass(frozen=True)
class Seen:
    """A response on a rig, against the response to the stimulus itself.

    The response is the peak within the read-out window less the voltage in the grey before, as a
    recording would measure it.

    Attributes:
        name: of the stimulus.
        ideal: response to the stimulus itself.
        after: response left after each cause, in the order of the light's way: they add up.
        luminance: what the columns see, `(frames, columns)`, grey before and after included.
        columns_outside: that look past the display.
        surround: luminance that they see.
        grey_distance: of the stimulus, sum of squares over its pixels.
    """

    name: str
    ideal: float
    after: dict[str, float]
    luminance: Luminance
    columns_outside: int
    surround: float
    grey_distance: float

    @property
    def shown(self) -> float:
        """Response on the rig."""
        return list(self.after.values())[-1]

    @property
    def left(self) -> float:
        """Share of the response that is left."""
        return self.shown / self.ideal

    @property
    def lost(self) -> dict[str, float]:
        """Share of the response that each cause takes; negative where it adds."""
        values = [self.ideal, *self.after.values()]
        steps = zip(self.after, values, values[1:], strict=False)
        return {cause: (before - now) / self.ideal for cause, before, now in steps}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for files."""
        return {
            "response": self.ideal,
            "left": self.left,
            "lost": self.lost,
            "columns_outside_the_display": self.columns_outside,
            "luminance_outside": self.surround,
            "grey_distance": self.grey_distance,
        }

    def __str__(self) -> str:
        causes = "".join(
            f"\n  {round(100 * lost, 1) + 0:6.1f} %  {cause}" for cause, lost in self.lost.items()
        )
        outside = (
            f"\n  {self.columns_outside} columns lie outside the display and see {self.surround:g}"
            if self.columns_outside
            else ""
        )
        return (
            f"{self.name}: on this rig {100 * self.left:.0f} % of the response is left "
            f"({self.ideal:.3g} to {self.shown:.3g}); lost to{causes}{outside}"
        )


def seen_back(shown: Shown, levels: Levels, network: ResponseModel, protocol: Protocol) -> Seen:
    """Simulate what the fly sees of an exported file.

    Args:
        shown: what was exported.
        levels: `(refreshes, rows, columns)` as the display is mounted, read from the file.
        network: whose cell the stimulus is for.
        protocol: of the stimulus's response.

    Raises:
        NoResponse: if the stimulus itself gives none.
        ValueError: if the levels are not of what was exported, or the lattice is another.
    """
    stimulus, view, plan, light = shown.stimulus, shown.view, shown.plan, shown.rig.light
    wanted = (plan.total, *shown.rig.display.shape)
    expect.shape(f"levels of {stimulus.name}", levels, wanted, "export it again")
    extent = stimulus.lattice.extent
    advice = f"open the network with extent {extent}"
    same = network.lattice == stimulus.lattice
    expect.that(same, f"a network of extent {extent}", network.lattice.extent, advice)
    frames, by_frame = shown.luminance(), plan.seen()
    ways = {
        "hold in time": frames,
        "columns outside": np.where(view.shown, frames, np.float32(view.surround)),
        "pixels and acceptance angle": _drawn_and_seen(shown, Light(65536)),
    }
    if light.gamma != 1:
        ways["levels"] = _drawn_and_seen(shown, dataclasses.replace(light, gamma=1.0))
    ways["levels" if light.gamma == 1 else "gamma"] = view.see(shown.rig.display.flipped(levels))
    whole = np.full((len(by_frame), frames.shape[1]), GREY, np.float32)
    first = plan.frames_before
    whole[first : first + len(stimulus.luminance)] = stimulus.luminance[: len(whole) - first]
    clips = [whole, *((by_frame @ way).astype(np.float32) for way in ways.values())]
    # A frame of grey first, where the film has none, to measure the response against.
    batch = np.pad(clips, ((0, 0), (1, 0), (0, 0)), constant_values=GREY).clip(0, 1)
    rises = _rises(batch, first + 1, shown, network, protocol)
    advice = "there is nothing to compare: give a stimulus that drives the cell"
    response = f"a response to {stimulus.name}"
    expect.that(abs(rises[0]) > 1e-6, response, f"{rises[0]:g}", advice, NoResponse)
    return Seen(
        stimulus.name,
        rises[0],
        dict(zip(ways, rises[1:], strict=True)),
        clips[-1],
        int((~view.shown).sum()),
        view.surround,
        float(((stimulus.luminance - GREY) ** 2).sum()),
    )


def _drawn_and_seen(shown: Shown, light: Light) -> Luminance:
    return shown.view.see(shown.view.levels(shown.luminance(), light), light)


@torch.no_grad()
def _rises(
    batch: Luminance, onset: int, shown: Shown, network: ResponseModel, protocol: Protocol
) -> list[float]:
    """Peak of each clip's response within the read-out window, less that in the grey before."""
    stimulus = shown.stimulus
    cell = network.cell_index(stimulus.cell_type, stimulus.u, stimulus.v)
    device = device_of(network)
    # Whole traces are read; the film has its own onset, from which the window counts.
    plain = dataclasses.replace(
        protocol, baseline="absolute", t_fade_in=0.0, readout_start=None, readout_stop=None
    )
    responses = network.respond(
        torch.as_tensor(batch, device=device),
        plain,
        torch.tensor([cell], device=device),
        torch.full((len(batch),), stimulus.network, device=device),
    )
    traces = responses[..., 0].float().cpu().numpy()
    stop = onset + len(stimulus.luminance)
    return [
        float(trace[onset:stop][protocol.peak_frame(trace[onset:stop], stimulus.sign)])
        - float(trace[onset - 1])
        for trace in traces
    ]
