"""`stimopt render`: movies into a store."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from jsonargparse import ArgumentParser

from stimopt.commands.parsers import command_parser
from stimopt.movies import MovieStore, render
from stimopt.movies.eye import RenderSettings


def parser(arguments: Sequence[str] = ()) -> ArgumentParser:
    """The options."""
    text = "Render movies as the columns of the eye see them, into a store."
    parser = command_parser(ArgumentParser, "render", text)
    add = parser.add_argument
    add(
        "source",
        type=str,
        help="MPI-Sintel's folder or zip, numbered pictures, videos or arrays; 'sintel' for "
        "flyvis's copy of the film, 'procedural' for the built-in movies",
    )
    add("out", type=str, help="the store to write, an .h5 file")
    parser.add_class_arguments(RenderSettings)
    frame_rate = "frames per second; by default as a video says, and 24 for the rest"
    add("--frame_rate", type=float | None, default=None, help=frame_rate)
    add("--dtype", type=str, default="float32", help="float32, or float16 for half the size")
    add("--overwrite", type=bool, default=False, help="replace another store of that name")
    add("--progress", type=bool, default=True, help="show a progress bar")
    return parser


def run(arguments: Sequence[str]) -> int:
    """Render or resume, and print what is in the store."""
    options = parser().parse_args(list(arguments)).as_dict()
    settings = RenderSettings(
        **{field.name: options.pop(field.name) for field in dataclasses.fields(RenderSettings)}
    )
    del options["config"]
    path = render(options.pop("source"), options.pop("out"), settings, **options)
    with MovieStore(path) as store:
        scenes = {scene.name for scene in store.scenes}
        n_frames = sum(scene.n_frames for scene in store.scenes)
        print(
            f"{len(scenes)} scenes in {len(store.scenes)} views, {n_frames} frames of extent "
            f"{store.extent}"
        )
    print(path)
    return 0
