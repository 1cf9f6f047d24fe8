"""stimopt: the stimulus that excites a neuron most, in a connectome-constrained network.

Example:
    >>> import stimopt
    >>> network = stimopt.builtin_network(extent=3)
    >>> fit = stimopt.StimulusGenerator(network, ["T4c", "T5c"], t_stim=0.1)
    >>> result = stimopt.fit(fit, steps=2)
    >>> result["central_response"].shape
    (2, 10)
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stimopt.analysis.edge_tuning import edge_tuning as edge_tuning
    from stimopt.analysis.explain import explain as explain
    from stimopt.analysis.stimulus_tuning import stimulus_tuning as stimulus_tuning
    from stimopt.analysis.trust import check_optima as check_optima
    from stimopt.items import Item as Item
    from stimopt.items import Reading as Reading
    from stimopt.lattice import HexLattice as HexLattice
    from stimopt.movies import MovieSource as MovieSource
    from stimopt.movies import MovieStore as MovieStore
    from stimopt.movies import render as render
    from stimopt.movies.datamodule import StimulusDataModule as StimulusDataModule
    from stimopt.movies.eye import RenderSettings as RenderSettings
    from stimopt.networks.flyvis_objects import network_from_flyvis as network_from_flyvis
    from stimopt.networks.frozen import FrozenNetwork as FrozenNetwork
    from stimopt.networks.module import ModuleNetwork as ModuleNetwork
    from stimopt.networks.opening import builtin_network as builtin_network
    from stimopt.networks.opening import flyvis_network as flyvis_network
    from stimopt.optimize.ceiling import ResponseRange as ResponseRange
    from stimopt.optimize.efficient import EfficientGenerator as EfficientGenerator
    from stimopt.optimize.efficient import ResponseLadder as ResponseLadder
    from stimopt.optimize.generate import RegionGenerator as RegionGenerator
    from stimopt.optimize.generate import StimulusGenerator as StimulusGenerator
    from stimopt.optimize.limited import LimitedRange as LimitedRange
    from stimopt.optimize.limited import discriminating as discriminating
    from stimopt.optimize.minimal import MinimalGenerator as MinimalGenerator
    from stimopt.optimize.module import StimulusModule as StimulusModule
    from stimopt.optimize.normalized import NormalizedPool as NormalizedPool
    from stimopt.optimize.regularize import PenalizedRegularizer as PenalizedRegularizer
    from stimopt.optimize.regularize import StimulusRegularizer as StimulusRegularizer
    from stimopt.optimize.varied import VariedGenerator as VariedGenerator
    from stimopt.plotting import Figure as Figure
    from stimopt.plotting import animate as animate
    from stimopt.plotting import plot_losses as plot_losses
    from stimopt.plotting import plot_stim_response as plot_stim_response
    from stimopt.plotting import plot_traces as plot_traces
    from stimopt.plotting import save_figure as save_figure
    from stimopt.protocol import GREY as GREY
    from stimopt.protocol import Protocol as Protocol
    from stimopt.report.page import write_page as write_page
    from stimopt.results import Result as Result
    from stimopt.results import ThreeOptima as ThreeOptima
    from stimopt.results import read as read
    from stimopt.runs.trainer import fit as fit
    from stimopt.runs.trainer import run_search as run_search
    from stimopt.search.naturalistic import NaturalisticSearch as NaturalisticSearch

try:
    __version__ = version("stimopt")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0+unknown"

# Loaded at first use, because importing torch and Lightning takes seconds.
_HOMES = {
    # networks
    "builtin_network": "networks.opening",
    "flyvis_network": "networks.opening",
    "network_from_flyvis": "networks.flyvis_objects",
    "FrozenNetwork": "networks.frozen",
    "ModuleNetwork": "networks.module",
    # protocol, lattice and items
    "GREY": "protocol",
    "Protocol": "protocol",
    "HexLattice": "lattice",
    "Item": "items",
    "Reading": "items",
    # movies
    "MovieSource": "movies",
    "MovieStore": "movies",
    "RenderSettings": "movies.eye",
    "StimulusDataModule": "movies.datamodule",
    "render": "movies",
    # searches and fits
    "NaturalisticSearch": "search.naturalistic",
    "PenalizedRegularizer": "optimize.regularize",
    "ResponseRange": "optimize.ceiling",
    "EfficientGenerator": "optimize.efficient",
    "ResponseLadder": "optimize.efficient",
    "MinimalGenerator": "optimize.minimal",
    "VariedGenerator": "optimize.varied",
    "RegionGenerator": "optimize.generate",
    "LimitedRange": "optimize.limited",
    "NormalizedPool": "optimize.normalized",
    "discriminating": "optimize.limited",
    "StimulusGenerator": "optimize.generate",
    "StimulusModule": "optimize.module",
    "StimulusRegularizer": "optimize.regularize",
    "fit": "runs.trainer",
    "run_search": "runs.trainer",
    # results and their analysis
    "Result": "results",
    "ThreeOptima": "results",
    "read": "results",
    "edge_tuning": "analysis",
    "explain": "analysis.explain",
    "check_optima": "analysis.trust",
    "stimulus_tuning": "analysis",
    # pictures
    "Figure": "plotting",
    "animate": "plotting",
    "plot_losses": "plotting",
    "plot_stim_response": "plotting",
    "plot_traces": "plotting",
    "save_figure": "plotting",
    "write_page": "report.page",
}

__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'stimopt' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"stimopt.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
