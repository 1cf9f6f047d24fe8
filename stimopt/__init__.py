"""stimopt: the stimulus that excites a neuron most, in a connectome-constrained network."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("stimopt")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0+unknown"
