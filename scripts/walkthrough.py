# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---
# ruff: noqa: D100

# %% [markdown]
# # Optimal stimuli of T4c
#
# The published walkthrough of optimal stimuli, step by step: which clip of the movies drives the
# cell most, what of it matters, and what the cell would like best of all. Open it as a notebook
# (VS Code, or Jupyter with jupytext), or run it as a script: the pictures go to `OUTPUT`.
#
# Without settings it takes the built-in circuit and the built-in movies, and under two minutes.
# For a trained network and film clips set in the environment
#
#     STIMOPT_NETWORK=data/flyvis/results/flow/0000/000
#     STIMOPT_CONNECTOME=data/flyvis/connectome/fib25-fib19_v2.2.json   (or install flyvis)
#     STIMOPT_MOVIES=data/MPI-Sintel

# %%
import os
import warnings
from pathlib import Path

import lightning.pytorch as pl
from matplotlib.figure import Figure
from PIL import Image

from stimopt.commands.fit import FitProgress, quiet_lightning
from stimopt.movies import render
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.movies.eye import RenderSettings
from stimopt.networks.opening import NetworkSource
from stimopt.optimize.generate import StimulusGenerator
from stimopt.optimize.regularize import StimulusRegularizer
from stimopt.plotting import plot_losses, plot_stim_response, plot_traces, save_figure
from stimopt.protocol import Protocol
from stimopt.report.figures import optima_figure
from stimopt.results import ThreeOptima
from stimopt.search.callbacks import SearchProgress
from stimopt.search.naturalistic import NaturalisticSearch
from stimopt.search.result import search_result

CELL_TYPE = os.environ.get("STIMOPT_CELL_TYPE", "T4c")
NETWORK = os.environ.get("STIMOPT_NETWORK")
CONNECTOME = os.environ.get("STIMOPT_CONNECTOME")
MOVIES = os.environ.get("STIMOPT_MOVIES")
OUTPUT = Path(os.environ.get("STIMOPT_OUTPUT", "logs/walkthrough"))
# Rings of columns; by default 15 for a trained network and 8 for the built-in one.
EXTENT = int(os.environ["STIMOPT_EXTENT"]) if "STIMOPT_EXTENT" in os.environ else None

quiet_lightning()
# Reading takes a fraction of the network's time, so the advice to add workers does not apply.
warnings.filterwarnings("ignore", message=".*does not have many workers")


def show(figure: Figure, name: str) -> Image.Image:
    """Write a picture; a notebook shows what this gives back."""
    with Image.open(save_figure(figure, OUTPUT / f"{name}.png")) as picture:
        return picture.copy()


def trainer(progress: pl.Callback, steps: int = -1) -> pl.Trainer:
    return pl.Trainer(
        max_steps=steps,
        callbacks=[progress],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )


# %% [markdown]
# ## Load the network and the data set
#
# One protocol for all that follows: 1 s of grey, then the stimulus, 10 ms a frame.

# %%
network = NetworkSource(NETWORK, CONNECTOME, EXTENT).open()
protocol = Protocol()
lattice, dt = network.lattice, protocol.dt
print(f"{network.names[0]}: {len(network.cell_types)} cell types, {network.n_cells} cells")

# %%
stores = None
if MOVIES is not None:
    stores = [str(render(MOVIES, OUTPUT / "movies.h5", RenderSettings(extent=lattice.extent)))]
data = StimulusDataModule(stores, dt=dt, extent=lattice.extent)
print(f"{len(data.dataset)} samples")

# %% [markdown]
# ## The naturalistic optimum
#
# Every sample goes past the network once; the one with the largest central response wins.

# %%
search = NaturalisticSearch(network, protocol, cell_types=CELL_TYPE)
trainer(SearchProgress()).test(search, datamodule=data, verbose=False)
naturalistic = search_result(search)
winners = naturalistic.write(OUTPUT / "naturalistic.h5")
print(f"sample {naturalistic.sample[0, 0]}: {naturalistic.scene[0, 0]}")

# %%
plot = plot_stim_response(
    naturalistic.stimulus[0], naturalistic.response[0], lattice, dt, title="naturalistic"
)
show(plot.fig, "naturalistic")

# %% [markdown]
# ## The regularized optimum
#
# The clip is pulled to grey as far as the central response stays within 2 % of its range: what
# does not matter to the cell fades.

# %%
regularizer = StimulusRegularizer(network, CELL_TYPE, protocol, init=f"naturalistic:{winners}")
trainer(FitProgress(), 300).fit(regularizer)
regularized = regularizer.result()

# %%
plot = plot_stim_response(
    regularized.stimulus[0], regularized.response[0], lattice, dt, title="regularized"
)
show(plot.fig, "regularized")

# %% [markdown]
# The trace that was to be kept, and the one that came out.

# %%
figure = Figure(figsize=(6, 3), layout="constrained")
plot_traces(
    figure.add_subplot(),
    1000 * regularized.time,
    {
        "target": regularized.central_target_response[0],
        "predicted": regularized.central_response[0],
    },
)
show(figure, "target_and_predicted")

# %% [markdown]
# ## The artificial optimum
#
# From noise, by the gradient of the response on the pixels.

# %%
generator = StimulusGenerator(network, CELL_TYPE, protocol, t_stim=0.8)
trainer(FitProgress(), 200).fit(generator)
artificial = generator.result()

# %%
plot = plot_stim_response(
    artificial.stimulus[0], artificial.response[0], lattice, dt, title="artificial"
)
show(plot.fig, "artificial")

# %%
figure = Figure(figsize=(6, 3), layout="constrained")
losses = {name: artificial[name][:, 0] for name in ("losses", "loss_activity", "loss_grey")}
losses["total"] = losses.pop("losses")
plot_losses(figure.add_subplot(), losses, scale="symlog")
show(figure, "losses")

# %% [markdown]
# ## The three over each other

# %%
walk = ThreeOptima(naturalistic, regularized, artificial)
walk.write(OUTPUT / "walk.h5")
for name, optimum in walk[0].optima.items():
    print(f"{name}: peak {optimum.peak:.3f}")

# %%
show(optima_figure(walk, 0), "walk")
