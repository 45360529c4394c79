"""Concepts: what a text is steered towards, by examples, with a measure of how much of it a text shows.

A concept is a TOML file (`concepts/` holds those of the package; a user's own has the same form):

    about = "texts that judge well of things, against texts that judge badly"
    positive = ["…"]          texts that show the concept
    negative = ["…"]          texts that don't, otherwise alike
    prompts = ["…"]           beginnings that leave both open
    questions = ["…"]         words of a user that leave both open; for chats
    prefix = "…"              the baseline by prompt: text before a beginning; without it, four texts for the concept
    instruction = "…"         the same before a question
    words, against = ["…"]    words that measure it; without them a classifier is learned from the texts
    tasks = ["sentiment"]     tasks that are no side skills, as they are about the concept itself

Every other text (the first, the third, …) is for fitting: directions and latents are chosen on these. The rest is for
judging: what is chosen is scored on these, and a classifier is learned from them, so that nothing is judged by the
texts that it was chosen by.
"""

from __future__ import annotations

import math
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from monosema.core import ConfigError, Estimate, FormatError, InputError, nearest
from monosema.models import LanguageModel, Prompt
from monosema.steering.candidates import Prefix
from monosema.steering.metrics.bag_of_words import BagOfWords
from monosema.steering.metrics.effect import Effect, Lexicon, accuracy

_FOLDER = files("monosema.steering") / "concepts"
BuiltinConcept = Literal["sentiment", "french", "code", "name"]
CONCEPTS: tuple[str, ...] = get_args(BuiltinConcept)
"""Names of the concepts that come with the package."""
_LEAST = _EXAMPLES = 4
_OCCURS, _OFTENER = 2, 4.0


@dataclass(frozen=True)
class Concept:
    """A concept; see the module for its parts."""

    name: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    prompts: tuple[str, ...]
    about: str = ""
    questions: tuple[str, ...] = ()
    prefix: str = ""
    instruction: str = ""
    words: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in ("positive", "negative"):
            if len(getattr(self, field)) < _LEAST:
                raise ConfigError(f"The concept {self.name!r} needs at least {_LEAST} texts as {field!r}.")
        if not self.prompts:
            raise ConfigError(f"The concept {self.name!r} needs 'prompts': beginnings to write on from.")

    @classmethod
    def from_dict(cls, name: str, values: dict[str, Any]) -> Concept:
        """Make a concept of the values of a file. Raises ConfigError, which names a field that does not exist."""
        known = [field.name for field in fields(cls) if field.name != "name"]
        for field, value in values.items():
            if field not in known:
                raise ConfigError(f"A concept has no field {field!r}.{nearest(field, known)}")
            if isinstance(value, str) == isinstance(getattr(cls, field, ()), tuple):
                raise ConfigError(
                    f"The field {field!r} of the concept {name!r} has a value of the wrong kind: {value!r}."
                )
        listed: dict[str, Any] = {
            key: value if isinstance(value, str) else tuple(value) for key, value in values.items()
        }
        missing = [field for field in ("positive", "negative", "prompts") if field not in listed]
        if missing:
            raise ConfigError(f"The concept {name!r} lacks the fields {', '.join(missing)}.")
        return cls(name=name, **listed)

    @cached_property
    def fitting(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Texts for and against, to choose and to fit by."""
        return self.positive[::2], self.negative[::2]

    @cached_property
    def judging(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Texts for and against that nothing is chosen by."""
        return self.positive[1::2], self.negative[1::2]

    @cached_property
    def effect(self) -> Effect:
        """The measure of the concept in a text: by its words, or by a classifier that is learned from judging texts."""
        if self.words:
            return Lexicon(frozenset(self.words), frozenset(self.against))
        return BagOfWords(*self.judging)

    @cached_property
    def accuracy(self) -> Estimate:
        """Share of the fitting texts, which it has not seen, that the effect tells apart."""
        return accuracy(self.effect, *self.fitting)

    def beginnings(self, chat: bool) -> tuple[Prompt, ...]:
        """Return the prompts, or chats that open with the questions. Raises InputError where there are none."""
        if not chat:
            return self.prompts
        if not self.questions:
            raise InputError(f"The concept {self.name!r} has no 'questions', so there is no chat to begin.")
        return tuple([{"role": "user", "content": question}] for question in self.questions)

    def baseline(self, chat: bool) -> Prefix | None:
        """The words that lead to the concept; None in a chat where there are none."""
        if chat:
            return Prefix(f"{self.instruction} ") if self.instruction else None
        return Prefix(self.prefix or " ".join([*self.fitting[0][:_EXAMPLES], ""]))

    def tokens(self, model: LanguageModel, n: int = 20) -> list[int]:
        """Return tokens that fitting texts for the concept have far oftener than those against it, most telling first.

        Tokens that occur twice at least, and at least four times as often, by their log-odds · √(how often).
        """
        for_it, against = (_counts(model, texts) for texts in self.fitting)
        totals = [sum(counts.values()) + 1 for counts in (for_it, against)]
        odds = {
            token: math.log((count + 0.5) / totals[0]) - math.log((against.get(token, 0) + 0.5) / totals[1])
            for token, count in for_it.items()
            if count >= _OCCURS
        }
        telling = [token for token, value in odds.items() if value >= math.log(_OFTENER)]
        return sorted(telling, key=lambda token: (-odds[token] * math.sqrt(for_it[token]), token))[:n]


def _counts(model: LanguageModel, texts: Sequence[str]) -> Counter[int]:
    # The first word too as it stands within a text.
    spaced = [f" {text}" for text in texts]
    return Counter(id for ids in model.tokenizer.encode_batch(spaced, bos=False) for id in ids)


def concept_named(name: str) -> Concept:
    """Read a concept of the package by its name, or of a TOML file by its path.

    Raises:
        InputError: there is no such concept and no such file.
        FormatError: the file is not TOML.
        ConfigError: it lacks a field, or has one that does not exist.
    """
    if name in CONCEPTS:
        text = (_FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    elif (path := Path(name)).is_file():
        name, text = path.stem, path.read_text(encoding="utf-8")
    else:
        raise InputError(
            f"There is no concept {name!r}.{nearest(name, CONCEPTS)} There are {', '.join(CONCEPTS)}, or the path of a "
            "TOML file of your own."
        )
    try:
        return Concept.from_dict(name, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f"The concept {name!r} is no TOML file: {error}") from None
