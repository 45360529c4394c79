"""Sentiment: "I thought the film was dull and lifeless. The review is" → " negative".

A short review with two words of one sentiment and its verdict (after Tigges et al. 2023, "Linear Representations of
Sentiment", arXiv 2310.15154). The metric is logit(right verdict) − logit(the other); the corruption replaces the words
by words of the other sentiment. Held out are triples of noun and the two sentiment words.
"""

from __future__ import annotations

import random

from monosema.data.tasks.task import Prompt, Split, Task, TaskFamily, fill, in_split, words_of

GOOD = words_of(
    """amazing beautiful brilliant charming clever delightful enjoyable excellent exciting fantastic fascinating fine
    fresh funny good great hilarious impressive intelligent lovely magnificent memorable moving perfect powerful
    remarkable splendid superb touching wonderful"""
)
BAD = words_of(
    """annoying awful bad boring clumsy confusing dreadful dull empty flat foolish forgettable horrible lame lifeless
    mediocre messy painful pathetic pointless poor predictable ridiculous silly stupid terrible tedious ugly weak
    worthless"""
)
LIKED = ("adored", "admired", "enjoyed", "liked", "loved", "recommended")
HATED = ("despised", "disliked", "hated", "loathed", "regretted", "resented")
NOUNS = words_of("film movie story plot acting book play script picture show scene cast director music ending")
TEMPLATES = (
    "I thought the {NOUN} was {WORD1} and {WORD2}",
    "We {WORD2} the {NOUN}, because it was so {WORD1}",
    "What a {WORD1} {NOUN}! Everyone I know {WORD2} it",
    "The {NOUN} is {WORD1}, and the rest is just as {WORD2}",
    "All in all this {NOUN} seemed {WORD1} to me, and I {WORD2} it",
)
VERDICT = ". The review is"


def _pools(template: str, good: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sources of the first and the second word."""
    adjectives, verbs = (GOOD, LIKED) if good else (BAD, HATED)
    takes_verb = "We {WORD2}" in template or "know {WORD2}" in template or "I {WORD2}" in template
    return adjectives, verbs if takes_verb else adjectives


def _draw(rng: random.Random, split: Split) -> tuple[str, dict[str, str], bool]:
    while True:
        template, good = rng.choice(TEMPLATES), rng.random() < 0.5
        first, second = (rng.choice(pool) for pool in _pools(template, good))
        noun = rng.choice(NOUNS)
        if first != second and in_split(split, noun, first, second):
            return template, {"NOUN": noun, "WORD1": first, "WORD2": second}, good


def sentences(rng: random.Random, n: int, split: Split = "train") -> list[str]:
    """n short reviews with their verdict."""
    made = []
    for _ in range(n):
        template, words, good = _draw(rng, split)
        made.append(f"{fill(template + VERDICT, words)[0]} {'positive' if good else 'negative'}.")
    return made


def prompts(rng: random.Random, n: int, split: Split = "train") -> Task:
    """n prompts, about half of each sentiment."""
    made = []
    for _ in range(n):
        template, words, good = _draw(rng, split)
        first, second = (rng.choice(pool) for pool in _pools(template, not good))
        clean, spans = fill(template + VERDICT, words)
        answers = ((" positive",), (" negative",)) if good else ((" negative",), (" positive",))
        made.append(
            Prompt(
                clean=clean,
                corrupt=fill(template + VERDICT, words | {"WORD1": first, "WORD2": second})[0],
                correct=answers[0],
                wrong=answers[1],
                spans=spans,
                form=f"template{TEMPLATES.index(template)}",
            )
        )
    return Task(name="sentiment", metric="logit_difference", split=split, prompts=tuple(made))


FAMILY = TaskFamily(
    name="sentiment",
    about="the verdict that fits a short review",
    metric="logit_difference",
    sentences=sentences,
    prompts=prompts,
)
