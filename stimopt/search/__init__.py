"""The clip of a movie set that drives each cell type most."""
