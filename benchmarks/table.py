"""From raw figures to the table: medians, ratios, and which targets they reach.

    python benchmarks/table.py benchmarks/2-cores.json

prints the table of the README, from what `run.py` wrote.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

Found = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        name: what was measured.
        stimopt: our figure.
        unit: of all figures.
        flyvis: flyvis's; None where it was absent or has none.
        ratio: how many times better we are than flyvis.
        before: that of stimopt 0.1; None where it was absent or was not asked.
        before_ratio: how many times better we are than 0.1.
        target: in words; empty where there is none.
        met: whether it is reached; None where nothing was measured to tell.
        readme: whether the line is one of the README's.
    """

    name: str
    stimopt: float
    unit: str
    flyvis: float | None = None
    ratio: float | None = None
    before: float | None = None
    before_ratio: float | None = None
    target: str = ""
    met: bool | None = None
    readme: bool = False


def rows(found: Found) -> list[Row]:
    """The table, from what `plan.measure` found."""
    return [
        *_whole(found),
        *_loops(found),
        *_shares(found),
        *_search(found),
        *_one_type(found),
        *_trainer(found),
        *_start(found),
        *_slopes(found),
    ]


def agreement(found: Found) -> dict[str, float]:
    """Largest relative difference between the results of stimopt and flyvis, 0 being the same."""
    if "one_flyvis" not in found:
        return {}
    losses = (found["one"][0]["losses"], found["one_flyvis"]["losses"])
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


def _whole(found: Found) -> Iterable[Row]:
    """All types to flyvis's loss."""
    plan, fits, adam = found["plan"], found["region"], found["adam"]
    seconds, count = _median(fits, lambda a: a["fit_seconds"]), fits[0]["items"]
    as_good = int(_median(fits, lambda a: within(a["best"], adam["best"])))
    name = f"all {count} types to flyvis's loss, {plan['region_steps']} steps in one fit"
    # The bar is that of the published network at full length.
    judged = count == 65 and not plan["quick"]
    met = seconds <= 15 if judged else None
    yield Row(name, seconds, "s", target="<= 15", met=met, readme=True)
    name = f"of these within 1 % of {plan['adam_steps']} steps of Adam"
    met = as_good >= 62 if judged else None
    yield Row(name, as_good, "types", target=">= 62", met=met, readme=True)
    theirs = found.get("one_flyvis")
    flyvis = theirs["seconds"] if theirs else None
    name = f"the same, per type (flyvis: {plan['flyvis_steps']} steps)"
    yield _against(name, seconds / count, flyvis, target=1000 if judged else None, readme=True)
    name = f"{count} types, {adam['steps']} steps of Adam in one fit, per step and type"
    step = None if theirs is None else _mean(theirs["step_seconds"])
    yield _against(name, _mean(adam["step_seconds"]) / count, step, readme=True)
    peak = _median(fits, lambda a: a["peak_bytes"] / 1e9)
    met = peak <= 1.2 if judged else None
    yield Row(f"peak memory of the fit of {count} types", peak, "GB", target="<= 1.2", met=met)


def within(losses: list[float], reference: list[float], part: float = 0.01) -> int:
    """How many losses are at most so much worse than their reference, as a part of it."""
    pairs = zip(losses, reference, strict=True)
    return sum(loss <= wanted + part * abs(wanted) for loss, wanted in pairs)


def _loops(found: Found) -> Iterable[Row]:
    plan = found["plan"]
    for items in (1, plan["many"], 65):
        for kind, words in (("forward", "forward"), ("gradient", "forward and adjoint")):
            answers = found[f"{kind}_{items}"]
            ours, flyvis, before = (_per_item(answers, p, items) for p in PROGRAMS)
            name = f"time loop, {plan['frames']} frames, {words}, per item of {items}"
            barred = kind == "gradient" and items > 1 and not plan["quick"]
            bar = {"before_target": 2.0} if barred else {}
            yield _against(name, ours, flyvis, before, **bar, readme=kind == "gradient")


PROGRAMS = ("stimopt", "flyvis", "before")


def _per_item(answers: list[dict[str, Any]], program: str, items: int) -> Any:
    """Median of the seconds for one item; None where the program was absent."""
    if program not in answers[0]:
        return None
    return median([median(answer[program]["seconds"]) for answer in answers]) / items


def _shares(found: Found) -> Iterable[Row]:
    network, peaks, plan = found["network"], found["peaks"], found["plan"]
    # A connection is one multiply and one add, forward and again in the adjoint.
    work = 4 * network["synapses"] * plan["frames"] / 1e9
    for items in (1, plan["many"], 65):
        answers = found[f"gradient_{items}"]
        rates = [
            None if seconds is None else work / seconds
            for seconds in (_per_item(answers, program, items) for program in PROGRAMS)
        ]
        ours, _, before = (None if r is None else 100 * r / peaks["peak_gflops"] for r in rates)
        assert ours is not None
        barred = items > 1 and not plan["quick"]
        yield Row(
            f"share of the measured multiply-add peak, {items} items",
            ours,
            "%",
            before=before,
            before_ratio=None if before is None else ours / before,
            target=">= 45" if barred else "",
            met=ours >= 45 if barred else None,
        )
    seconds = _per_item(found["gradient_65"], "stimopt", 65) / plan["frames"]
    share = 100 * step_bytes(network) / seconds / 1e9 / peaks["copy_gb_per_s"]
    yield Row("share of the measured memory bandwidth, 65 items", share, "%")


def step_bytes(network: dict[str, Any]) -> int:
    """What a frame of an item must move through memory: the state itself stays in cache.

    Luminance in and its gradient out in float32, and one bit a cell written and read again.
    """
    return 2 * 4 * int(network["columns"]) + 2 * math.ceil(network["cells"] / 8)


