"""What the benchmark measures and in which order: programs in turn, so that load hits all alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipe import Program

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Args:
        quick: leave out the bars that only a whole run can tell.
        frames: frames of a stimulus.
        steps: steps of a fit of one type, and of flyvis's; the latter once, as it takes minutes.
        flyvis_steps: steps of flyvis's; fewer in a quick run, as its steps grow.
        adam_steps: steps of Adam on all types, whose losses are flyvis's.
        region_steps: steps of `--method region` on all types.
        rounds: how often each figure is taken, the programs in turn.
        seconds: for how long a short call is repeated in a round.
        many: items of a batch beside one and 65.
        clips: clips searched; None is all.
        flyvis_clips: clips flyvis simulates in a round.
    """

    quick: bool = False
    frames: int = 80
    steps: int = 200
    flyvis_steps: int = 200
    adam_steps: int = 200
    region_steps: int = 30
    rounds: int = 3
    seconds: float = 1.0
    many: int = 16
    clips: int | None = None
    flyvis_clips: int = 9


QUICK = Plan(
    quick=True,
    steps=20,
    flyvis_steps=4,
    adam_steps=10,
    region_steps=5,
    rounds=1,
    seconds=0.1,
    clips=48,
    flyvis_clips=3,
)


@dataclass(frozen=True)
class Subject:
    """On which network and movies.

    Args:
        network: folder of a trained network; None is the built-in circuit, which flyvis has not.
        connectome: its connectome file.
        extent: rings of columns.
        movies: a source of movies; None is the built-in ones.
        cell_type: whose optimum is generated.
    """

    network: str | None
    connectome: str | None
    extent: int | None
    movies: str | None
    cell_type: str


@dataclass(frozen=True)
class Programs:
    """What is measured.

    Args:
        stimopt: this one.
        flyvis: None where it is absent.
        before: version 0.1; None where it is absent.
        fresh: starts another process of this one, so that its peak of memory is that of one fit.
    """

    stimopt: Program
    flyvis: Program | None
    before: Program | None
    fresh: Callable[[], Program]


def measure(
    plan: Plan, subject: Subject, programs: Programs, threads: int, work: Path, say: Say
) -> dict[str, Any]:
    """All raw figures: seconds as they were taken, by name; `table.rows` makes a table of them."""
    found: dict[str, Any] = {"plan": asdict(plan), "subject": asdict(subject)}
    ours, flyvis = programs.stimopt, programs.flyvis
    say("opening the network")
    source = {"network": subject.network, "connectome": subject.connectome}
    opening = {**source, "extent": subject.extent, "threads": threads, "work": str(work)}
    found["network"] = ours("open", **opening)
    if programs.before is not None:
        programs.before("open", **opening)
    if flyvis is not None:
        parameters = str(work / "parameters.npz")
        ours("export", **source, path=parameters)
        say("opening flyvis's network (its connectome is compiled on the first run)")
        found["flyvis"] = flyvis("open", parameters=parameters, threads=threads)
    found["peaks"] = ours("machine")
    say(f"one type, {plan.steps} steps")
    question = {"frames": plan.frames, "steps": plan.steps}
    one = {"cell_types": subject.cell_type, **question}
    # First, so that the peak of memory is that of this run.
    found["one"] = [ours("generate", **one)]
    if flyvis is not None:
        say(f"flyvis, one type, {plan.flyvis_steps} steps (about 2 s each)")
        asked = {**question, "steps": plan.flyvis_steps}
        found["one_flyvis"] = flyvis("generate", cell_type=subject.cell_type, **asked)
    for _ in range(plan.rounds):
        _add(found, "overhead", ours("overhead", **one))
    found["one"] += [ours("generate", **one) for _ in range(plan.rounds - 1)]
    _loops(found, plan, programs, say)
    _whole(found, plan, programs, opening, say)
    _search(found, plan, subject, programs, work, say)
    _slopes(found, plan, ours, say)
    return found


def _loops(found: dict[str, Any], plan: Plan, programs: Programs, say: Say) -> None:
    """The time loop with one, some and 65 items."""
    for items in (1, plan.many, 65):
        say(f"time loop, {items} items")
        asked = {"items": items, "seconds": plan.seconds, "frames": plan.frames}
        # Of several items flyvis would keep tens of GB.
        flyvis = programs.flyvis if items == 1 else None
        for _ in range(plan.rounds):
            for kind in ("forward", "gradient"):
                answer = {"stimopt": programs.stimopt(kind, **asked)}
                if programs.before is not None:
                    answer["before"] = programs.before(kind, **asked)
                if flyvis is not None:
                    answer["flyvis"] = flyvis(kind, **asked)
                _add(found, f"{kind}_{items}", answer)


def _whole(
    found: dict[str, Any], plan: Plan, programs: Programs, opening: dict[str, Any], say: Say
) -> None:
    """All types in one fit: by the steps of flyvis once, and by `--method region`."""
    every = {"cell_types": "all", "frames": plan.frames}
    say(f"all types, {plan.adam_steps} steps of Adam")
    found["adam"] = programs.stimopt("generate", **every, steps=plan.adam_steps)
    for turn in range(plan.rounds):
        say(f"all types, --method region, round {turn + 1} of {plan.rounds}")
        with programs.fresh() as fresh:
            fresh("open", **opening)
            fresh("gradient", items=8, frames=2, seconds=0.0)  # reads the compiled kernels
            _add(found, "region", fresh("region", **every, steps=plan.region_steps))


def _search(
    found: dict[str, Any], plan: Plan, subject: Subject, programs: Programs, work: Path, say: Say
) -> None:
    """Clips past the network, the peaks of all types read."""
    say("search")
    path = str(work / "clips.npy")
    clips = {"movies": subject.movies, "count": plan.flyvis_clips, "path": path}
    clips["frames"] = plan.frames
    found["clips"] = programs.stimopt("clips", **clips)
    asked = {"movies": subject.movies, "clips": plan.clips, "batch": 16}
    for _ in range(plan.rounds):
        _add(found, "search", programs.stimopt("search", **asked))
        if programs.before is not None:
            _add(found, "search_before", programs.before("search", **asked))
        if programs.flyvis is not None:
            _add(found, "search_flyvis", programs.flyvis("search", clips=path))


def _slopes(found: dict[str, Any], plan: Plan, ours: Program, say: Say) -> None:
    """Cost against frames, items and extent."""
    say("cost against frames, items and extent")
    extent = found["network"]["extent"]
    base = {"items": 1, "frames": plan.frames}
    series = {
        "frames": [{**base, "frames": n} for n in (20, 40, 80, 160, 320)],
        "items": [{**base, "items": n} for n in (2, 4, 8, 16, 32, 64)],
        "extent": [
            {**base, "items": 2, "extent": n}
            for n in sorted({max(2, extent * k // 15) for k in (5, 7, 10, 15, 20)})
        ],
    }
    found["slopes"] = {
        name: [{**point, **ours("gradient", **point, seconds=plan.seconds)} for point in points]
        for name, points in series.items()
    }


def _add(found: dict[str, Any], name: str, answer: dict[str, Any]) -> None:
    found.setdefault(name, []).append(answer)


def save(found: dict[str, Any], path: Path) -> None:
    """Write figures as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(json.dumps(found, indent=1) + "\n")
    beside.replace(path)
