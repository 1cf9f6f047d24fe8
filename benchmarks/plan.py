"""What the benchmark measures and in which order: both programs in turn, so that load hits both."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipe import Program

FLYVIS_BYTES = 56e6
"""What flyvis keeps for the gradient, per item and frame: measured, 4.46 GB for one of 80."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Args:
        quick: leave out what takes minutes: 65 types by 200 steps, flyvis's 200 steps, all clips.
        frames: frames of a stimulus.
        steps: steps of a fit of one type.
        flyvis_steps: steps of flyvis's; as many as ours but in a quick run, as its steps grow.
        many_steps: steps of a fit of `many` types.
        rounds: how often each figure is taken, both programs in turn.
        seconds: for how long a short call is repeated in a round.
        many: types of a fit of many.
        clips: clips searched; None is all.
        flyvis_clips: clips flyvis simulates in a round.
        memory_bytes: what flyvis may fill in a measurement with several items.
    """

    quick: bool = False
    frames: int = 80
    steps: int = 200
    flyvis_steps: int = 200
    many_steps: int = 200
    rounds: int = 3
    seconds: float = 1.0
    many: int = 16
    clips: int | None = None
    flyvis_clips: int = 9
    memory_bytes: float = 6e9


QUICK = Plan(
    quick=True,
    steps=40,
    flyvis_steps=4,
    many_steps=10,
    seconds=0.1,
    clips=48,
    flyvis_clips=3,
    memory_bytes=1.5e9,
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


def measure(
    plan: Plan,
    subject: Subject,
    ours: Program,
    theirs: Program | None,
    threads: int,
    work: Path,
    say: Say,
) -> dict[str, Any]:
    """All raw figures: seconds as they were taken, by name; `table.rows` makes a table of them."""
    found: dict[str, Any] = {"plan": asdict(plan), "subject": asdict(subject)}
    say("opening the network")
    found["network"] = ours(
        "open",
        network=subject.network,
        connectome=subject.connectome,
        extent=subject.extent,
        threads=threads,
        work=str(work),
    )
    if theirs is not None:
        parameters = str(work / "parameters.npz")
        ours("export", network=subject.network, connectome=subject.connectome, path=parameters)
        say("opening flyvis's network (its connectome is compiled on the first run)")
        found["flyvis"] = theirs("open", parameters=parameters, threads=threads)
    # First, so that the peak of memory is that of this run.
    say("first run of each: memory, growth of a step")
    found["first"] = _both(
        ours,
        theirs,
        "generate",
        {"cell_types": subject.cell_type, "frames": plan.frames, "steps": plan.steps},
        {"cell_type": subject.cell_type, "frames": plan.frames, "steps": plan.flyvis_steps},
    )
    found["peaks"] = ours("machine")
    _generate(found, plan, subject, ours, theirs, say)
    _steps(found, plan, ours, theirs, say)
    _search(found, plan, subject, ours, theirs, work, say)
    _slopes(found, plan, ours, say)
    if not plan.quick:
        say("all types, 200 steps each, in one fit")
        found["all"] = [
            ours("generate", cell_types="all", frames=plan.frames, steps=200)
            for _ in range(plan.rounds)
        ]
    return found


def _generate(
    found: dict[str, Any],
    plan: Plan,
    subject: Subject,
    ours: Program,
    theirs: Program | None,
    say: Say,
) -> None:
    """One type, many types, and what the Trainer adds to a step."""
    many = ",".join(_many(found, plan.many, subject.cell_type))
    single = {"cell_types": subject.cell_type, "frames": plan.frames}
    for turn in range(plan.rounds):
        say(f"generation, round {turn + 1} of {plan.rounds}")
        _add(found, "one", ours("generate", **single, steps=plan.steps))
        if theirs is not None:
            question = {"cell_type": subject.cell_type, "frames": plan.frames}
            # Minutes long: the first run counts as the first round's.
            again = turn or plan.quick
            run = theirs("generate", **question, steps=plan.flyvis_steps) if again else None
            _add(found, "one_flyvis", run or found["first"]["flyvis"])
        fit = ours("generate", cell_types=many, frames=plan.frames, steps=plan.many_steps)
        _add(found, "many", fit)
        _add(found, "overhead", ours("overhead", **single, steps=plan.steps))


def _steps(
    found: dict[str, Any], plan: Plan, ours: Program, theirs: Program | None, say: Say
) -> None:
    """The time loop with one, some and all items."""
    for items in (1, plan.many, 65):
        # With 16 items flyvis's 80 frames would take 72 GB: fewer frames, and the time per frame.
        fitting = int(max(1, min(plan.frames, plan.memory_bytes // (items * FLYVIS_BYTES))))
        say(f"time loop, {items} items")
        for _ in range(plan.rounds):
            for kind in ("forward", "gradient"):
                asked = {"items": items, "seconds": plan.seconds}
                answer = {"stimopt": ours(kind, **asked, frames=plan.frames)}
                if theirs is not None:
                    # Out of memory is an outcome: the table then says "absent".
                    with contextlib.suppress(RuntimeError):
                        answer["flyvis"] = theirs(kind, **asked, frames=fitting)
                answer["frames"] = {"stimopt": plan.frames, "flyvis": fitting}
                _add(found, f"{kind}_{items}", answer)


def _search(
    found: dict[str, Any],
    plan: Plan,
    subject: Subject,
    ours: Program,
    theirs: Program | None,
    work: Path,
    say: Say,
) -> None:
    """Clips past the network, the peaks of all types read."""
    say("search")
    path = str(work / "clips.npy")
    clips = {"movies": subject.movies, "count": plan.flyvis_clips, "path": path}
    clips["frames"] = plan.frames
    found["clips"] = ours("clips", **clips)
    for _ in range(plan.rounds):
        _add(found, "search", ours("search", movies=subject.movies, clips=plan.clips))
        if theirs is not None:
            _add(found, "search_flyvis", theirs("search", clips=path))


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


def _many(found: dict[str, Any], count: int, first: str) -> list[str]:
    types = found["network"]["cell_types"]
    motion = [name for name in types if name[:2] in ("T4", "T5")]
    chosen = dict.fromkeys([first, *motion, *types])
    return list(chosen)[:count]


def _both(
    ours: Program, theirs: Program | None, do: str, mine: dict[str, Any], other: dict[str, Any]
) -> dict[str, Any]:
    answer = {"stimopt": ours(do, **mine)}
    if theirs is not None:
        answer["flyvis"] = theirs(do, **other)
    return answer


def _add(found: dict[str, Any], name: str, answer: dict[str, Any]) -> None:
    found.setdefault(name, []).append(answer)


def save(found: dict[str, Any], path: Path) -> None:
    """Write figures as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(json.dumps(found, indent=1) + "\n")
    beside.replace(path)
