"""Circuits: what causes an answer, by exchanging parts of a computation, judged beside chance."""

from __future__ import annotations

from monosema.circuits.ablations import ABLATIONS, Ablation, Mean, Resample, Zero, ablation_named, register_ablation
from monosema.circuits.alignment import Alignment, AlignmentConfig, Interchanged, Subspace, align, swapped
from monosema.circuits.circuit import Circuit
from monosema.circuits.completeness import Completeness, NodeTest, completeness, minimality
from monosema.circuits.contrast import Contrast, Contrasts, contrasts
from monosema.circuits.contributions import contributions, exchanged
from monosema.circuits.faithfulness import SHARES, Curve, Trial, curve, random_curve, sizes_of, smallest, trial_of
from monosema.circuits.graph import Graph, Kind, Node, Reader, component_graph
from monosema.circuits.metrics import (
    LogitDifference,
    Metric,
    NegativeDivergence,
    ProbabilityDifference,
    last_logits,
    metric_of,
)
from monosema.circuits.running import circuit_logits, circuit_metrics, end_metrics
from monosema.circuits.scores import Agreement, EdgeScores, NodeScores, Provenance, agreement
from monosema.circuits.shown import Kept, ShownEdge, ShownGraph, ShownNode, show_circuit
from monosema.circuits.specificity import Matrix, specificity
from monosema.circuits.stability import Stability, jaccard, stability
from monosema.circuits.testing import Tested, Tester

__all__ = [
    "ABLATIONS",
    "SHARES",
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
    "Graph",
    "Interchanged",
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
    "ProbabilityDifference",
    "Provenance",
    "Reader",
    "Resample",
    "ShownEdge",
    "ShownGraph",
    "ShownNode",
    "Stability",
    "Subspace",
    "Tested",
    "Tester",
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
    "jaccard",
    "last_logits",
    "metric_of",
    "minimality",
    "random_curve",
    "register_ablation",
    "show_circuit",
    "sizes_of",
    "smallest",
    "specificity",
    "stability",
    "swapped",
    "trial_of",
]
