"""The judgement of methods over the prompts of a task: one test for all, beside chance.

Each method explains every prompt once; the same scores are then tested under every removal. Intervals draw prompts, of
the differences to random orders on the same prompt, so they are paired.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from monosema.attribution.faithfulness import MEASURES, RANDOM, faithfulness
from monosema.attribution.game import MEMORY_MB, Game
from monosema.attribution.methods import Method, attribute
from monosema.attribution.pairs import Pair
from monosema.attribution.players import Tokens, tokens_of
from monosema.attribution.question import Question, question_of
from monosema.core import Config, Estimate, InputError, bootstrap_mean, wilson
from monosema.models import LanguageModel

TOP = 2
"""Players of the largest scores among which the decisive word is looked for."""
DECORRELATED = 0.2
"""Rank correlation below which a map is held to depend on the weights (Adebayo et al. 2018, arXiv:1810.03292)."""


class JudgeConfig(Config):
    """Settings of the judgement."""

    segments: str = "tokens"
    """Players: tokens, words or sentences."""
    removal: str | None = None
    """Stand-in for absent players where methods explain; None for the twin."""
    tests: tuple[str, ...] = ("twin", "mean")
    """Stand-ins for them where the scores are tested."""
    random: int = RANDOM
    """Random orders that each figure is held against."""
    sanity: int = 32
    """Prompts that a model with weights drawn anew is asked too; 0 for none."""
    memory_mb: float = MEMORY_MB
    """Memory that the rows of one pass may take."""
    seed: int = 0
    """Seed of all draws."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A method's figures over all prompts.

    Attributes:
        method: its name.
        gains: by removal and measure, the mean of its figure less that of random orders; above 0 is better than chance.
        reversed: the same of its order backwards.
        found: share of prompts whose decisive word is among the players of the largest scores.
        sanity: rank correlation of its scores with those of a model with weights drawn anew; the mean embedding stands
            for absent players of both, as under a twin all that is equal scores 0 in either. None where it was not
            measured.
        gap: share of prompts whose gap is at most 1 % of the difference that is divided; None where it has no gap.
        seconds: mean time a prompt.
    """

    method: str
    gains: Mapping[str, Mapping[str, Estimate]]
    reversed: Mapping[str, Mapping[str, Estimate]]
    found: Estimate | None
    sanity: Estimate | None
    gap: Estimate | None
    seconds: float

    @property
    def ignores_weights(self) -> bool:
        """True where its maps of a model with random weights are like those of the trained one."""
        return self.sanity is not None and abs(self.sanity.value) >= DECORRELATED


@dataclass(frozen=True, kw_only=True, eq=False)
class Judgement:
    """Methods, judged on the same prompts.

    Attributes:
        task, n: what they were judged on, and the number of prompts.
        removal: what stood for absent players where methods explained.
        methods: the figures of each.
        left_out: methods that have no definition here, with the reason.
        chance: share of prompts whose decisive word would be among as many players drawn at random.
        between_removals: Kendall's τ of the methods' ranking by each measure, between pairs of removals.
        agreement: mean over prompts of Kendall's τ between two methods' scores.
    """

    task: str
    n: int
    removal: str
    methods: tuple[Judged, ...]
    left_out: Mapping[str, str]
    chance: float
    between_removals: Mapping[str, float]
    agreement: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "task": self.task,
            "n": self.n,
            "removal": self.removal,
            "chance": self.chance,
            "left_out": dict(self.left_out),
            "between_removals": dict(self.between_removals),
            "agreement": dict(self.agreement),
            "methods": [_plain(one) for one in self.methods],
        }


def judge(
    model: LanguageModel,
    task: str,
    pairs: Sequence[Pair],
    methods: Sequence[Method],
    config: JudgeConfig | None = None,
    said: Callable[[str], None] = lambda _: None,
) -> Judgement:
    """Explain all prompts by all methods, and test the scores.

    Raises:
        InputError: fewer than two prompts, or a removal or players that there are not.
    """
    config = config or JudgeConfig()
    if len(pairs) < 2:
        raise InputError(f"{len(pairs)} prompts can be judged on, and an interval needs 2 or more.")
    usable, left_out = _usable(model, pairs[0], methods, config)
    prompts = []
    for index, pair in enumerate(pairs):
        said(f"{index} of {len(pairs)} prompts")
        prompts.append(_prompt(model, pair, usable, config))
    said("a model with weights drawn anew")
    sanity = _sanity(model, pairs[: config.sanity], usable, config)
    judged = tuple(_judged(method.name, i, prompts, config, sanity) for i, method in enumerate(usable))
    return Judgement(
        task=task,
        n=len(pairs),
        removal=prompts[0].removal,
        methods=judged,
        left_out=left_out,
        chance=float(np.mean([prompt.chance for prompt in prompts])),
        between_removals=_between(judged, config.tests),
        agreement=_agreement([method.name for method in usable], prompts),
    )


@dataclass(frozen=True, eq=False)
class _Prompt:
    """Measurements on one prompt: scores by method, and gains by removal."""

    removal: str
    scores: list[Float[Tensor, " n"]]
    gaps: list[float | None]
    seconds: list[float]
    gains: dict[str, Float[Tensor, "methods measures"]]
    reverses: dict[str, Float[Tensor, "methods measures"]]
    found: list[bool]
    chance: float


def _players(model: LanguageModel, question: Question, config: JudgeConfig, removal: str | None) -> Tokens:
    return tokens_of(model, question, config.segments, removal)


def _usable(
    model: LanguageModel, pair: Pair, methods: Sequence[Method], config: JudgeConfig
) -> tuple[list[Method], dict[str, str]]:
    question = question_of(pair, model)
    game = Game(model, question, _players(model, question, config, config.removal), config.memory_mb)
    usable, left_out = [], {}
    for method in methods:
        try:
            attribute(game, method, config.seed)
            usable.append(method)
        except InputError as error:
            left_out[method.name] = str(error)
    if not usable:
        raise InputError(next(iter(left_out.values()), "No method was named."))
    return usable, left_out


def _prompt(model: LanguageModel, pair: Pair, methods: Sequence[Method], config: JudgeConfig) -> _Prompt:
    question = question_of(pair, model)
    players = _players(model, question, config, config.removal)
    game = Game(model, question, players, config.memory_mb)
    found = [attribute(game, method, config.seed) for method in methods]
    scores = [one.scores for one in found]
    gains, reverses = {}, {}
    for removal in config.tests:
        test = game.among(_players(model, question, config, removal))
        figures = faithfulness(test, scores, random=config.random, seed=config.seed)
        gains[removal], reverses[removal] = figures.orders, figures.reverses
    decisive = [any(pair.clean[at] != pair.corrupt[at] for at in group) for group in players.groups]
    within = torch.tensor(decisive)
    top = min(TOP, len(decisive))
    return _Prompt(
        removal=players.removal,
        scores=scores,
        gaps=[None if one.gap is None else abs(one.gap) / max(abs(one.total), 1e-9) for one in found],
        seconds=[one.seconds for one in found],
        gains=gains,
        reverses=reverses,
        found=[bool(within[one.topk(top).indices].any()) for one in scores],
        chance=_hit_by_chance(len(decisive), sum(decisive), top),
    )


def _hit_by_chance(n: int, right: int, top: int) -> float:
    """Probability that one of `right` among n is within `top` drawn without replacement."""
    missed = 1.0
    for draw in range(top):
        missed *= max(n - right - draw, 0) / (n - draw)
    return 1 - missed


def _sanity(
    model: LanguageModel,
    pairs: Sequence[Pair],
    methods: Sequence[Method],
    config: JudgeConfig,
) -> list[list[float]]:
    """Rank correlations, by method and prompt, with the scores of a model with weights drawn anew."""
    from scipy.stats import spearmanr

    from monosema.models.randomised import randomised

    if not pairs:
        return [[] for _ in methods]
    other, found = randomised(model, config.seed), [list[float]() for _ in methods]
    for pair in pairs:
        games = []
        for one in (model, other):
            question = question_of(pair, one)
            games.append(Game(one, question, _players(one, question, config, "mean"), config.memory_mb))
        for index, method in enumerate(methods):
            first, second = (attribute(game, method, config.seed).scores for game in games)
            if float(first.std()) > 0 and float(second.std()) > 0:
                found[index].append(float(spearmanr(first, second)[0]))
    return found


def _judged(
    name: str, index: int, prompts: Sequence[_Prompt], config: JudgeConfig, sanity: Sequence[Sequence[float]]
) -> Judged:
    def table(of: Callable[[_Prompt], Mapping[str, Tensor]]) -> dict[str, dict[str, Estimate]]:
        return {
            removal: {
                measure: bootstrap_mean([float(of(prompt)[removal][index, column]) for prompt in prompts], config.seed)
                for column, measure in enumerate(MEASURES)
            }
            for removal in config.tests
        }

    gaps = [prompt.gaps[index] for prompt in prompts]
    drawn = sanity[index]
    return Judged(
        method=name,
        gains=table(lambda prompt: prompt.gains),
        reversed=table(lambda prompt: prompt.reverses),
        found=wilson(sum(prompt.found[index] for prompt in prompts), len(prompts)),
        sanity=bootstrap_mean(drawn, config.seed) if len(drawn) > 1 else None,
        gap=None if None in gaps else wilson(sum(gap <= 0.01 for gap in gaps if gap is not None), len(gaps)),
        seconds=float(np.mean([prompt.seconds[index] for prompt in prompts])),
    )


def _between(judged: Sequence[Judged], tests: Sequence[str]) -> dict[str, float]:
    """Kendall's τ of the ranking of methods; none for fewer than three methods."""
    from scipy.stats import kendalltau

    if len(judged) < 3:
        return {}

    def values(removal: str, measure: str) -> list[float]:
        return [one.gains[removal][measure].value for one in judged]

    return {
        f"{measure}, {first} and {second}": float(kendalltau(values(first, measure), values(second, measure))[0])
        for first, second in itertools.combinations(tests, 2)
        for measure in MEASURES
    }


