"""The causal experiments of Cunningham et al. 2023 (arXiv:2309.08600), each whole: it trains, measures and answers."""

from __future__ import annotations

from monosema.runs.experiments import align, erasure, ioi, perplexity, shift
from monosema.runs.experiments.experiment import (
    EXPERIMENTS,
    Experiment,
    ExperimentConfig,
    Work,
    experiment_named,
    register_experiment,
    run_experiment,
)
from monosema.runs.experiments.trained import TrainingChoice

__all__ = [
    "EXPERIMENTS",
    "Experiment",
    "ExperimentConfig",
    "TrainingChoice",
    "Work",
    "align",
    "erasure",
    "experiment_named",
    "ioi",
    "perplexity",
    "register_experiment",
    "run_experiment",
    "shift",
]
