"""From raw figures to the table: medians, ratios, and which targets they reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

Found = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        name: what was measured.
        stimopt: our figure.
        unit: of both figures.
        flyvis: flyvis's; None where it was not there or has none.
        ratio: how many times better we are.
        target: in words; empty where there is none.
        met: whether it is reached; None where nothing was measured to tell.
    """

    name: str
    stimopt: float
    unit: str
    flyvis: float | None = None
    ratio: float | None = None
    target: str = ""
    met: bool | None = None


def rows(found: Found) -> list[Row]:
    """The table, from what `plan.measure` found."""
    return [
        *_generation(found),
        *_loops(found),
        *_search(found),
        *_memory(found),
        *_trainer(found),
        *_machine(found),
        *_slopes(found),
    ]


def agreement(found: Found) -> dict[str, float]:
    """Largest relative difference between the two programs' own results, 0 being the same."""
    if "flyvis" not in found["first"]:
        return {}
    losses = (found["first"]["stimopt"]["losses"], found["first"]["flyvis"]["losses"])
    pairs = zip(*losses, strict=False)  # as many steps as both have done
    ours, theirs = found["clips"]["peaks"], found["search_flyvis"][0]["peaks"]
    scale = max(abs(value) for clip in theirs for value in clip)
    differences = [
        abs(a - b) / scale
        for x, y in zip(ours, theirs, strict=True)
        for a, b in zip(x, y, strict=True)
    ]
    return {
        "losses while generating": max(abs(a - b) / abs(b) for a, b in pairs),
        "peaks of searched clips": max(differences),
    }


def _generation(found: Found) -> Iterable[Row]:
    plan, theirs = found["plan"], found.get("one_flyvis")
    what = f"generation of {found['subject']['cell_type']}, {plan['frames']} frames, per step"

    def whole(answer: dict[str, Any]) -> float:
        """With all that the call does: set-up, pictures, checkpoints, result and figures."""
        return float(answer["seconds"]) / len(answer["losses"])

    def alone(answer: dict[str, Any]) -> float:
        return _mean(answer["step_seconds"])

    # A short fit is mostly its ends, so that a quick run is judged by the steps alone.
    judged, words = (alone, "alone") if plan["quick"] else (whole, "of the whole call")
    flyvis = _median(theirs, judged) if theirs else None
    yield _against(f"{what} {words}", _median(found["one"], judged), flyvis, 50)
    if not plan["quick"]:
        steps = _median(theirs, alone) if theirs else None
        yield _against(f"{what} alone", _median(found["one"], alone), steps, None)
        if theirs:
            early = _median(theirs, lambda a: _mean(a["step_seconds"][:8]))
            ours = _median(found["one"], alone)
            yield _against(f"{what} alone, flyvis's first 8", ours, early, None)
    count = found["many"][0]["items"]
    many = _median(found["many"], lambda a: judged(a) / count)
    yield _against(f"the same, per type, {count} types in one fit", many, flyvis, 100)
    if "all" in found:
        seconds = _median(found["all"], lambda a: a["seconds"])
        count = found["all"][0]["items"]
        met = seconds < 240
        yield Row(f"{count} types, 200 steps, one fit", seconds, "s", target="< 240", met=met)


def _loops(found: Found) -> Iterable[Row]:
    for items in (1, found["plan"]["many"], 65):
        for kind, words in (("forward", "forward"), ("gradient", "forward and adjoint")):
            answers = found[f"{kind}_{items}"]
            ours = _per_frame(answers, "stimopt", items)
            both = all("flyvis" in answer for answer in answers)
            flyvis = _per_frame(answers, "flyvis", items) if both else None
            frames = found["plan"]["frames"]
            name = f"time loop, {words}, per item of {items}"
            scaled = None if flyvis is None else flyvis * frames
            yield _against(name, ours * frames, scaled, None)


def _per_frame(answers: list[dict[str, Any]], program: str, items: int) -> float:
    """Seconds for one frame of one item."""
    taken = median([median(answer[program]["seconds"]) for answer in answers])
    return taken / items / int(answers[0]["frames"][program])


def _search(found: Found) -> Iterable[Row]:
    frames = found["plan"]["frames"]
    ours = _median(found["search"], lambda a: a["seconds"] / a["frames"] * frames)
    flyvis = None
    if "search_flyvis" in found:
        shown = found["clips"]["frames"]
        flyvis = _median(found["search_flyvis"], lambda a: median(a["seconds"]) / shown * frames)
    clips = found["search"][0]["clips"]
    yield _against(f"search, per clip of {frames} frames, {clips} clips", ours, flyvis, 50)


def _memory(found: Found) -> Iterable[Row]:
    first = found["first"]
    ours = first["stimopt"]["peak_bytes"] / 1e6
    flyvis = first["flyvis"]["peak_bytes"] / 1e6 if "flyvis" in first else None
    steps = (found["plan"]["steps"], found["plan"]["flyvis_steps"])
    words = f"peak memory of that run ({steps[0]} steps; flyvis {steps[1]})"
    ratio = None if flyvis is None else flyvis / ours
    met = None if ratio is None else ratio >= 6
    yield Row(words, ours, "MB", flyvis, ratio, ">= 6 x", met)


