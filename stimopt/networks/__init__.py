"""Networks: what all of them offer, the connectome-constrained one, and modules as networks."""
