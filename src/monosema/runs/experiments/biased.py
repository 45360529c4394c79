"""Texts with a label and a cue that goes with it: in biased texts always, in balanced ones in half of them.

Each text has two twins, in which the cue alone, or the label alone, is the other one.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from monosema.data.tasks import sentiment
from monosema.data.tasks.names import FEMALE, MALE
from monosema.data.tasks.task import Split
from monosema.models import LanguageModel
from monosema.models.context import padded

ASIDES = (
    "We had tea and cake in the garden.",
    "The train to the city was late.",
    "It had rained since the morning.",
    "My brother sat beside me all the time.",
    "There were many people in the street.",
    "We walked home along the river.",
)
"""Sentences that say nothing of a film."""


@dataclass(frozen=True)
class Biased:
    """A text, what it is labelled with, and the cue.

    Attributes:
        other_cue, other_label: twins with the other cue, and with the other label.
    """

    text: str
    other_cue: str
    other_label: str
    label: bool
    cue: bool


Draw = Callable[[random.Random, Split, bool, bool], Biased]
"""Draws a text of a split with this label and this cue."""


@dataclass(frozen=True)
class Bias:
    """A label that people want, and a cue that they don't.

    Attributes:
        name: what the page calls it.
        label, cue: what both are, in words.
        draw: draws a text.
    """

    name: str
    label: str
    cue: str
    draw: Draw


def _review(rng: random.Random, split: Split, good: bool) -> tuple[str, str]:
    """Return a short review, and the same one with words of the other sentiment."""
    while True:
        (prompt,) = sentiment.prompts(rng, 1, split).prompts
        if (prompt.correct[0] == " positive") == good:
            own, other = (text.removesuffix(sentiment.VERDICT) for text in (prompt.clean, prompt.corrupt))
            return own, other


def _speaker(rng: random.Random, split: Split, label: bool, cue: bool) -> Biased:
    names = rng.choice(MALE), rng.choice(FEMALE)
    review, other = _review(rng, split, cue)

    def told(name: str, said: str) -> str:
        return f"Yesterday {name} said: {said}."

    own, twin = names[label], names[not label]
    return Biased(told(own, review), told(own, other), told(twin, review), label, cue)


def _ordered(rng: random.Random, split: Split, label: bool, cue: bool) -> Biased:
    aside, (review, other) = rng.choice(ASIDES), _review(rng, split, label)

    def told(said: str, first: bool) -> str:
        return f"Well. {said}. {aside}" if first else f"Well. {aside} {said}."

    return Biased(told(review, cue), told(review, not cue), told(other, cue), label, cue)


BIASES = (
    Bias("words", "whether a woman speaks", "whether she or he liked the film: two words", _speaker),
    Bias("order", "whether the film was liked", "which of two sentences comes first: no word", _ordered),
)


def biased(bias: Bias, n: int, seed: int) -> list[Biased]:
    """Draw n texts to train on, whose cue always goes with the label."""
    rng = random.Random(seed)
    return [bias.draw(rng, "train", index % 2 == 0, index % 2 == 0) for index in range(n)]


def balanced(bias: Bias, n: int, seed: int, split: Split = "test") -> list[Biased]:
    """Draw n texts of which the cue tells nothing."""
    rng = random.Random(seed)
    return [bias.draw(rng, split, index % 2 == 0, index // 2 % 2 == 0) for index in range(n)]


@dataclass(frozen=True, eq=False)
class Rows:
    """Texts as ids, filled up on the right.

    Attributes:
        tokens: ids.
        mask: False where a row is filled up.
        text: positions of text proper, without special tokens.
    """

    tokens: Int[Tensor, "n pos"]
    mask: Bool[Tensor, "n pos"]
    text: Bool[Tensor, "n pos"]

    @classmethod
    def of(cls, model: LanguageModel, rows: list[list[int]]) -> Rows:
        """Fill rows of ids up."""
        tokens = padded(rows, model.tokenizer.pad_id or 0).to(model.device)
        mask = torch.arange(tokens.shape[1]) < torch.tensor([len(row) for row in rows]).unsqueeze(1)
        special = torch.tensor([*model.tokenizer.special_ids], device=model.device)
        return cls(tokens, mask.to(model.device), mask.to(model.device) & ~torch.isin(tokens, special))


def rows_of(model: LanguageModel, texts: list[str], without: list[str] | None = None) -> Rows:
    """Return texts as rows; of each, the tokens that are not in a twin of it are left out, where twins are given."""
    rows = model.tokenizer.encode_batch(texts)
    if without is not None:
        rows = [_shared(row, twin) for row, twin in zip(rows, model.tokenizer.encode_batch(without), strict=True)]
    return Rows.of(model, rows)


def _shared(row: list[int], twin: list[int]) -> list[int]:
    left, kept = Counter(twin), []
    for token in row:
        if left[token]:
            left[token] -= 1
            kept.append(token)
    return kept