def _trainer(found: Found) -> Iterable[Row]:
    bare = _median(found["overhead"], lambda a: median(a["bare_seconds"]))
    yield Row("a step without Trainer, one item", 1e3 * bare, "ms")
    typical = _median(found["overhead"], lambda a: overhead(a, median))
    name = "Trainer overhead per step, one item"
    yield Row(name, typical, "%", target="< 20", met=typical < 20)
    logged = _median(found["overhead"], lambda a: overhead(a, _mean))
    yield Row("the same, scalars, checkpoints and pictures included", logged, "%")
    grown = growth(found["first"]["stimopt"]["step_seconds"])
    flyvis = None
    if "flyvis" in found["first"] and found["plan"]["flyvis_steps"] >= 40:
        flyvis = growth(found["first"]["flyvis"]["step_seconds"])
    noise = max((abs(growth(a["step_seconds"])) for a in found["one"]), default=0.0)
    name = f"growth of a step from the 10th to the {found['plan']['steps']}th"
    met = grown <= max(5.0, noise)
    yield Row(name, grown, "%", flyvis, None, f"none (noise {max(5.0, noise):.0f} %)", met)


def overhead(answer: dict[str, Any], typical: Callable[[list[float]], float]) -> float:
    """What the Trainer adds to a step, in per cent of one without it, each beside the other."""
    pairs = zip(answer["trained_seconds"], answer["bare_seconds"], strict=True)
    added = typical([trained - bare for trained, bare in pairs])
    return 100 * added / typical(answer["bare_seconds"])


def growth(step_seconds: list[float]) -> float:
    """Change over a run in per cent of its beginning, from the 10th step on.

    The median slope between all pairs of steps (Theil and Sen): pictures and checkpoints, or
    another process for a while, do not move it.
    """
    kept = step_seconds[9:]
    if len(kept) < 3:
        return 0.0
    slope = median(
        (kept[j] - kept[i]) / (j - i) for i in range(len(kept)) for j in range(i + 1, len(kept))
    )
    return 100 * slope * len(kept) / median(kept[: max(3, len(kept) // 5)])


def _machine(found: Found) -> Iterable[Row]:
    network, peaks, plan = found["network"], found["peaks"], found["plan"]
    # A connection is one multiply and one add, forward and again in the adjoint.
    for items in (1, plan["many"], 65):
        seconds = _per_frame(found[f"gradient_{items}"], "stimopt", items)
        rate = 4 * network["synapses"] / seconds / 1e9
        share = 100 * rate / peaks["peak_gflops"]
        yield Row(f"multiply-adds of the step, {items} items", rate, "GFLOP/s")
        yield Row(f"share of the measured peak, {items} items", share, "%")
    seconds = _per_frame(found["gradient_65"], "stimopt", 65)
    share = 100 * step_bytes(network) / seconds / 1e9 / peaks["copy_gb_per_s"]
    yield Row("share of the measured memory bandwidth, 65 items", share, "%")


def step_bytes(network: dict[str, Any]) -> int:
    """What a frame of an item must move through memory: the state itself stays in cache.

    Luminance in and its gradient out in float32, and one bit a cell written and read again.
    """
    return 2 * 4 * int(network["columns"]) + 2 * math.ceil(network["cells"] / 8)


def _slopes(found: Found) -> Iterable[Row]:
    for name, points in found["slopes"].items():
        size = "columns" if name == "extent" else name
        slope = log_slope([p[size] for p in points], [median(p["seconds"]) for p in points])
        yield Row(f"exponent of the cost against {size}", slope, "1 is linear")


def log_slope(sizes: list[float], seconds: list[float]) -> float:
    """Least-squares slope of log seconds over log size."""
    x, y = [math.log(s) for s in sizes], [math.log(s) for s in seconds]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mx) ** 2 for a in x)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / spread if spread else 0.0


def _against(name: str, ours: float, flyvis: float | None, target: float | None) -> Row:
    ratio = None if flyvis is None else flyvis / ours
    met = None if ratio is None or target is None else ratio >= target
    words = "" if target is None else f">= {target:g} x"
    theirs = None if flyvis is None else 1e3 * flyvis
    return Row(name, 1e3 * ours, "ms", theirs, ratio, words, met)


def _median(answers: list[dict[str, Any]], figure: Callable[[dict[str, Any]], float]) -> float:
    return median([figure(answer) for answer in answers])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def text(table: list[Row], flyvis_absent: bool) -> str:
    """The table as plain text."""
    head = ("", "stimopt", "flyvis", "ratio", "target", "")
    absent = "absent" if flyvis_absent else "-"
    cells = [head] + [
        (
            row.name,
            f"{_short(row.stimopt)} {row.unit}",
            absent if row.flyvis is None else f"{_short(row.flyvis)} {row.unit}",
            "-" if row.ratio is None else f"{_short(row.ratio)} x",
            row.target,
            {None: "", True: "reached", False: "missed"}[row.met],
        )
        for row in table
    ]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i in (0, 4, 5) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
