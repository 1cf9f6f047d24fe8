"""A campaign: one command over a grid of cell types, networks and seeds, in chunks.

    campaign.json     what the campaign is of, see `stimopt.results.campaign`
    chunks/NAME/      output of the chunk's run; there once it is whole
    unfinished/NAME/  the same of a chunk that is at work, or was killed and resumes there
    locks/NAME.lock   of the process that is at work on the chunk

Processes need not know of each other: each takes the next chunk that is neither there nor locked. A
lock ends with its process, so that a killed chunk is free for the next one.
"""

from __future__ import annotations

import gc
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock, Timeout
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from stimopt import expect
from stimopt.results.campaign import read_manifest, write_manifest
from stimopt.storage.files import safe_names
from stimopt.storage.identity import as_json, require_same


class Chunk(NamedTuple):
    """Items of one run: every combination of these.

    Args:
        cell_types: names.
        networks: positions.
        seeds: of the noise.
        name: of its folder.
    """

    cell_types: tuple[str, ...]
    networks: tuple[int, ...]
    seeds: tuple[int, ...]
    name: str = ""


def plan_chunks(
    cell_types: Sequence[str],
    networks: Sequence[int],
    seeds: Sequence[int],
    names: Sequence[str],
    size: int,
    *,
    pooled: bool = False,
) -> list[Chunk]:
    """Chunks of at most so many items, each of one network; networks are the slowest to change.

    Args:
        cell_types: of all items.
        networks: positions of the networks of all items.
        seeds: of all items.
        names: of the networks, by position.
        size: most items in a chunk.
        pooled: every item reads all networks, so that these stay together.

    Raises:
        ValueError: for a size below 1.
    """
    expect.whole("items_per_chunk", size, "65 is usual", at_least=1)
    groups = [tuple(networks)] if pooled else [(position,) for position in networks]
    chunks, labels = list[Chunk](), list[str]()
    for group in groups:
        network = "all" if pooled else names[group[0]].rsplit("/", 1)[-1]
        for some in _split(seeds, size):
            seed = f"-seed{some[0]}" if len(some) < len(seeds) else ""
            for types in _split(cell_types, size // len(some)):
                labels.append(f"{len(labels):04d}-{network}-{types[0]}{seed}")
                chunks.append(Chunk(types, group, some))
    return [c._replace(name=name) for c, name in zip(chunks, safe_names(labels), strict=True)]


def _split(values: Sequence[Any], size: int) -> list[tuple[Any, ...]]:
    return [tuple(values[i : i + size]) for i in range(0, len(values), size)]


def claim(folder: str | Path, settings: Mapping[str, Any], chunks: Sequence[Chunk]) -> None:
    """Make a folder that of a campaign, or check that it is.

    Args:
        folder: of the campaign.
        settings: that decide its results, by name.
        chunks: from `plan_chunks`.

    Raises:
        DifferentRun: if the folder holds another campaign, naming what differs.
        ValueError: if it holds anything else.
    """
    folder, plain = Path(folder), as_json(settings)
    (folder / "locks").mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "locks" / "campaign.lock"):
        if not (folder / "campaign.json").exists():
            others = sorted(path.name for path in folder.iterdir() if path.name != "locks")
            got = f"{', '.join(others[:5])} of another run"
            advice = "name another output folder"
            expect.that(not others, f"an empty folder or a campaign in {folder}", got, advice)
            write_manifest(folder, plain, [chunk.name for chunk in chunks])
        require_same(read_manifest(folder)[0], plain, str(folder))


def run_chunks(
    folder: str | Path, chunks: Sequence[Chunk], run: Callable[[Chunk, Path], Any]
) -> bool:
    """Run the chunks that are neither there nor at work in another process.

    Args:
        folder: of the campaign.
        chunks: from `plan_chunks`.
        run: runs or resumes a chunk in a folder.

    Returns:
        Whether all chunks are there.

    Raises:
        ValueError: after the others, naming the chunks that failed.
    """
    folder, failed = Path(folder), dict[str, Exception]()
    gc.freeze()  # Of what is there by now nothing becomes garbage, and `gc.collect` is quick.
    console, begin, before = Console(stderr=True), time.monotonic(), _n_done(folder, chunks)
    for i, chunk in enumerate(chunks):
        whole, unfinished = (folder / part / chunk.name for part in ("chunks", "unfinished"))
        lock = FileLock(folder / "locks" / f"{chunk.name}.lock", timeout=0)
        with suppress(Timeout), lock:
            if whole.exists():
                continue
            done, seconds, left = _n_done(folder, chunks), time.monotonic() - begin, ""
            if done > before:  # By what all processes have done since this one began.
                seconds = round((len(chunks) - done) * seconds / (done - before))
                left = f", about {timedelta(seconds=seconds)} left"
            console.print(f"chunk {i + 1} of {len(chunks)}, {chunk.name}; {done} done{left}")
            try:
                run(chunk, unfinished)
            except (ValueError, RuntimeError) as error:
                failed[chunk.name] = error
                console.print(f"{chunk.name} failed: {error}", markup=False)
                continue
            gc.collect()  # A Trainer and its module hold each other, and the chunk's stimuli.
            for checkpoints in list(unfinished.rglob("checkpoints")):
                shutil.rmtree(checkpoints)
            whole.parent.mkdir(exist_ok=True)
            unfinished.rename(whole)
    if failed:
        name, first = next(iter(failed.items()))
        advice = "the others are done: leave out what cannot be run, or rerun the command to retry"
        raise ValueError(
            f"expected {len(chunks)} chunks that can be run, got {len(failed)} that failed, "
            f"the first {name} ({first}); {advice}"
        ) from first
    return _n_done(folder, chunks) == len(chunks)


def _n_done(folder: Path, chunks: Sequence[Chunk]) -> int:
    return sum((folder / "chunks" / chunk.name).exists() for chunk in chunks)


@contextmanager
def standing_alone() -> Iterator[None]:
    """Hide from Lightning that torchrun or SLURM started this process beside others.

    It would make them one distributed run. On a machine with several GPUs each process gets one.
    """
    local = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    gpus = visible.split(",") if visible else list(map(str, range(torch.cuda.device_count())))
    process: Any = rank_zero_only
    before, rank = dict(os.environ), process.rank
    for name in _OF_OTHERS:
        os.environ.pop(name, None)
    if len(gpus) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[local % len(gpus)]
    process.rank = 0
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        process.rank = rank


_OF_OTHERS = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "NODE_RANK", "WORLD_SIZE"),
    *("LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"),
    *("SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"),
)
