"""Explanations in words, by a language model that is shown where a latent is active.

After Bills et al. (2023) the model sees passages token by token with activations as whole numbers from 0 to 10; after
Paulo et al. (2024, arXiv 2410.13928) it sees them with active tokens marked. Departures: besides the strongest
passages there are some of lower quantiles, and similar ones in which the latent is inactive, so that an explanation
must be neither too narrow nor too wide; there are no worked examples of other latents; and the answer is structured.
Small models can't follow that: in the brief form they see answered examples, and short excerpts of active passages
alone.

An answer of null ("nothing that they share"), a refusal, and anything that does not fit the schema are failures: they
are counted, and the latent has no explanation. Nothing that was not answered as an explanation becomes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Literal

import numpy as np
from pydantic import Field

from monosema.atlas import Explanation
from monosema.atlas.feature import Identity
from monosema.core import Config, Progress
from monosema.interpretation import prompts
from monosema.interpretation.samples import Passage, Sample, Samples
from monosema.interpretation.wording import escape, highlighted, levels, token_lines
from monosema.llm import Client, Message, Reply, Request, RequestStats
from monosema.models import Tokenizer

Form = Literal["activations", "highlighted", "brief"]
"""Form of the passages."""

_BEFORE, _AFTER = 10, 5
_NEAR = ("inactive near decoder", "inactive near firing", "inactive")


class LanguageModelExplainerConfig(Config):
    """The passages that the model is shown, and the form of the request."""

    form: Form = "activations"
    """Tokens with activations from 0 to 10 (Bills et al. 2023); marked tokens (Paulo et al. 2024); or, for models of
    less than a billion parameters, few words around the marked ones, these named once more, and answered examples."""
    top: int = Field(5, gt=0)
    """Strongest passages; 5 as in arXiv 2309.08600."""
    quantiles: int = Field(5, ge=0, le=10)
    """Passages from as many tenths of the activating passages, spread evenly."""
    contrastive: int = Field(5, ge=0)
    """Passages in which the latent is inactive: those where a near latent fires come first."""
    max_tokens: int = Field(512, gt=0)
    """Most tokens of an answer, hidden reasoning included; the cost cap counts on it."""
    temperature: float | None = Field(None, ge=0, le=2)
    """Sampling temperature; None leaves it to the provider, as some take none."""
    seed: int | None = None
    """Tells samples apart; another seed asks again."""

    @property
    def method(self) -> str:
        """The explainer's method, as the atlas names it."""
        return f"language model ({self.form})"


class LanguageModelExplainer:
    """See `Explainer`.

    Args:
        client: answers.
        tokenizer: of the model whose latents are explained.
        config: what is shown.

    Attributes:
        stats: requests, tokens and failures so far.
    """

    def __init__(
        self, client: Client, tokenizer: Tokenizer, config: LanguageModelExplainerConfig | None = None
    ) -> None:
        self.client, self.tokenizer = client, tokenizer
        self.config = config or LanguageModelExplainerConfig()
        self.stats = RequestStats()

    def explain(self, samples: Samples, progress: Progress | None = None) -> dict[int, Explanation]:
        """Ask for one explanation per latent; latents without a usable answer are left out."""
        requests = explanation_requests(samples, self.tokenizer, self.config)
        replies = self.client.complete(list(requests.values()), progress)
        identity = (self.client.model, self.config.method, self.client.model, prompts.VERSION)
        return read_explanations(dict(zip(requests, replies, strict=True)), identity, self.stats)


def explanation_requests(
    samples: Samples, tokenizer: Tokenizer, config: LanguageModelExplainerConfig
) -> dict[int, Request]:
    """Return the request about each latent; latents that are nowhere active on the train split have none."""
    taken = ((latent, samples.sample(latent, tokenizer)) for latent in samples.latents.tolist())
    return {latent: _request(sample, config) for latent, sample in taken if any(p.active for p in sample.train)}


def read_explanations(replies: Mapping[int, Reply], identity: Identity, stats: RequestStats) -> dict[int, Explanation]:
    """Return the explanations in replies, by latent; other replies are counted as failures."""
    explanations = {}
    for latent, reply in replies.items():
        stats.add(latent, reply)
        if not reply.ok:
            continue
        answer = reply.parsed.get("explanation") if isinstance(reply.parsed, dict) else None
        if text := " ".join(answer.split()) if isinstance(answer, str) else "":
            explanations[latent] = Explanation(*identity, text)
        else:
            stats.fail("no explanation found")
    return explanations


def _request(sample: Sample, config: LanguageModelExplainerConfig) -> Request:
    """Return the request about one latent; only the train split of its sample is read."""
    if config.form == "brief":
        excerpts = [_excerpt(passage) for passage in _shown(sample, config)[0]]
        words = dict.fromkeys(word for _, marked in excerpts for word in marked)
        messages = prompts.explain_briefly([text for text, _ in excerpts], list(words))
    else:
        messages = _whole(sample, config)
    return Request(
        messages=messages,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        seed=config.seed,
        response_schema=prompts.EXPLANATION_SCHEMA,
    )


def _excerpt(passage: Passage) -> tuple[str, list[str]]:
    """Return the text around the strongest token, with tokens above half its strength marked; and the marked words."""
    values = np.asarray(passage.activations)
    top = int(values.argmax())
    part = slice(max(0, top - _BEFORE), top + _AFTER + 1)
    tokens, marks = passage.tokens[part], values[part] > values[top] / 2
    stretches = groupby(zip(tokens, marks.tolist(), strict=True), lambda pair: pair[1])
    words = (escape("".join(token for token, _ in same).strip(" ")) for marked, same in stretches if marked)
    return highlighted(tokens, marks), [word for word in words if word]


def _whole(sample: Sample, config: LanguageModelExplainerConfig) -> tuple[Message, ...]:
    """Return a prompt with whole passages, active and inactive ones."""
    active, inactive = (
        [_written(p, sample.maximum, config.form) for p in passages] for passages in _shown(sample, config)
    )
    return prompts.explain(config.form, active, inactive)


def _shown(sample: Sample, config: LanguageModelExplainerConfig) -> tuple[list[Passage], list[Passage]]:
    """Choose active passages, the strongest first, and inactive ones, the nearest first; each text once."""
    active = sorted((p for p in sample.train if p.active), key=lambda p: (-max(p.activations), p.hash))
    strongest = [p for p in active if p.kind == "top"] or active
    chosen = {passage.hash: passage for passage in strongest[: config.top]}
    for tenth in np.linspace(9, 0, config.quantiles).round().astype(int):
        found = (p for p in active if p.kind == f"q{tenth}" and p.hash not in chosen)
        if (passage := next(found, None)) is not None:
            chosen[passage.hash] = passage
    near: dict[int, Passage] = {}
    kinds = [[p for p in sample.train if p.kind == kind and not p.active] for kind in _NEAR]
    for rank in range(max(map(len, kinds), default=0)):
        for passages in kinds[:2]:
            near |= {p.hash: p for p in passages[rank : rank + 1]}
    near |= {p.hash: p for p in kinds[2]}
    shown = sorted(chosen.values(), key=lambda p: (-max(p.activations), p.hash))
    return shown, list(near.values())[: config.contrastive]


def _written(passage: Passage, maximum: float, form: str) -> str:
    if form == "highlighted":
        return highlighted(passage.tokens, np.asarray(passage.activations) > 0)
    return token_lines(passage.tokens, levels(passage.activations, maximum))
