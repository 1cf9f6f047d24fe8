"""Movies: sources of frames, the built-in movies, and the store of their luminance."""

from stimopt.movies.building import render
from stimopt.movies.opening import PROCEDURAL, open_source
from stimopt.movies.procedural import ProceduralMovies, ProceduralSettings
from stimopt.movies.source import MovieSource, Scene, SourceFile
from stimopt.movies.store import GeneratedStore, MovieStore, SceneStore, StoredScene

__all__ = [
    "PROCEDURAL",
    "GeneratedStore",
    "MovieSource",
    "MovieStore",
    "ProceduralMovies",
    "ProceduralSettings",
    "Scene",
    "SceneStore",
    "SourceFile",
    "StoredScene",
    "open_source",
    "render",
]
