"""Circuits: what causes an answer, by exchanging parts of a computation, judged beside chance."""

from __future__ import annotations

from monosema.circuits.ablations import ABLATIONS, Ablation, Mean, Resample, Zero, ablation_named, register_ablation
from monosema.circuits.alignment import Alignment, AlignmentConfig, Interchanged, Subspace, align, swapped
from monosema.circuits.circuit import Circuit
from monosema.circuits.completeness import Completeness, NodeTest, completeness, minimality
from monosema.circuits.contrast import Contrast, Contrasts, contrasts
from monosema.circuits.contributions import contributions, exchanged
from monosema.circuits.dot import to_dot
from monosema.circuits.faithfulness import SHARES, Curve, Trial, curve, random_curve, sizes_of, smallest, trial_of
from monosema.circuits.finding import FindConfig, Found, find, prompts_of, score_edges
from monosema.circuits.folder import read_circuit, write_circuit
from monosema.circuits.graph import Graph, Kind, Node, Reader, component_graph
from monosema.circuits.judging import TESTS, Judgement, judge, require_skill, say
from monosema.circuits.mask_gradients import mask_gradients
from monosema.circuits.metrics import (
    LogitDifference,
    Metric,
    NegativeDivergence,
    ProbabilityDifference,
    last_logits,
    metric_of,
)
from monosema.circuits.patching import Patching, patching
from monosema.circuits.paths import mediation, path_effects
from monosema.circuits.places import PLACES, Places, Positions, register_places
from monosema.circuits.running import circuit_logits, circuit_metrics, end_metrics
from monosema.circuits.scores import Agreement, EdgeScores, NodeScores, Provenance, agreement
from monosema.circuits.shown import Kept, ShownEdge, ShownGraph, ShownNode, show_circuit
from monosema.circuits.specificity import Matrix, specificity
from monosema.circuits.stability import Stability, jaccard, stability
from monosema.circuits.tables import PatchConfig, PatchTable, patch_table
from monosema.circuits.units import Ranked, rank_latents, rank_neurons

__all__ = [
    "ABLATIONS",
    "PLACES",
    "SHARES",
    "TESTS",
    "Ablation",
    "Agreement",
    "Alignment",
    "AlignmentConfig",
    "Circuit",
    "Completeness",
    "Contrast",
    "Contrasts",
    "Curve",
    "EdgeScores",
    "FindConfig",
    "Found",
    "Graph",
    "Interchanged",
    "Judgement",
    "Kept",
    "Kind",
    "LogitDifference",
    "Matrix",
    "Mean",
    "Metric",
    "NegativeDivergence",
    "Node",
    "NodeScores",
    "NodeTest",
    "PatchConfig",
    "PatchTable",
    "Patching",
    "Places",
    "Positions",
    "ProbabilityDifference",
    "Provenance",
    "Ranked",
    "Reader",
    "Resample",
    "ShownEdge",
    "ShownGraph",
    "ShownNode",
    "Stability",
    "Subspace",
    "Trial",
    "Zero",
    "ablation_named",
    "agreement",
    "align",
    "circuit_logits",
    "circuit_metrics",
    "completeness",
    "component_graph",
    "contrasts",
    "contributions",
    "curve",
    "end_metrics",
    "exchanged",
    "find",
    "jaccard",
    "judge",
    "last_logits",
    "mask_gradients",
    "mediation",
    "metric_of",
    "minimality",
    "patch_table",
    "patching",
    "path_effects",
    "prompts_of",
    "random_curve",
    "rank_latents",
    "rank_neurons",
    "read_circuit",
    "register_ablation",
    "register_places",
    "require_skill",
    "say",
    "score_edges",
    "show_circuit",
    "sizes_of",
    "smallest",
    "specificity",
    "stability",
    "swapped",
    "to_dot",
    "trial_of",
    "write_circuit",
]
