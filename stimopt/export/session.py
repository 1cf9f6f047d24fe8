"""A session: stimuli exported into a folder, in the order in which a rig is to play them.

The folder has a file of each stimulus with a sidecar `<name>.json` (geometry, light, timing,
provenance, SHA-256), `session.json` with all of them and the trials in order, and what plays them
where the format has such. It is there whole or not at all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stimopt import __version__, expect
from stimopt.export.formats import Format, Shown, Trial
from stimopt.export.stimuli import Stimulus, grey_like, named
from stimopt.export.timing import require_pause
from stimopt.export.view import Rig, View
from stimopt.lattice import HexLattice
from stimopt.protocol import Protocol
from stimopt.storage.identity import sha256_of_file

SCHEMA = "stimopt.session/1"
SESSION, PAUSE = "session.json", "pause"


@dataclass(frozen=True)
class Order:
    """In which order stimuli are shown.

    Args:
        repeats: how often every stimulus is shown.
        pause: seconds of grey between two trials. It is a stimulus of its own, since what an
            arena shows between trials is not certain.
        shuffle: every repeat is in a random order of its own.
        seed: of that order.

    Raises:
        ValueError: for a number out of range.
    """

    repeats: int = 1
    pause: float = 0.0
    shuffle: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        expect.whole("repeats", self.repeats, "1 shows all once", at_least=1, at_most=100_000)
        expect.whole("seed of the order", self.seed, "0 is usual")
        require_pause("pause", self.pause)

    def names(self, stimuli: Sequence[str]) -> list[str]:
        """Names in the order of the trials, without pauses."""
        random = np.random.default_rng(self.seed)
        order = []
        for _ in range(self.repeats):
            numbers = random.permutation(len(stimuli)) if self.shuffle else range(len(stimuli))
            order += [stimuli[i] for i in numbers]
        return order


def on_rig(
    stimuli: Sequence[Stimulus],
    rig: Rig,
    format: Format,
    protocol: Protocol,
    order: Order,
) -> list[Shown]:
    """Stimuli on a rig, and after them the pause, if there is one.

    Args:
        stimuli: to be shown; those of one name get others.
        rig: display, eye, light and timing.
        format: of the files.
        protocol: of the result: duration of its frames, and grey before them.
        order: of the trials.

    Raises:
        ValueError: if rig, format and stimuli do not fit each other.
    """
    pause = dataclasses.replace(rig.timing, grey_before=0, grey_after=order.pause)
    pauses = [grey_like(stimuli[0], 0, PAUSE)] if order.pause else []
    views: dict[tuple[HexLattice, int, int], View] = {}
    shown = []
    for number, stimulus in enumerate(named([*stimuli, *pauses]), 1):
        timing = pause if stimulus.kind == PAUSE else rig.timing
        n_frames = len(stimulus.luminance)
        plan = timing.plan(n_frames, protocol.dt, protocol.t_pre, format.trial_step)
        format.check(rig, plan.rate)
        place = (stimulus.lattice, stimulus.u, stimulus.v)
        views[place] = views.get(place) or rig.view(*place)
        shown.append(Shown(stimulus, views[place], plan, number))
    return shown


def write_session(
    shown: Sequence[Shown],
    format: Format,
    folder: str | Path,
    order: Order,
    *,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write what is shown, one stimulus after the other.

    Args:
        shown: from `on_rig`.
        format: of the files.
        folder: to be created.
        order: of the trials.
        provenance: what the sidecars are to say besides.
        overwrite: replace a folder of an earlier session.

    Returns:
        The file of every stimulus.

    Raises:
        ValueError: if the folder is in use.
    """
    folder, about = Path(folder), {"stimopt": __version__, **(provenance or {})}
    with _new_folder(folder, overwrite) as partial:
        paths = [format.write(each, partial) for each in shown]
        trials = _trials(shown, order)
        players = format.finish(partial, shown, trials)
        cards: dict[str, Any] = {}
        for each, path in zip(shown, paths, strict=True):
            card = cards[each.stimulus.name] = _sidecar(each, path, partial, format)
            full = card | {"provenance": about, "columns": _columns(each)}
            _write_json(partial / f"{each.stimulus.name}.json", full)
        session = {
            "schema": SCHEMA,
            "provenance": about,
            "order": asdict(order),
            "trials": [trial._asdict() for trial in trials],
            "players": {
                path.relative_to(partial).as_posix(): sha256_of_file(path) for path in players
            },
            "stimuli": cards,
        }
        _write_json(partial / SESSION, session)
    return [folder / path.relative_to(partial) for path in paths]


