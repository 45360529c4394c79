"""Intruder: can a judge tell the one passage that does not belong? It asks how clear a latent is, not an explanation.

A judge sees several passages in which the tokens that activate the latent are marked, and one in which the latent is
inactive and as many tokens are marked at random. The score is the share of intruders found, with Wilson's interval; a
guess finds one in as many as there are passages (the control). After Paulo and Belrose (2025, arXiv 2507.08473); as
there, the passages of a question are of one tenth of the activations where there are enough of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray
from pydantic import Field

from monosema.atlas import Explanation
from monosema.core import Config, numpy_generator, wilson
from monosema.interpretation import prompts
from monosema.interpretation.samples import Samples
from monosema.interpretation.scores import ScoreTable
from monosema.interpretation.scoring import ScorerInfo, ScoringSession
from monosema.interpretation.wording import highlighted
from monosema.llm import Request
from monosema.models import Tokenizer


class IntruderConfig(Config):
    """Questions to the judge."""

    passages: int = Field(5, ge=3)
    """Passages in a question, the intruder included."""
    questions: int = Field(10, gt=0)
    """Questions per latent."""
    temperature: float | None = Field(None, ge=0, le=2)
    """Sampling temperature; None leaves it to the provider."""


class Intruder:
    """Scores features, not explanations, by their intruders; see the module and `Scorer`."""

    info = ScorerInfo(
        "intruder",
        "which of five passages does not belong? (about the feature, not an explanation)",
        chance=0.2,
        unit="share of intruders found",
        rank=60,
        asks=True,
        shuffles=False,
    )

    def __init__(self, config: IntruderConfig | None = None) -> None:
        self.config = config or IntruderConfig()
        self.info = replace(self.info, chance=1 / self.config.passages)

    def score(self, explanations: Mapping[int, Explanation], session: ScoringSession) -> list[ScoreTable]:
        """Return the share of intruders found. The empty answer has none: it would only repeat the feature's score."""
        if not any(explanation.text for explanation in explanations.values()):
            return []
        assert session.client is not None
        assert session.tokenizer is not None
        samples, entries = session.samples, session.passages(explanations)
        questions = intruder_questions(
            samples, entries, session.tokenizer, self.config, session.seed, session.spare_tokens
        )
        found: dict[int, list[bool]] = {latent: [] for latent, _, _ in questions}
        replies = session.client.complete([request for _, _, request in questions])
        for (latent, at, _), reply in zip(questions, replies, strict=True):
            session.stats.add(latent, reply)
            if reply.ok and isinstance(reply.parsed, dict):
                found[latent].append(reply.parsed["passage"] == at)
        absent = {latent: "too few passages" for latent in explanations if latent not in found}
        absent |= {latent: "no question was answered" for latent, answers in found.items() if not answers}
        estimates = {latent: wilson(sum(answers), len(answers)) for latent, answers in found.items() if answers}
        return [self.info.table(estimates, absent)]


def intruder_questions(
    samples: Samples,
    entries: Int[np.ndarray, " n"],
    tokenizer: Tokenizer,
    config: IntruderConfig,
    seed: int = 0,
    spare_tokens: int = 32,
) -> list[tuple[int, int, Request]]:
    """Return (latent, number of the intruder, request) for all questions; latents with too few passages have none."""
    made = []
    for latent in samples.latents.tolist():
        own = entries[samples.latents[samples.row[entries]] == latent]
        active, inactive = own[samples.active[own]], own[~samples.active[own]]
        if len(active) < config.passages - 1 or not len(inactive):
            continue
        draw = numpy_generator(seed, "intruder", latent)
        for number in range(config.questions):
            shown = _same_kind(samples, active, config.passages - 1, number, draw)
            marks = [samples.activations[entry] > 0 for entry in shown]
            intruder = int(draw.choice(inactive))
            length = int((samples.ids[samples.passage[intruder]] >= 0).sum())
            arbitrary = np.zeros(samples.ids.shape[1], np.bool_)
            count = min(max(int(draw.choice(marks).sum()), 1), length)
            arbitrary[draw.choice(length, count, replace=False)] = True
            at = int(draw.integers(config.passages))
            texts = [_text(samples, e, mark, tokenizer) for e, mark in zip(shown, marks, strict=True)]
            texts.insert(at, _text(samples, intruder, arbitrary, tokenizer))
            request = Request(
                messages=prompts.find_intruder(texts),
                max_tokens=8 + spare_tokens,
                temperature=config.temperature,
                response_schema=prompts.choice_schema(config.passages),
            )
            made.append((latent, at + 1, request))
    return made


def _same_kind(
    samples: Samples, active: NDArray[np.int64], count: int, number: int, draw: np.random.Generator
) -> list[int]:
    """Draw passages of one kind, each kind in turn; of any kind where none has enough."""
    kinds, counts = np.unique(samples.kind[active], return_counts=True)
    rich = kinds[counts >= count]
    among = active[samples.kind[active] == rich[number % len(rich)]] if len(rich) else active
    return [int(entry) for entry in draw.choice(among, count, replace=False)]


def _text(samples: Samples, entry: int, marks: NDArray[np.bool_], tokenizer: Tokenizer) -> str:
    ids = samples.tokens_of(entry)
    return highlighted(tokenizer.tokens(ids), marks[: len(ids)])