def agreement(first: Float[Tensor, " n"], second: Float[Tensor, " n"]) -> float | None:
    """Return Kendall's τ between two methods' scores of the same players; None where all scores of one are equal.

    Scores below 1e-5 of a method's largest are equal: words that the twin shares score 0, and rounding is no order.
    """
    from scipy.stats import kendalltau

    told = [scores.where(scores.abs() > 1e-5 * scores.abs().max(), 0.0) for scores in (first, second)]
    found = float(kendalltau(*told)[0])
    return found if math.isfinite(found) else None


def _agreement(names: Sequence[str], prompts: Sequence[_Prompt]) -> dict[str, float]:
    """Mean over prompts of the agreement of two methods."""
    found = {}
    for (i, first), (j, second) in itertools.combinations(enumerate(names), 2):
        given = [agreement(prompt.scores[i], prompt.scores[j]) for prompt in prompts]
        if values := [value for value in given if value is not None]:
            found[f"{first} and {second}"] = float(np.mean(values))
    return found


def _plain(one: Judged) -> dict[str, Any]:
    def table(figures: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Any]:
        return {removal: {name: value.to_dict() for name, value in row.items()} for removal, row in figures.items()}

    return {
        "method": one.method,
        "gains": table(one.gains),
        "reversed": table(one.reversed),
        "found": None if one.found is None else one.found.to_dict(),
        "sanity": None if one.sanity is None else one.sanity.to_dict(),
        "ignores_weights": one.ignores_weights,
        "gap": None if one.gap is None else one.gap.to_dict(),
        "seconds": one.seconds,
    }
