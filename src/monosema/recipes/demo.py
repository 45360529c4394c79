"""The built-in recipe: the whole walk on the embedded model, in minutes on two cores."""

from __future__ import annotations

from monosema.activations import CaptureConfig
from monosema.atlas import AtlasConfig
from monosema.data import TextConfig
from monosema.dictionaries import dictionary_config
from monosema.evaluation import EvaluationConfig
from monosema.runs import CorpusChoice, ModelChoice, Recipe, ReportChoice, StreamChoice
from monosema.training import TrainConfig


def demo() -> Recipe:
    """Text → tokens → activations → dictionary → evaluation → atlas → report."""
    return Recipe(
        name="demo",
        site="3.resid_post",
        model=ModelChoice(name="specimen"),
        corpus=CorpusChoice(source="builtin"),
        text=TextConfig(tokens=1_000_000),
        capture=CaptureConfig(),
        dictionary=dictionary_config("topk", n_latents=4096, k=32),
        stream=StreamChoice(batch=4096, passes=2),
        training=TrainConfig(),
        evaluation=EvaluationConfig(),
        evaluation_tokens=40_000,
        atlas=AtlasConfig(),
        atlas_tokens=500_000,
        report=ReportChoice(question="ioi"),
    )
