"""Attribution: what in the input, and what in the model, an answer is owed to, by many methods under one test.

`ask` makes a question of a prompt, `tokens_of` its players, `Game` the model's answers with some of them absent, and
`attribute` divides the answer among them. `METHODS` is an open list.
"""

from __future__ import annotations

from monosema.attribution.faithfulness import MEASURES, Faithfulness, faithfulness
from monosema.attribution.game import MEMORY_MB, Game
from monosema.attribution.judging import JudgeConfig, Judged, Judgement, agreement, judge
from monosema.attribution.methods import METHODS, Method, Scores, attribute, methods_named, register_method
from monosema.attribution.pairs import Pair, read_pair
from monosema.attribution.players import Pass, Players, Tokens, tokens_of
from monosema.attribution.question import Completion, Contrast, Question, Target, Token, ask, question_of
from monosema.attribution.removals import REMOVALS, Removal
from monosema.attribution.result import Attribution
from monosema.attribution.tasks import first_question, named_task, task_pairs
from monosema.attribution.units import MOST, Latents, Units, heads_of, latents_of, neurons_of, strongest

__all__ = [
    "MEASURES",
    "MEMORY_MB",
    "METHODS",
    "MOST",
    "REMOVALS",
    "Attribution",
    "Completion",
    "Contrast",
    "Faithfulness",
    "Game",
    "JudgeConfig",
    "Judged",
    "Judgement",
    "Latents",
    "Method",
    "Pair",
    "Pass",
    "Players",
    "Question",
    "Removal",
    "Scores",
    "Target",
    "Token",
    "Tokens",
    "Units",
    "agreement",
    "ask",
    "attribute",
    "faithfulness",
    "first_question",
    "heads_of",
    "judge",
    "latents_of",
    "methods_named",
    "named_task",
    "neurons_of",
    "question_of",
    "read_pair",
    "register_method",
    "strongest",
    "task_pairs",
    "tokens_of",
]
