"""Circuits: what causes an answer, by exchanging parts of a computation, judged beside chance."""

from __future__ import annotations

from monosema.circuits.ablations import ABLATIONS, Ablation, Mean, Resample, Zero, ablation_named, register_ablation
from monosema.circuits.alignment import Alignment, AlignmentConfig, Interchanged, Subspace, align, swapped
from monosema.circuits.attribution_graph import GraphConfig, PromptGraph, attribution_graph, graph_of
from monosema.circuits.circuit import Circuit
from monosema.circuits.completeness import Completeness, NodeTest, completeness, minimality
from monosema.circuits.contrast import Contrast, Contrasts, contrasts
from monosema.circuits.contributions import contributions, exchanged
from monosema.circuits.debugging import Culprit, Debugged, debug, show_debugged
from monosema.circuits.dot import to_dot
from monosema.circuits.faithfulness import SHARES, Curve, Trial, curve, random_curve, sizes_of, smallest, trial_of
from monosema.circuits.feature_circuits import (
    FeatureNode,
    FeatureNodes,
    FeatureScores,
    FeatureTrial,
    exact_effects,
    feature_curve,
    feature_metrics,
    feature_scores,
)
from monosema.circuits.feature_finding import FeatureFound, find_features
from monosema.circuits.finding import FindConfig, Found, find, prompts_of, score_edges
from monosema.circuits.folder import read_circuit, write_circuit
from monosema.circuits.graph import Graph, Kind, Node, Reader, component_graph
from monosema.circuits.graph_checks import GraphChecks, check_graph
from monosema.circuits.graph_files import show_graph, to_circuit_tracer
from monosema.circuits.influence import GraphScores, Pruned, prune, score_graph
from monosema.circuits.judging import TESTS, Judgement, judge, require_skill, say
from monosema.circuits.latent_parts import LatentTrial
from monosema.circuits.memory import MEMORY_MB, pass_memory
from monosema.circuits.methods import METHODS, Method, Problem, method_named, register_method
from monosema.circuits.metrics import (
    LogitDifference,
    Metric,
    NegativeDivergence,
    ProbabilityDifference,
    last_logits,
    metric_of,
)
from monosema.circuits.optimal import Optimal
from monosema.circuits.parts import PartFigures, PartTrial
from monosema.circuits.patching import Patching, patching
from monosema.circuits.paths import mediation, path_effects
from monosema.circuits.places import PLACES, Places, Positions, register_places
from monosema.circuits.replacement import Replacement
from monosema.circuits.running import circuit_logits, circuit_metrics, end_metrics
from monosema.circuits.scores import Agreement, EdgeScores, NodeScores, Provenance, agreement
from monosema.circuits.shown import Kept, ShownEdge, ShownGraph, ShownNode, show_circuit
from monosema.circuits.specificity import Matrix, own_edges, specificity
from monosema.circuits.stability import Stability, jaccard, stability
from monosema.circuits.tables import PatchConfig, PatchTable, patch_table
from monosema.circuits.units import Ranked, rank_latents, rank_neurons
from monosema.circuits.verification import Verification, VerifiedEdge, verify
from monosema.circuits.wrong_answers import TakenOut, WrongAnswers, debug_task

__all__ = [
    "ABLATIONS",
    "MEMORY_MB",
    "METHODS",
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
    "Culprit",
    "Curve",
    "Debugged",
    "EdgeScores",
    "FeatureFound",
    "FeatureNode",
    "FeatureNodes",
    "FeatureScores",
    "FeatureTrial",
    "FindConfig",
    "Found",
    "Graph",
    "GraphChecks",
    "GraphConfig",
    "GraphScores",
    "Interchanged",
    "Judgement",
    "Kept",
    "Kind",
    "LatentTrial",
    "LogitDifference",
    "Matrix",
    "Mean",
    "Method",
    "Metric",
    "NegativeDivergence",
    "Node",
    "NodeScores",
    "NodeTest",
    "Optimal",
    "PartFigures",
    "PartTrial",
    "PatchConfig",
    "PatchTable",
    "Patching",
    "Places",
    "Positions",
    "ProbabilityDifference",
    "Problem",
    "PromptGraph",
    "Provenance",
    "Pruned",
    "Ranked",
    "Reader",
    "Replacement",
    "Resample",
    "ShownEdge",
    "ShownGraph",
    "ShownNode",
    "Stability",
    "Subspace",
    "TakenOut",
    "Trial",
    "Verification",
    "VerifiedEdge",
    "WrongAnswers",
    "Zero",
    "ablation_named",
    "agreement",
    "align",
    "attribution_graph",
    "check_graph",
    "circuit_logits",
    "circuit_metrics",
    "completeness",
    "component_graph",
    "contrasts",
    "contributions",
    "curve",
    "debug",
    "debug_task",
    "end_metrics",
    "exact_effects",
    "exchanged",
    "feature_curve",
    "feature_metrics",
    "feature_scores",
    "find",
    "find_features",
    "graph_of",
    "jaccard",
    "judge",
    "last_logits",
    "mediation",
    "method_named",
    "metric_of",
    "minimality",
    "own_edges",
    "pass_memory",
    "patch_table",
    "patching",
    "path_effects",
    "prompts_of",
    "prune",
    "random_curve",
    "rank_latents",
    "rank_neurons",
    "read_circuit",
    "register_ablation",
    "register_method",
    "register_places",
    "require_skill",
    "say",
    "score_edges",
    "score_graph",
    "show_circuit",
    "show_debugged",
    "show_graph",
    "sizes_of",
    "smallest",
    "specificity",
    "stability",
    "swapped",
    "to_circuit_tracer",
    "to_dot",
    "trial_of",
    "verify",
    "write_circuit",
]
