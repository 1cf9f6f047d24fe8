"""Tuning of cells to moving edges, and the direction of motion and the polarity of a stimulus.

Directions are degrees counter-clockwise in picture coordinates: 0 moves right, 90 up. Distances are
in columns, the spacing of neighbouring centres. Responses are peaks of the central cell's voltage
relative to its value at grey; tuning indices count negative responses as zero.
"""

from stimopt.analysis.central_response import central_traces, grey_voltage
from stimopt.analysis.discriminate import choose_questions, named_right
from stimopt.analysis.edge_tuning import (
    EDGE_SPEEDS,
    EdgeTuning,
    edge_tuning,
    moving_edge,
    responses_to,
)
from stimopt.analysis.explain import explain
from stimopt.analysis.flyvis_probes import ProbeResponses, probe_responses
from stimopt.analysis.groups import Grouping, group_networks
from stimopt.analysis.indices import angle_between, direction_tuning, mean_interval, percentile_of
from stimopt.analysis.motion import StimulusMotion, stimulus_motion
from stimopt.analysis.paths import path_similarity, ranked_clips
from stimopt.analysis.polarity import ChangeDrive, change_drive
from stimopt.analysis.score_card import ScoreCard, score_optima, score_probes
from stimopt.analysis.stimulus_tuning import StimulusTuning, stimulus_tuning, transformed
from stimopt.analysis.summary import OptimumSummary, summarize_optimum
from stimopt.analysis.transfer import (
    LeftOut,
    ResponseScale,
    TransferMatrix,
    left_out_responses,
    normalized_responses,
    transfer,
)
from stimopt.analysis.trust import check_optima

__all__ = [
    "ChangeDrive",
    "EDGE_SPEEDS",
    "EdgeTuning",
    "Grouping",
    "LeftOut",
    "OptimumSummary",
    "ProbeResponses",
    "ResponseScale",
    "ScoreCard",
    "StimulusMotion",
    "StimulusTuning",
    "TransferMatrix",
    "angle_between",
    "central_traces",
    "change_drive",
    "choose_questions",
    "check_optima",
    "direction_tuning",
    "edge_tuning",
    "explain",
    "grey_voltage",
    "group_networks",
    "moving_edge",
    "left_out_responses",
    "mean_interval",
    "named_right",
    "normalized_responses",
    "path_similarity",
    "percentile_of",
    "probe_responses",
    "ranked_clips",
    "responses_to",
    "score_optima",
    "score_probes",
    "stimulus_motion",
    "stimulus_tuning",
    "summarize_optimum",
    "transfer",
    "transformed",
]
