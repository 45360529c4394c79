"""Greater-than: "The war lasted from the year 1732 to the year 17" → any two digits above 32.

Hanna, Liu & Variengien 2023, "How does GPT-2 compute greater-than?" (arXiv 2305.00586): metric
ΣP(y > YY) − ΣP(y ≤ YY) over the two-digit tokens; the corruption starts in year 01 of the same century.

Departures: our own nouns and phrasings, and centuries from the twelfth on; held out are triples of noun, century
and year.
"""

from __future__ import annotations

import random

from monosema.data.tasks.task import Prompt, Split, Task, TaskFamily, fill, in_split, words_of

NOUNS = words_of(
    """alliance argument blockade building campaign ceremony conflict conquest consulate contract crisis crusade debate
    decline drought dynasty education embargo emergency epidemic era exile expedition exploration famine feud
    friendship government hunt insurgency invasion journey kingdom marriage mission negotiation occupation operation
    partnership peace plague plot pilgrimage practice project quarrel rebellion reform reign revolt revolution rule
    scandal search siege strike struggle study trade treaty trial truce unrest voyage war work"""
)
TEMPLATES = (
    "The {NOUN} lasted from the year {XX1}{YY} to the year {XX2}",
    "The {NOUN} began in the year {XX1}{YY} and ended in the year {XX2}",
    "The {NOUN} went on from {XX1}{YY} until {XX2}",
)
CENTURIES = tuple(f"{century}" for century in range(11, 20))
YEARS = tuple(f"{year:02d}" for year in range(2, 99))
ALL_TWO_DIGITS = tuple(f"{year:02d}" for year in range(100))


def _draw(rng: random.Random, split: Split) -> tuple[str, str, str, str]:
    while True:
        noun, century, year = rng.choice(NOUNS), rng.choice(CENTURIES), rng.choice(YEARS)
        if in_split(split, noun, century, year):
            return rng.choice(TEMPLATES), noun, century, year


def sentences(rng: random.Random, n: int, split: Split = "train") -> list[str]:
    """n full sentences; the end year is uniform over the later years of the century."""
    made = []
    for _ in range(n):
        template, noun, century, year = _draw(rng, split)
        text, _ = fill(template, {"NOUN": noun, "XX1": century, "YY": year, "XX2": century})
        made.append(f"{text}{rng.randrange(int(year) + 1, 100):02d}.")
    return made


def prompts(rng: random.Random, n: int, split: Split = "train") -> Task:
    """n prompts whose correct answers are all later years and whose wrong answers are all others."""
    made = []
    for _ in range(n):
        template, noun, century, year = _draw(rng, split)
        words = {"NOUN": noun, "XX1": century, "YY": year, "XX2": century}
        clean, spans = fill(template, words)
        made.append(
            Prompt(
                clean=clean,
                corrupt=fill(template, words | {"YY": "01"})[0],
                correct=ALL_TWO_DIGITS[int(year) + 1 :],
                wrong=ALL_TWO_DIGITS[: int(year) + 1],
                spans=spans,
                form=f"template{TEMPLATES.index(template)}",
            )
        )
    return Task(name="greater_than", metric="probability_difference", split=split, prompts=tuple(made))


FAMILY = TaskFamily(
    name="greater_than",
    about="a later year of the same century (Hanna et al. 2023)",
    metric="probability_difference",
    sentences=sentences,
    prompts=prompts,
)
