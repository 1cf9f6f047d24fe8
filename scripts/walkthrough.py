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
# Which clip of the movies excites the cell most, which part of it matters, and which stimulus is
# found from noise. Open this file as a notebook (VS Code, or Jupyter with jupytext), or run it as a
# script: the pictures go to `OUTPUT`.
#
# It uses the built-in motion circuit and the built-in movies, and takes a minute or two. For a
# trained network and film clips set these variables of the environment:
#
#     STIMOPT_NETWORK=flow/0000/000
#     STIMOPT_CONNECTOME=data/flyvis/connectome/fib25-fib19_v2.2.json   (or install flyvis)
#     STIMOPT_MOVIES=data/MPI-Sintel

# %%
import os
from pathlib import Path

from PIL import Image

import stimopt
from stimopt.report.figures import optima_figure

CELL_TYPE = os.environ.get("STIMOPT_CELL_TYPE", "T4c")
NETWORK = os.environ.get("STIMOPT_NETWORK")
CONNECTOME = os.environ.get("STIMOPT_CONNECTOME")
MOVIES = os.environ.get("STIMOPT_MOVIES")
OUTPUT = Path(os.environ.get("STIMOPT_OUTPUT", "logs/walkthrough"))
# Rings of columns; by default 15 for a trained network and 8 for the built-in one.
EXTENT = int(os.environ["STIMOPT_EXTENT"]) if "STIMOPT_EXTENT" in os.environ else None


def show(path: Path) -> Image.Image:
    """A picture, which a notebook displays."""
    with Image.open(path) as picture:
        return picture.copy()


# %% [markdown]
# ## Load the network and the data set
#
# All steps share one protocol: 1 s of grey, then the stimulus, 10 ms a frame.

# %%
if NETWORK is None:
    network = stimopt.builtin_network(8 if EXTENT is None else EXTENT)
else:
    network = stimopt.flyvis_network(NETWORK, CONNECTOME, 15 if EXTENT is None else EXTENT)
protocol = stimopt.Protocol()
lattice, dt = network.lattice, protocol.dt
print(f"{network.names[0]}: {len(network.cell_types)} cell types, {network.n_cells} cells")

# %%
stores = None
if MOVIES is not None:
    settings = stimopt.RenderSettings(extent=lattice.extent)
    stores = [str(stimopt.render(MOVIES, OUTPUT / "movies.h5", settings))]
data = stimopt.StimulusDataModule(stores, dt=dt, extent=lattice.extent)
print(f"{len(data.dataset)} samples")

# %% [markdown]
# ## The naturalistic optimum
#
# The network is shown every sample once. The optimum is the one with the largest central response.

# %%
search = stimopt.NaturalisticSearch(network, protocol, cell_types=CELL_TYPE)
naturalistic = stimopt.run_search(search, data)
winners = naturalistic.write(OUTPUT / "naturalistic.h5")
print(f"sample {naturalistic.sample[0, 0]}: {naturalistic.scene[0, 0]}")

# %%
plot = stimopt.plot_stim_response(
    naturalistic.stimulus[0], naturalistic.response[0], lattice, dt, title="naturalistic"
)
show(stimopt.save_figure(plot.fig, OUTPUT / "naturalistic.png"))

# %% [markdown]
# ## The regularized optimum
#
# The clip is pulled to grey while the central response stays within 2 % of its range. What does not
# matter to the cell becomes grey.

# %%
regularizer = stimopt.StimulusRegularizer(
    network, CELL_TYPE, protocol, init=f"naturalistic:{winners}"
)
regularized = stimopt.fit(regularizer)

# %%
plot = stimopt.plot_stim_response(
    regularized.stimulus[0], regularized.response[0], lattice, dt, title="regularized"
)
show(stimopt.save_figure(plot.fig, OUTPUT / "regularized.png"))

# %% [markdown]
# The target trace, and the response to the regularized stimulus.

# %%
figure = stimopt.Figure(figsize=(6, 3), layout="constrained")
stimopt.plot_traces(
    figure.add_subplot(),
    1000 * regularized.time,
    {
        "target": regularized.central_target_response[0],
        "predicted": regularized.central_response[0],
    },
)
show(stimopt.save_figure(figure, OUTPUT / "target_and_predicted.png"))

# %% [markdown]
# ## The artificial optimum
#
# This fit starts from noise and follows the gradient of flyvis's loss, which weighs the response
# against contrast. `stimopt.EfficientGenerator`, the default on the command line, needs no weight.

# %%
generator = stimopt.StimulusGenerator(network, CELL_TYPE, protocol, t_stim=0.8)
artificial = stimopt.fit(generator, steps=200)

# %%
plot = stimopt.plot_stim_response(
    artificial.stimulus[0], artificial.response[0], lattice, dt, title="artificial"
)
show(stimopt.save_figure(plot.fig, OUTPUT / "artificial.png"))

# %%
figure = stimopt.Figure(figsize=(6, 3), layout="constrained")
losses = {name: artificial[name][:, 0] for name in ("losses", "loss_activity", "loss_grey")}
losses["total"] = losses.pop("losses")
stimopt.plot_losses(figure.add_subplot(), losses, scale="symlog")
show(stimopt.save_figure(figure, OUTPUT / "losses.png"))

# %% [markdown]
# ## The three over each other
#
# One file with all three, and a page to browse, `page/index.html`.


# %%
optima = stimopt.ThreeOptima(naturalistic, regularized, artificial)
optima.write(OUTPUT / "optima.h5")
for name, optimum in optima[0].optima.items():
    print(f"{name}: peak {optimum.peak:.3f}")

# %%
print(stimopt.write_page(optima, OUTPUT / "page"))
show(stimopt.save_figure(optima_figure(optima, 0), OUTPUT / "optima.png"))
