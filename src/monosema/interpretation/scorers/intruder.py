"""Intruder: can a judge tell the one passage that does not belong? It asks how clear a latent is, not an explanation.

A judge sees several passages in which the tokens that activate the latent are marked, and one in which the latent is
inactive and as many tokens are marked at random. The score is the share of intruders found, with Wilson's interval; a
guess finds one in as many as there are passages (the control). After Paulo and Belrose (2025, arXiv 2507.08473); as
there, the passages of a question are of one tenth of the activations where there are enough of them.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray
from pydantic import Field

from monosema.core import Config, numpy_generator, wilson
from monosema.interpretation import prompts
from monosema.interpretation.samples import Samples
from monosema.interpretation.scorers.scored import Scored
from monosema.interpretation.wording import highlighted
from monosema.llm import Client, Request, RequestStats
from monosema.models import Tokenizer


class IntruderConfig(Config):
    """How the judge is asked."""

    passages: int = Field(5, ge=3)
    """Passages in a question, the intruder included."""
    questions: int = Field(10, gt=0)
    """Questions a latent."""
    spare_tokens: int = Field(32, ge=0)
    """Tokens that a reply may have beyond its answer. Models that reason before they answer need thousands."""
    temperature: float | None = Field(None, ge=0, le=2)
    """Sampling temperature; None leaves it to the provider."""
    seed: int = 0
    """Seed of what is shown, and where."""


def intruder_requests(
    samples: Samples, entries: Int[np.ndarray, " n"], tokenizer: Tokenizer, config: IntruderConfig
) -> list[tuple[int, int, Request]]:
    """(latent, the intruder's number, what is asked) for all questions; latents with too few passages have none."""
    made = []
    for latent in samples.latents.tolist():
        own = entries[samples.latents[samples.row[entries]] == latent]
        active, inactive = own[samples.active[own]], own[~samples.active[own]]
        if len(active) < config.passages - 1 or not len(inactive):
            continue
        draw = numpy_generator(config.seed, "intruder", latent)
        for number in range(config.questions):
            shown = _alike(samples, active, config.passages - 1, number, draw)
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
                max_tokens=8 + config.spare_tokens,
                temperature=config.temperature,
                response_schema=prompts.choice_schema(config.passages),
            )
            made.append((latent, at + 1, request))
    return made


def score_intruder(
    client: Client,
    samples: Samples,
    entries: Int[np.ndarray, " n"],
    tokenizer: Tokenizer,
    config: IntruderConfig | None = None,
    tally: RequestStats | None = None,
) -> Scored:
    """Score latents by how well an odd one out is told from their passages.

    Args:
        client: the judge.
        entries: test entries of the latents that are looked at.
        tokenizer: of their model.
        tally: counts requests, tokens and failures.
    """
    config, tally = config or IntruderConfig(), RequestStats() if tally is None else tally
    questions = intruder_requests(samples, entries, tokenizer, config)
    found: dict[int, list[bool]] = {latent: [] for latent, _, _ in questions}
    replies = client.complete([request for _, _, request in questions])
    for (latent, at, _), reply in zip(questions, replies, strict=True):
        tally.add(latent, reply)
        if reply.ok and isinstance(reply.parsed, dict):
            found[latent].append(reply.parsed["passage"] == at)
    looked_at = np.unique(samples.latents[samples.row[entries]]).tolist()
    absent = {latent: "too few passages" for latent in looked_at if latent not in found}
    absent |= {latent: "no question was answered" for latent, answers in found.items() if not answers}
    estimates = {latent: wilson(sum(answers), len(answers)) for latent, answers in found.items() if answers}
    return Scored("intruder", estimates, dict.fromkeys(estimates, 1 / config.passages), absent)


def _alike(
    samples: Samples, active: NDArray[np.int64], count: int, number: int, draw: np.random.Generator
) -> list[int]:
    """Passages of one kind, each kind in turn; of any where no kind has enough."""
    kinds, counts = np.unique(samples.kind[active], return_counts=True)
    rich = kinds[counts >= count]
    among = active[samples.kind[active] == rich[number % len(rich)]] if len(rich) else active
    return [int(entry) for entry in draw.choice(among, count, replace=False)]


def _text(samples: Samples, entry: int, marks: NDArray[np.bool_], tokenizer: Tokenizer) -> str:
    ids = samples.ids[samples.passage[entry]]
    ids = ids[ids >= 0]
    return highlighted(tokenizer.tokens(ids.tolist()), marks[: len(ids)])