def _search(found: Found) -> Iterable[Row]:
    plan = found["plan"]
    ours, before = (_clip(found.get(name), plan["frames"]) for name in ("search", "search_before"))
    flyvis = None
    if "search_flyvis" in found:
        scale = plan["frames"] / found["clips"]["frames"]
        flyvis = _median(found["search_flyvis"], lambda a: median(a["seconds"])) * scale
    clips = found["search"][0]["clips"]
    name = f"search, per clip of {plan['frames']} frames, all types, {clips} clips, 16 a batch"
    bar = {} if plan["quick"] else {"before_target": 1.7}
    yield _against(name, ours, flyvis, before, **bar, readme=True)


def _clip(answers: list[dict[str, Any]] | None, frames: int) -> Any:
    return answers and _median(answers, lambda a: a["seconds"] / a["frames"] * frames)


def _one_type(found: Found) -> Iterable[Row]:
    plan, theirs, fits = found["plan"], found.get("one_flyvis"), found["one"]
    what = f"generation of {found['subject']['cell_type']} by Adam, per step"

    def of_flyvis(figure: Callable[[dict[str, Any]], float]) -> float | None:
        return None if theirs is None else figure(theirs)

    # With all that the call does: set-up, pictures, checkpoints, result and figures.
    whole = _median(fits, lambda a: a["seconds"] / len(a["losses"]))
    flyvis = of_flyvis(lambda a: a["seconds"] / len(a["losses"]))
    yield _against(f"{what} of the whole call", whole, flyvis)
    alone = _median(fits, lambda a: _mean(a["step_seconds"]))
    yield _against(f"{what} alone", alone, of_flyvis(lambda a: _mean(a["step_seconds"])))
    early = of_flyvis(lambda a: _mean(a["step_seconds"][:8]))
    yield _against(f"{what} alone, flyvis's first 8", alone, early)
    ours, flyvis = fits[0]["peak_bytes"] / 1e9, of_flyvis(lambda a: a["peak_bytes"] / 1e9)
    ratio = None if flyvis is None else flyvis / ours
    name = f"peak memory of generating {found['subject']['cell_type']}"
    yield Row(name, ours, "GB", flyvis, ratio, readme=True)
    grown = growth(fits[0]["step_seconds"])
    noise = max(5.0, *(abs(growth(a["step_seconds"])) for a in fits))
    theirs_grown = of_flyvis(lambda a: growth(a["step_seconds"]))
    name = f"growth of a step from the 10th to the {plan['steps']}th"
    words = f"none (noise {noise:.0f} %)"
    yield Row(name, grown, "%", theirs_grown, target=words, met=grown <= noise)


def _trainer(found: Found) -> Iterable[Row]:
    bare = _median(found["overhead"], lambda a: median(a["bare_seconds"]))
    yield Row("a step without Trainer, one item", 1e3 * bare, "ms")
    typical = _median(found["overhead"], lambda a: overhead(a, median))
    name = "Trainer overhead per step, one item"
    yield Row(name, typical, "%", target="< 10", met=typical < 10)
    logged = _median(found["overhead"], lambda a: overhead(a, _mean))
    yield Row("the same, scalars, checkpoints and pictures included", logged, "%")


def _start(found: Found) -> Iterable[Row]:
    for what, words, bar in (
        ("help", "stimopt --help", 0.3),
        ("error", "an error in the name of an option", 2.0),
        ("value", "an error in the value of an option", 2.0),
        ("first step", "first step of stimopt generate", 8.0),
    ):
        seconds = _median(found["start"], lambda a, what=what: a[what])
        yield Row(words, seconds, "s", target=f"< {bar:g}", met=seconds < bar, readme=True)


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


def _against(
    name: str,
    ours: float,
    flyvis: float | None,
    before: float | None = None,
    *,
    target: float | None = None,
    before_target: float | None = None,
    readme: bool = False,
) -> Row:
    """A line of durations in seconds, with a bar for one of the two ratios."""
    ratio, before_ratio = (None if other is None else other / ours for other in (flyvis, before))
    bar, reached = (target, ratio) if before_target is None else (before_target, before_ratio)
    return Row(
        name,
        1e3 * ours,
        "ms",
        None if flyvis is None else 1e3 * flyvis,
        ratio,
        None if before is None else 1e3 * before,
        before_ratio,
        "" if bar is None else f">= {bar:g} x",
        None if bar is None or reached is None else reached >= bar,
        readme,
    )


def _median(answers: list[dict[str, Any]], figure: Callable[[dict[str, Any]], float]) -> float:
    return median([figure(answer) for answer in answers])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


HEAD = ("", "stimopt", "flyvis", "ratio", "0.1", "ratio", "target", "")


def text(table: list[Row]) -> str:
    """The table as plain text."""
    cells = [HEAD] + [
        (*_cells(row), row.target, {None: "", True: "reached", False: "missed"}[row.met])
        for row in table
    ]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEAD))]
    lines = [
        "  ".join(
            cell.ljust(width) if i in (0, 6, 7) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def markdown(table: list[Row]) -> str:
    """The lines of the README, without targets."""
    cells = [HEAD[:6], ("---",) * 6, *(_cells(row) for row in table if row.readme)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _cells(row: Row) -> tuple[str, ...]:
    """Name, figures and ratios."""
    figures = [f"{_short(row.stimopt)} {row.unit}"]
    for figure, ratio in ((row.flyvis, row.ratio), (row.before, row.before_ratio)):
        figures.append("-" if figure is None else f"{_short(figure)} {row.unit}")
        figures.append("-" if ratio is None else f"{_short(ratio)} x")
    return (row.name, *figures)


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    read = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(markdown([Row(**row) for row in read["rows"]]))
