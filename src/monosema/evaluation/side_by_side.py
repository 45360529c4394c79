"""Completion and chat of one model in several versions side by side, and how far text and predictions moved.

A version is the model within a block that changes it: a dictionary spliced in, a steering. All draw the same noise, so
that a text differs where a prediction moved and nowhere else. Measured are, along the untouched model's own text,

    KL = mean over its tokens of KL(untouched ‖ version), in nats     equal = share of tokens with one likeliest token

and, of each version's own text, its perplexity under the untouched model, exp(mean −log p). Distributions are those at
temperature 1, whatever the texts were drawn at.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import ConfigError, Estimate, bootstrap_ratio
from monosema.core.display import Shown
from monosema.evaluation.losses import losses_dense
from monosema.models import (
    Generation,
    GenerationConfig,
    LanguageModel,
    Prompt,
    ReadPrompt,
    Role,
    read_prompt,
    require_logits,
)
from monosema.steering import SteeredRow

Version = Callable[[], contextlib.AbstractContextManager[object]]
"""Makes the block within which the model is the version."""
UNTOUCHED = "untouched"
"""Name of the model as it is."""
_FOR_INTERVALS = 5
"""Prompts from which on metrics have intervals: prompts are what a bootstrap draws."""


@dataclass(frozen=True)
class Moved:
    """Distance of a version from the untouched model on one prompt.

    Attributes:
        tokens: of the untouched model's text, along which `kl` and `equal` are means.
        kl: in nats per token.
        equal: share of tokens whose likeliest token is the untouched model's.
        first_difference: index of the first token that is another one than in the untouched text; None where the texts
            are the same.
        surprise: mean −log p of the version's own text under the untouched model, in nats per token.
        own_tokens: of the version's own text.
    """

    tokens: int
    kl: float
    equal: float
    first_difference: int | None
    surprise: float
    own_tokens: int

    @property
    def perplexity(self) -> float:
        """Perplexity of the version's text under the untouched model."""
        return math.exp(self.surprise)


