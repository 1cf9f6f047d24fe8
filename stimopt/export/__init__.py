"""From a stimulus on the lattice to the display in front of a fly, and back to what the fly sees.

A `Rig` is a display, an eye before it, the light of its pixels and its timing. A stimulus becomes
frames of levels (`view`), which a format writes and reads (`formats`, `g4`, `g6`, `nwb`) in a
session (`session`). `seen` simulates what is left of the response, and `refit` optimizes a
stimulus for the rig.

Example:
    >>> import stimopt
    >>> from stimopt.export.displays import Sphere
    >>> from stimopt.export.formats import Npz
    >>> from stimopt.export.seen import seen_back
    >>> from stimopt.export.session import Order, on_rig, write_session
    >>> from stimopt.export.stimuli import choose_stimuli
    >>> from stimopt.export.view import Rig
    >>> network = stimopt.builtin_network(extent=4)
    >>> generator = stimopt.StimulusGenerator(network, "T4c", t_stim=0.2, penalties={})
    >>> result = stimopt.fit(generator, steps=5)
    >>> shown = on_rig(choose_stimuli([result]), Rig(Sphere()), Npz(), result.protocol, Order())
    >>> (path,) = write_session(shown, Npz(), "session", Order())
    >>> levels = Npz().read(path, "T4c")
    >>> seen = seen_back(shown[0], levels, network, result.protocol)
    >>> 0 < seen.left < 1
    True
"""
