"""Measures of a written text, each as a numerator and a denominator, so that texts of any length add up.

An open list: `register_measure(Measure("questions", "question marks a token", lambda text: (text.text.count("?"),
len(text.tokens))))` adds a column to every sweep and table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from monosema.core import ConfigError
from monosema.steering.metrics.likelihood import Likelihood
from monosema.steering.metrics.paired import Pair
from monosema.steering.metrics.repetition import deflated_bytes, distinct_ngrams


@dataclass(frozen=True)
class MeasuredText:
    """A written text, with what was found by reading it once more.

    Attributes:
        text: what was written.
        tokens: its ids, the end token included.
        likelihood: under the unsteered model.
    """

    text: str
    tokens: tuple[int, ...]
    likelihood: Likelihood


@dataclass(frozen=True)
class Measure:
    """A measure of texts.

    Attributes:
        name: key of its figures.
        about: one line for people.
        of: returns numerator and denominator of one text.
    """

    name: str
    about: str
    of: Callable[[MeasuredText], Pair]


MEASURES: dict[str, Measure] = {}
"""All measures of written texts by name."""


def register_measure(measure: Measure) -> None:
    """Add a measure to every sweep. Raises ConfigError where its name is taken."""
    if measure.name in MEASURES:
        raise ConfigError(f"There is a measure {measure.name!r} already.")
    MEASURES[measure.name] = measure


for _measure in (
    Measure(
        "surprisal",
        "nats a written token, under the unsteered model",
        lambda text: (text.likelihood.surprisal, text.likelihood.tokens),
    ),
    Measure(
        "kl",
        "nats a written token that the next-token distribution is moved by",
        lambda text: (text.likelihood.divergence, text.likelihood.tokens),
    ),
    Measure("distinct_2", "share of pairs of tokens that are different", lambda text: distinct_ngrams(text.tokens, 2)),
    Measure("distinct_3", "share of triples that are different", lambda text: distinct_ngrams(text.tokens, 3)),
    Measure("zlib", "bytes deflated, of each byte", lambda text: deflated_bytes(text.text)),
    Measure("tokens", "tokens of a text", lambda text: (len(text.tokens), 1)),
):
    register_measure(_measure)
