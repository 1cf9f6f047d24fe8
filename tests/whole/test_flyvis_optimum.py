"""flyvis itself, where it is installed, gives the responses that an optimum is stored with."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import stimopt
from stimopt.networks.flyvis import best_checkpoint
from stimopt.networks.frozen import FrozenNetwork

SCRIPT = """
import sys, numpy as np, torch
from flyvis.network import Network
from stimopt.networks.flyvis import SAFE_GLOBALS
checkpoint, stimuli, output = sys.argv[1:]
network = Network()
with torch.serialization.safe_globals(SAFE_GLOBALS):
    stored = torch.load(checkpoint, map_location="cpu", weights_only=True)
network.load_state_dict(stored["network"])
movies = torch.tensor(np.load(stimuli))[:, :, None]
with torch.no_grad():
    state = network.steady_state(1.0, 0.01, len(movies), value=0.5)
    voltages = network.simulate(movies, 0.01, initial_state=state)
names = network.connectome.unique_cell_types[:].astype(str).tolist()
centre = network.connectome.central_cells_index[:]
np.savez(output, **dict(zip(names, voltages.cpu().numpy()[:, :, centre].transpose(2, 0, 1))))
"""


@pytest.mark.skipif(find_spec("flyvis") is None, reason="pip install flyvis==1.2.0")
def test_flyvis_responds_to_the_optima_as_stored(
    real_network: FrozenNetwork, trained_folder: Path, tmp_path: Path
) -> None:
    options = {"cell_types": "T4c,C3", "t_stim": 0.2, "protocol": stimopt.Protocol()}
    quiet = {"enable_progress_bar": False, "accelerator": "cpu"}
    ceiling = stimopt.fit(stimopt.ResponseRange(real_network, anneal=10, **options), 10, **quiet)
    fit = stimopt.EfficientGenerator(real_network, ceiling=ceiling, anneal=20, **options)
    efficient = stimopt.fit(fit, 20, **quiet)
    assert efficient["level_met"].all()
    stimuli = np.concatenate([ceiling["stimulus"], efficient["stimulus"]])
    np.save(tmp_path / "stimuli.npy", stimuli)
    # In a process of its own, as importing flyvis changes torch's default device.
    files = (tmp_path / "stimuli.npy", tmp_path / "voltages.npz")
    arguments = [str(best_checkpoint(trained_folder / "000")), *map(str, files)]
    environment = {**os.environ, "FLYVIS_ROOT_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", SCRIPT, *arguments], check=True, env=environment)
    voltages = np.load(tmp_path / "voltages.npz")
    for i, name in enumerate(("T4c", "C3")):
        for row, result in ((i, ceiling), (2 + i, efficient)):
            stored = result["central_response"][i]
            np.testing.assert_allclose(voltages[name][row], stored, atol=1e-4)
