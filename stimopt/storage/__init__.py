"""Files written whole or not at all, HDF5 read safely, and fingerprints of what a run is of."""
