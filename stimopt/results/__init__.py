"""What a run found, as arrays with named dimensions in HDF5 files."""
