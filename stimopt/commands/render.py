"""`stimopt render`."""

from __future__ import annotations

import dataclasses
from typing import Any

from jsonargparse import ArgumentParser

from stimopt.movies import MovieStore, render
from stimopt.movies.eye import RenderSettings


def run(arguments: list[str]) -> int:
    """Render movies into a store, or go on with it, and say what is in it."""
    options = _parser().parse_args(arguments).as_dict()
    path = render(
        options["source"],
        options["out"],
        RenderSettings(**{name: options[name] for name in _names()}),
        frame_rate=options["frame_rate"],
        dtype=options["dtype"],
        overwrite=options["overwrite"],
        progress=options["progress"],
    )
    with MovieStore(path) as store:
        scenes = {scene.name for scene in store.scenes}
        n_frames = sum(scene.n_frames for scene in store.scenes)
        print(
            f"{len(scenes)} scenes in {len(store.scenes)} views, {n_frames} frames of extent "
            f"{store.extent}"
        )
    print(path)
    return 0


def _names() -> list[str]:
    return [field.name for field in dataclasses.fields(RenderSettings)]


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="stimopt render",
        exit_on_error=False,
        description="Render movies on the lattice into a store. The same command given again goes "
        "on after the last whole scene.",
    )
    text: dict[str, Any] = {"type": str}
    parser.add_argument("--config", action="config", help="options as a YAML file")
    parser.add_argument(
        "source",
        help="MPI-Sintel's folder or zip, numbered pictures, videos or arrays; 'procedural' for "
        "the built-in movies",
        **text,
    )
    parser.add_argument("out", help="the store to write, an .h5 file", **text)
    parser.add_class_arguments(RenderSettings)
    parser.add_argument(
        "--frame_rate",
        type=float | None,
        default=None,
        help="frames per second; by default what a video says, and 24 for the rest",
    )
    parser.add_argument(
        "--dtype", default="float32", help="float32, or float16 for half the size", **text
    )
    parser.add_argument(
        "--overwrite", type=bool, default=False, help="replace another store of that name"
    )
    parser.add_argument("--progress", type=bool, default=True, help="show a progress bar")
    return parser
