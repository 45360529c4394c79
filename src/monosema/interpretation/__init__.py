"""Interpretation: what features mean, as explained by people, rules, or language models, and how well that predicts."""

from __future__ import annotations

from monosema.interpretation.agreement import Agreement, agreement
from monosema.interpretation.comparison import Contender, compare_dictionaries
from monosema.interpretation.controls import InterpretSettings, random_latents, rows_at
from monosema.interpretation.explainers.language_model import LanguageModelExplainer, LanguageModelExplainerConfig
from monosema.interpretation.explainers.self_explanation import SelfExplainer, SelfExplainerConfig
from monosema.interpretation.explaining import (
    EXPLAINERS,
    ExplainConfig,
    by_latent,
    check_explainers,
    explain_latents,
    register_explainer,
)
from monosema.interpretation.model_explanations import (
    choose_latents,
    draw_chosen,
    explain_itself,
    explain_live,
    parse_explanations,
    send_explanations,
)
from monosema.interpretation.model_scores import ScoreOptions, score_with
from monosema.interpretation.pipeline import (
    Blocks,
    damage_of_explanations,
    damage_of_scores,
    explain_atlas,
    score_atlas,
    scores_path,
)
from monosema.interpretation.protocol import BASELINE, Explainer, Predictor, Subject
from monosema.interpretation.rules import RulePredictor
from monosema.interpretation.samples import Samples
from monosema.interpretation.sampling import SampleConfig, draw_samples
from monosema.interpretation.score_batches import parse_scores, send_scores
from monosema.interpretation.scorers import SCORERS, ScoringConfig, make_scorers, register_scorer
from monosema.interpretation.scores import ScoreTable, atlas_scores
from monosema.interpretation.scoring import Scorer, ScorerInfo, ScoringSession
from monosema.interpretation.simulator import Simulator, SimulatorConfig

__all__ = [
    "BASELINE",
    "EXPLAINERS",
    "SCORERS",
    "Agreement",
    "Blocks",
    "Contender",
    "ExplainConfig",
    "Explainer",
    "InterpretSettings",
    "LanguageModelExplainer",
    "LanguageModelExplainerConfig",
    "Predictor",
    "RulePredictor",
    "SampleConfig",
    "Samples",
    "ScoreOptions",
    "ScoreTable",
    "Scorer",
    "ScorerInfo",
    "ScoringConfig",
    "ScoringSession",
    "SelfExplainer",
    "SelfExplainerConfig",
    "Simulator",
    "SimulatorConfig",
    "Subject",
    "agreement",
    "atlas_scores",
    "by_latent",
    "check_explainers",
    "choose_latents",
    "compare_dictionaries",
    "damage_of_explanations",
    "damage_of_scores",
    "draw_chosen",
    "draw_samples",
    "explain_atlas",
    "explain_itself",
    "explain_latents",
    "explain_live",
    "make_scorers",
    "parse_explanations",
    "parse_scores",
    "random_latents",
    "register_explainer",
    "register_scorer",
    "rows_at",
    "score_atlas",
    "score_with",
    "scores_path",
    "send_explanations",
    "send_scores",
]