@dataclass(frozen=True)
class Row:
    """A version's texts.

    Attributes:
        name: of the version.
        texts: one for each prompt.
        moved: likewise.
        edited: likewise, of a version that steers: which tokens were edited.
    """

    name: str
    texts: tuple[Generation, ...]
    moved: tuple[Moved, ...]
    edited: tuple[SteeredRow, ...] = ()

    @property
    def metrics(self) -> dict[str, float | None]:
        """Means over all tokens of all prompts: kl, equal, perplexity; first_difference is the median prompt's, None
        where most texts are the same."""
        n, own = sum(one.tokens for one in self.moved), sum(one.own_tokens for one in self.moved)
        firsts = sorted(math.inf if one.first_difference is None else one.first_difference for one in self.moved)
        middle = firsts[len(firsts) // 2]
        return {
            "kl": sum(one.kl * one.tokens for one in self.moved) / n,
            "equal": sum(one.equal * one.tokens for one in self.moved) / n,
            "first_difference": None if math.isinf(middle) else middle,
            "perplexity": math.exp(sum(one.surprise * one.own_tokens for one in self.moved) / own),
        }

    @property
    def intervals(self) -> dict[str, Estimate]:
        """Estimates of kl and equal over prompts; none where there are few prompts."""
        if len(self.moved) < _FOR_INTERVALS:
            return {}
        tokens = [one.tokens for one in self.moved]
        return {
            "kl": bootstrap_ratio([one.kl * one.tokens for one in self.moved], tokens),
            "equal": bootstrap_ratio([one.equal * one.tokens for one in self.moved], tokens),
        }


@dataclass(frozen=True)
class SideBySide(Shown):
    """Texts of several versions of a model.

    Attributes:
        model: its name.
        rows: the untouched model first.
    """

    model: str
    rows: tuple[Row, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"model": self.model, "versions": [_row_values(row) for row in self.rows]}


def _row_values(row: Row) -> dict[str, Any]:
    texts = [
        {
            "prompt": text.prompt,
            "text": text.text,
            "finish": text.finish,
            **asdict(moved),
            "perplexity": moved.perplexity,
        }
        for text, moved in zip(row.texts, row.moved, strict=True)
    ]
    for text, edited in zip(texts, row.edited, strict=False):
        text["edited"] = edited.to_dict()
    intervals = {name: estimate.to_dict() for name, estimate in row.intervals.items()}
    return {"name": row.name, "metrics": row.metrics, "intervals": intervals, "texts": texts}


@torch.no_grad()
def side_by_side(
    model: LanguageModel, prompts: Sequence[Prompt], versions: Mapping[str, Version], **settings: Any
) -> SideBySide:
    """Let a model continue prompts untouched and in each version, with the same noise, and measure what moved.

    Args:
        prompts: texts, token ids, or the messages of chats.
        versions: by name.
        settings: fields of `GenerationConfig`.

    Raises:
        ConfigError: no prompts, a version that is named "untouched", or a setting that isn't valid.
        InputError: a prompt that is empty or fills the context, or messages to a model without a chat template.
        UnsupportedModelError: a model without next-token logits.
    """
    require_logits(model)
    if not prompts or UNTOUCHED in versions:
        raise ConfigError(f"Give prompts, and versions that are not named {UNTOUCHED!r}.")
    config = GenerationConfig(**settings)
    read = [read_prompt(one, model.tokenizer, config) for one in prompts]
    own = list(model.generate(list(prompts), **settings))
    clean = [_logits(model, one, text) for one, text in zip(read, own, strict=True)]
    rows = [_row(UNTOUCHED, model, read, own, own, clean, clean)]
    for name, version in versions.items():
        with version() as held:
            texts = list(model.generate(list(prompts), **settings))
            edited = _edited(held)
        with version():
            along = [_logits(model, one, text) for one, text in zip(read, own, strict=True)]
        rows.append(replace(_row(name, model, read, own, texts, clean, along), edited=edited))
    return SideBySide(model.name, tuple(rows))


def _row(
    name: str,
    model: LanguageModel,
    read: Sequence[ReadPrompt],
    own: Sequence[Generation],
    texts: Sequence[Generation],
    clean: Sequence[Tensor],
    along: Sequence[Tensor],
) -> Row:
    """Measure a version by its logits along the untouched texts, outside of its block."""
    moved = []
    for prompt, base, text, ours, theirs in zip(read, own, texts, clean, along, strict=True):
        _, kl = losses_dense(ours, [theirs], torch.tensor(base.tokens, device=ours.device))
        equal = (ours.argmax(-1) == theirs.argmax(-1)).float().mean()
        written = torch.tensor(text.tokens, device=ours.device)
        logits = ours if text.tokens == base.tokens else _logits(model, prompt, text)
        surprise = -logits.float().log_softmax(-1).gather(1, written[:, None]).mean()
        first = first_difference(base.tokens, text.tokens)
        divergence = max(0.0, float(kl[1].mean()))
        moved.append(Moved(len(base.tokens), divergence, float(equal), first, float(surprise), len(written)))
    return Row(name, tuple(texts), tuple(moved))


def _edited(held: object) -> tuple[SteeredRow, ...]:
    """Return what a version's block says of the edits in its rows."""
    rows = held if isinstance(held, Sequence) else ()
    return tuple(row for row in rows if isinstance(row, SteeredRow))


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Return the index of the first token that differs; where one text ends before the other, its end."""
    if tuple(one) == tuple(other):
        return None
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _logits(model: LanguageModel, prompt: ReadPrompt, text: Generation) -> Float[Tensor, "n vocab"]:
    """Return the logits that each token of a text was drawn from, read in one pass."""
    ids = [*prompt.ids, *text.tokens[:-1]]
    roles = [*prompt.roles, *[Role.GENERATED] * (len(text.tokens) - 1)]
    batch = {"tokens": torch.tensor([ids]), "roles": torch.tensor([roles])}
    tokens, given = (values.to(model.device) for values in batch.values())
    return model(tokens, None, None, given)[0, len(prompt.ids) - 1 :]
