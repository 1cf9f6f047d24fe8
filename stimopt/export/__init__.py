"""From a stimulus on the lattice to the display in front of a fly, and back to what the fly sees.

A `Rig` is a display, an eye before it, the light of its pixels and its timing. A stimulus becomes
frames of levels (`view`, `session`), which a format writes and reads (`formats`); `seen` simulates
what is left of the response, and `refit` optimizes a stimulus for the rig.
"""
