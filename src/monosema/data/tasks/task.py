"""The one task object that every causal method reads: prompts, their corruptions, and what counts as right.

A task deals in strings and knows no tokenizer. Positions are character spans named by role (`IO`, `S1`, `END`, …);
whoever holds a tokenizer with offsets turns them into token positions with `token_index`.

Held-out protocol: an item (a pair of names, a pair of place and object, a statement in one phrasing, …) belongs to the
test split when `is_held_out` says so. It is a checksum of the item's own words, so the split is the same on every
machine and for every seed, and no training sentence can contain a test item.
"""

from __future__ import annotations

import random
import string
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from monosema.core.errors import InputError

Split = Literal["train", "test"]
Metric = Literal["logit_difference", "probability_difference", "kl_divergence"]

HELD_OUT_ONE_IN = 10
"""One item in this many belongs to the test split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A word of the clean prompt that plays a role.

    Attributes:
        role: what the word does in the task, for example `IO` or `S2`.
        start: first character.
        end: one past the last character.
    """

    role: str
    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise InputError(f"Span {self.role!r}: 0 <= start < end must hold, got start={self.start}, end={self.end}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """One clean prompt with its corruption and its answers.

    Attributes:
        clean: the prompt; the next token is the answer.
        corrupt: the same prompt with the decisive word replaced, of the same form word for word.
        correct: next tokens that count as right, leading space included.
        wrong: next tokens that count as wrong.
        spans: character spans of the clean prompt by role; `END` is the last word.
        form: which template made it, for tables by form.
    """

    clean: str
    corrupt: str
    correct: tuple[str, ...]
    wrong: tuple[str, ...]
    spans: tuple[Span, ...]
    form: str

    def __post_init__(self) -> None:
        if not self.correct or not self.wrong:
            raise InputError(f"Prompt {self.clean!r} needs at least one correct and one wrong answer.")
        if set(self.correct) & set(self.wrong):
            raise InputError(f"Prompt {self.clean!r} has answers that are both correct and wrong.")
        if self.clean.endswith(" "):
            raise InputError(f"Prompt {self.clean!r} must not end in a space: the space belongs to the answer.")
        for span in self.spans:
            if span.end > len(self.clean):
                raise InputError(f"Span {span.role!r} ends at {span.end}, beyond the prompt {self.clean!r}.")

    def span(self, role: str) -> Span:
        """The span that plays `role`; raises `KeyError` with the roles there are."""
        for span in self.spans:
            if span.role == role:
                return span
        raise KeyError(f"no role {role!r} in this prompt; roles are {[s.role for s in self.spans]}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Prompts of one kind with the metric they are judged by.

    Attributes:
        name: name of the family that made it.
        metric: `logit_difference` is logit(correct) − logit(wrong), `probability_difference` is
            ΣP(correct) − ΣP(wrong).
        split: whether the prompts may have been seen in training.
        prompts: the prompts.
    """

    name: str
    metric: Metric
    split: Split
    prompts: tuple[Prompt, ...]

    def __len__(self) -> int:
        return len(self.prompts)

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self.prompts)

    @property
    def clean(self) -> tuple[str, ...]:
        """The clean prompts."""
        return tuple(prompt.clean for prompt in self.prompts)

    @property
    def corrupt(self) -> tuple[str, ...]:
        """The corrupt prompts, in the same order."""
        return tuple(prompt.corrupt for prompt in self.prompts)


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskFamily:
    """A generator of training sentences and of prompts for one skill.

    Attributes:
        name: short name, the key in `ALL_TASKS`.
        about: one line for tables.
        metric: the metric of the tasks it makes.
        sentences: `(rng, n, split)` gives n full sentences.
        prompts: `(rng, n, split)` gives a task of n prompts.
    """

    name: str
    about: str
    metric: Metric
    sentences: Callable[[random.Random, int, Split], list[str]]
    prompts: Callable[[random.Random, int, Split], Task]


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, in order."""
    return tuple(text.split())


def is_held_out(*parts: str) -> bool:
    """Check if the item made of these words belongs to the test split (order matters; sort for unordered items)."""
    return zlib.crc32("\x1f".join(parts).encode()) % HELD_OUT_ONE_IN == 0


def in_split(split: Split, *parts: str) -> bool:
    """Check if the item made of these words belongs to `split`."""
    if split not in ("train", "test"):
        raise InputError(f"split must be 'train' or 'test', got {split!r}.")
    return is_held_out(*parts) == (split == "test")


def fill(
    template: str, words: Mapping[str, str], roles: Mapping[str, str] | None = None
) -> tuple[str, tuple[Span, ...]]:
    """Put words into a template such as `"{N1} saw {N2}"`; return the text and a span for every field, and `END`.

    `roles` renames fields to roles (`{"N1": "IO"}`); a field that is not in it keeps its own name.
    """
    text, spans = "", []
    for literal, field, _, _ in string.Formatter().parse(template):
        text += literal
        if field is not None:
            word = words[field]
            spans.append(Span(role=(roles or {}).get(field, field), start=len(text), end=len(text) + len(word)))
            text += word
    last = max(text.rfind(" ") + 1, 0)
    spans.append(Span(role="END", start=last, end=len(text)))
    return text, tuple(spans)


def token_index(span: Span, offsets: Sequence[tuple[int, int]]) -> int:
    """Index of the last token of `span`, given each token's (start, end) in characters.

    Tokens may carry the space before a word; special tokens have empty offsets. Raises `InputError` if none fits.
    """
    for index in range(len(offsets) - 1, -1, -1):
        start, end = offsets[index]
        if start < end and start < span.end and end >= span.end:
            return index
    raise InputError(f"no token ends span {span.role!r} ({span.start}–{span.end}); is this the prompt it belongs to?")
