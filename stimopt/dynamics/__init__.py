"""One Euler step of the network and its adjoint, in several implementations with one interface."""
