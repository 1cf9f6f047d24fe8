"""What has been recorded of cell types in the fly: polarity, and preferred direction of motion.

Source: the tables that Lappalainen et al., Nature 2024, compare networks with (flyvis 1.2.0,
`utils/groundtruth_utils.py`). They go back to Maisak et al. 2013 (T4, T5), Behnia et al. 2014 (Mi1,
Tm1, Tm2, Tm3), Silies et al. 2013 (L1-L3), Serbe et al. 2016 (Tm4, Tm9), Meier et al. 2014 (L4),
Meier and Borst 2019 (CT1), Arenz et al. 2017 (Mi4, Mi9), and Drews et al. 2020 (L5). flyvis lists
R7, R8 and C3 without a source. Directions are in picture coordinates, 0 right and 90 up, where
front to back is leftward.
"""

from __future__ import annotations

_SUBTYPES = {"a": 180.0, "b": 0.0, "c": 90.0, "d": 270.0}

PREFERRED_DIRECTION_DEG = {
    f"{kind}{subtype}": angle for kind in ("T4", "T5") for subtype, angle in _SUBTYPES.items()
}
"""Of the direction-selective types."""

NOT_SELECTIVE = ("Mi1", "Tm3", "Mi4", "Mi9", "Tm1", "Tm2", "Tm4", "Tm9", "CT1(M10)", "CT1(Lo1)")
"""Types that respond to motion in all directions alike."""

_ON = (*(f"R{i}" for i in range(1, 9)), "L5", "C3", "CT1(M10)", "Mi1", "Mi4", "Tm3")
_OFF = ("L1", "L2", "L3", "L4", "CT1(Lo1)", "Mi9", "Tm1", "Tm2", "Tm4", "Tm9")

POLARITY = {
    **dict.fromkeys((*_ON, *(f"T4{subtype}" for subtype in _SUBTYPES)), 1),
    **dict.fromkeys((*_OFF, *(f"T5{subtype}" for subtype in _SUBTYPES)), -1),
}
"""1 for types that respond to brightening (ON), -1 for those that respond to darkening (OFF)."""

SELECTIVE = {**dict.fromkeys(PREFERRED_DIRECTION_DEG, True), **dict.fromkeys(NOT_SELECTIVE, False)}
"""Whether a type is direction-selective."""
