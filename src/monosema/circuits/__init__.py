"""Circuits: what causes an answer, by exchanging parts of a computation, judged beside chance."""

from __future__ import annotations

from monosema.circuits.ablations import ABLATIONS, Ablation, Mean, Resample, Zero, ablation_named, register_ablation
from monosema.circuits.alignment import Alignment, AlignmentConfig, Interchanged, Subspace, align, swapped
from monosema.circuits.circuit import Circuit
from monosema.circuits.contrast import Contrast, Contrasts, contrasts
from monosema.circuits.contributions import contributions, exchanged
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

__all__ = [
    "ABLATIONS",
    "Ablation",
    "Agreement",
    "Alignment",
    "AlignmentConfig",
    "Circuit",
    "Contrast",
    "Contrasts",
    "EdgeScores",
    "Graph",
    "Interchanged",
    "Kept",
    "Kind",
    "LogitDifference",
    "Mean",
    "Metric",
    "NegativeDivergence",
    "Node",
    "NodeScores",
    "ProbabilityDifference",
    "Provenance",
    "Reader",
    "Resample",
    "ShownEdge",
    "ShownGraph",
    "ShownNode",
    "Subspace",
    "Zero",
    "ablation_named",
    "agreement",
    "align",
    "circuit_logits",
    "circuit_metrics",
    "component_graph",
    "contrasts",
    "contributions",
    "end_metrics",
    "exchanged",
    "last_logits",
    "metric_of",
    "register_ablation",
    "show_circuit",
    "swapped",
]
