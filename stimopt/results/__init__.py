"""What a run reports: arrays with named dimensions, in HDF5 files that `check` can verify.

Layout, readable by h5py, and by xarray through its engine h5netcdf. Dimensions are dimension
scales, units are attributes. Every result has these variables:

    label, cell_type, seed        (item,)
    network                       (item,)                position among network_names
    readout_u, readout_v          (item,)                column read out
    n_frames                      (item,)                length; later frames are NaN
    stable                        (item,)                bool, see stimopt.networks.stability
    time                          (frame,)               s from stimulus onset
    u, v                          (column,)              axial coordinates
    stimulus                      (item, frame, column)  luminance in [0, 1]
    response                      (item, frame, column)  voltage of the type's cell in each column
    central_response              (item, frame)          voltage of the cell read out

A fit adds these; its stimulus and response belong to the best step:

    last_stimulus                 (item, frame, column)  luminance after the last step
    best_step, stop_reason        (item,)
    losses                        (step, item)           total loss
    loss_*, constraint_*          (step, item)           terms by their TensorBoard tag, / as _
    response_peak                 (step, item)           voltage

and, where items have several readings:

    reading_cell_type             (item, reading)
    reading_network               (item, reading)        position among network_names
    reading_u, reading_v          (item, reading)        column read
    reading_response              (item, reading, frame) voltage of the cell read

A regularization adds:

    central_target_response       (item, frame)          voltage to be preserved
    grey_distance                 (item,)                sum of (luminance - 0.5)^2
    tolerance, largest_deviation  (item,)                fractions of the target's range
    *tolerance_met                (item,)                bool, at the best step and at the start

A ceiling (`kind` range), an efficient stimulus and a ladder add:

    sign                          (item,)                1: largest response sought, -1: lowest
    objective, grey_objective     (item,)                at the best step, and at grey
    bound, start, start_spread    (item,)                range: which, best start, their spread
    optimality_residual           (item,)                range: part of the gradient that is left
    fraction, fraction_reached    (item,)                efficient, ladder: of the way from grey
    level_met                     (item,)                efficient, ladder: bool, at the best step
    ceiling, ceiling_*            (item,)                efficient, ladder: of the range; or floor
    grey_distance                 (item,)                efficient, ladder: sum of squares

A range of limited contrast (`LimitedRange`) has `grey_distance` too, and

    rms_contrast                  (item,)                contrast of the stimulus, 0 to 1

Varied stimuli (`--method varied`) and minimal ones (`--method minimal`) add to an efficient one:

    diversity                     (item,)                varied: of the cell; 0 if all are alike
    distance                      (item,)                varied: Euclidean, to the efficient one
    control_reached               (item,)                varied: as fraction_reached, by the control
    columns_used, frames_used     (item,)                minimal: those that are not grey

A search adds:

    peak_response, peak_frame     (item, rank)           of the best clips; the first is stimulus
    sample, store, scene, view    (item, rank)           where the clips come from
    first_frame, last_frame       (item, rank)
    frame_rate, window            (item, rank)
    mirroring, rotation           (item, rank)
    every_sample                  (clip,)                with keep_all
    every_peak_response           (clip, item)           with keep_all

The root has attributes schema, kind, network_hash and extent, and as JSON protocol, network_names,
config and versions. A file of the three optima has one such result in each of the groups
naturalistic, regularized and artificial; the last one also has the variables of
`report.optima_tuning`. `analysis.explain` lists those of an explanation, `analysis.check_optima`
those of a check.
"""

from __future__ import annotations

from pathlib import Path

from stimopt import expect
from stimopt.results.campaign import read_campaign
from stimopt.results.result import Result, Variable, groups, write
from stimopt.results.result import read as _read_one
from stimopt.results.three_optima import KINDS, ThreeOptima

__all__ = ["Result", "ThreeOptima", "Variable", "fitted", "read", "searched", "write"]


def read(path: str | Path) -> Result | ThreeOptima:
    """Read a result, the three optima, or a campaign.

    Args:
        path: `result.h5`, `optima.h5`, or the folder of a finished campaign.

    Raises:
        ValueError: if the file is missing, damaged or no result.

    Example:
        >>> stimopt.read("result.h5").check(network)  # doctest: +SKIP
        9.5e-07
    """
    if Path(path).is_dir():
        return read_campaign(path)
    if set(KINDS) <= set(groups(path)):
        return ThreeOptima.read(path)
    return _read_one(path)


def fitted(source: str | Path | Result | ThreeOptima) -> Result:
    """The result of a fit, passed or read; of the three optima the artificial one.

    Raises:
        ValueError: if the file is missing, damaged or no result.
    """
    found = source if isinstance(source, (Result, ThreeOptima)) else read(source)
    return found if isinstance(found, Result) else found.artificial


def searched(path: str | Path) -> Result:
    """The result of a search in a file; of the three optima the naturalistic one.

    Raises:
        ValueError: if the file is missing, damaged or of another run.
    """
    found = read(path)
    result = found if isinstance(found, Result) else found.naturalistic
    expect.that(
        result.kind == "naturalistic",
        f"the result of a search in {path}",
        f"the result of another run ({result.kind})",
        "name a result.h5 of stimopt search, or an optima.h5",
    )
    return result
