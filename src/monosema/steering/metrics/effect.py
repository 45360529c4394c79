"""Effect: how much of a concept a written text shows.

Anything that gives texts a score from 0 to 1 is an effect: a function of your own, a classifier, a judge. Two come with
the package: a `Lexicon` counts words, a `BagOfWords` (bag_of_words.py) learns them from labelled texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from monosema.core import Estimate, InputError, wilson

Effect = Callable[[Sequence[str]], Float[np.ndarray, " texts"]]
"""From texts to how much of the concept each shows, from 0 to 1."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Lexicon:
    """Counts words: (a + ½) / (a + b + 1), with a words of the concept in the text and b against it.

    Without words against it, the score is 1 where any word of the concept occurs and 0 elsewhere. Case does not matter.

    Attributes:
        words: words of the concept.
        against: words of its opposite.
    """

    words: frozenset[str]
    against: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.words:
            raise InputError("A lexicon needs words of the concept.")
        for field in ("words", "against"):
            object.__setattr__(self, field, frozenset(word.lower() for word in getattr(self, field)))

    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, " texts"]:
        """Score texts."""
        return np.array([self._score(_WORD.findall(text.lower())) for text in texts], dtype=np.float64)

    def _score(self, words: Sequence[str]) -> float:
        found = sum(word in self.words for word in words)
        if not self.against:
            return float(found > 0)
        opposite = sum(word in self.against for word in words)
        return (found + 0.5) / (found + opposite + 1)


def accuracy(effect: Effect, positive: Sequence[str], negative: Sequence[str]) -> Estimate:
    """Estimate the share of labelled texts that an effect puts on the right side of ½; ½ itself counts as wrong."""
    high, low = effect(positive), effect(negative)
    return wilson(int((high > 0.5).sum() + (low < 0.5).sum()), len(positive) + len(negative))