def _trials(shown: Sequence[Shown], order: Order) -> list[Trial]:
    """Trials one after the other, with pauses between."""
    length = {each.stimulus.name: each.plan.total / each.plan.rate for each in shown}
    pauses = [each.stimulus.name for each in shown if each.stimulus.kind == PAUSE]
    names = order.names([name for name in length if name not in pauses])
    played = [name for trial in names for name in (*pauses, trial)][len(pauses) :]
    starts = np.cumsum([0.0, *(length[name] for name in played)])
    return [
        Trial(name, round(float(start), 6), round(length[name], 6))
        for name, start in zip(played, starts, strict=False)
    ]


def _sidecar(shown: Shown, path: Path, folder: Path, format: Format) -> dict[str, Any]:
    stimulus, rig = shown.stimulus, shown.rig
    n_out = int((~shown.view.shown).sum())
    return {
        "name": stimulus.name,
        "label": stimulus.label,
        "kind": stimulus.kind,
        "cell": {
            "cell_type": stimulus.cell_type,
            "u": stimulus.u,
            "v": stimulus.v,
            "network": stimulus.network,
        },
        "file": path.relative_to(folder).as_posix(),
        "format": format.name,
        "format_options": format.options(),
        "sha256": sha256_of_file(path),
        "luminance_sha256": hashlib.sha256(stimulus.luminance.tobytes()).hexdigest(),
        "row_0": format.row_0,
        "display": rig.display.to_dict(),
        "eye": asdict(rig.eye),
        "drawn_by": f"a Gaussian {rig.width:g} degrees wide" if rig.width else "nearest column",
        "columns_outside_the_display": n_out,
        "outside": rig.outside,
        "light": rig.light.describe(),
        "timing": shown.plan.describe(),
    }


def _columns(shown: Shown) -> dict[str, list[float | None]]:
    return {
        name: [None if value != value else round(float(value), 4) for value in values]
        for name, values in shown.directions().items()
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def require_new(folder: str | Path, overwrite: bool = False) -> None:
    """Refuse a folder in use, but for an earlier session that is to be overwritten.

    Raises:
        ValueError: if it is in use.
    """
    folder = Path(folder)
    used = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    ours = overwrite and (folder / SESSION).is_file()
    advice = "name another, or give overwrite to replace an earlier session"
    got = f"{folder}, which is not one of an earlier session" if overwrite else f"{folder}"
    expect.that(not used or ours, "an output that is new", got, advice)


@contextmanager
def _new_folder(folder: Path, overwrite: bool) -> Iterator[Path]:
    """A folder beside the one named, which takes its place when the block ends without error."""
    require_new(folder, overwrite)
    folder = folder.resolve()
    partial, earlier = (
        folder.with_name(f".{folder.name}.{what}-{os.getpid()}") for what in ("part", "old")
    )
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a killed run with the same number
        partial.mkdir(parents=True)
        yield partial
        if folder.is_dir():
            shutil.rmtree(earlier, ignore_errors=True)
            folder.replace(earlier)
        partial.replace(folder)
    except OSError as error:
        raise OSError(
            f"expected {folder} to be written whole, got {error.strerror or error}; free some "
            "space or fix permissions, then retry"
        ) from error
    finally:
        if earlier.exists() and not folder.exists():
            earlier.replace(folder)  # interrupted between the two
        for left in (partial, earlier):
            shutil.rmtree(left, ignore_errors=True)
