"""Gendered pronouns: "Alice was tired, because" → " she".

The subject is a first name or a noun with a customary gender; the metric is logit(right pronoun) − logit(the other),
and the corruption swaps the subject for one of the other gender (after Vig et al. 2020, arXiv 2004.12265, and the
gendered-pronoun task of Mathwin et al. 2023). Held out are pairs of subject and template.
"""

from __future__ import annotations

import random

from monosema.data.tasks.names import FEMALE, MALE
from monosema.data.tasks.task import Prompt, Split, Task, TaskFamily, fill, in_split

MALE_NOUNS = ("the king", "the boy", "the father", "the uncle", "the brother", "the gentleman", "the prince", "the son")
FEMALE_NOUNS = (
    "the queen",
    "the girl",
    "the mother",
    "the aunt",
    "the sister",
    "the lady",
    "the princess",
    "the daughter",
)
TEMPLATES = (
    "Nobody saw that {SUBJECT} was tired, because",
    "We know that {SUBJECT} likes to read when",
    "It rained all day, but {SUBJECT} went out, and",
    "In the morning {SUBJECT} wrote a letter before",
    "I heard that {SUBJECT} will stay here until",
    "So {SUBJECT} is a very good friend, is not",
    "Everybody laughed when {SUBJECT} fell, and then",
    "They say that {SUBJECT} has lost the house where",
    "At last {SUBJECT} came home and said that",
    "The teacher asked whether {SUBJECT} could sing, and",
    "For many years {SUBJECT} lived in a small town, where",
    "If {SUBJECT} had known the way,",
)
ENDINGS = {
    "Nobody saw": " had worked too long",
    "We know": " has the time",
    "It rained": " came back wet",
    "In the morning": " had breakfast",
    "I heard": " is well again",
    "So {SUBJECT}": "?",
    "Everybody": " laughed too",
    "They say": " was born",
    "At last": " was hungry",
    "The teacher": " could",
    "For many": " had a shop",
    "If {SUBJECT}": " would have come",
}


def _draw(rng: random.Random, split: Split) -> tuple[str, str, bool]:
    """A template, a subject and whether the subject is male."""
    while True:
        template, male = rng.choice(TEMPLATES), rng.random() < 0.5
        names, nouns = (MALE, MALE_NOUNS) if male else (FEMALE, FEMALE_NOUNS)
        subject = rng.choice(nouns) if rng.random() < 0.15 else rng.choice(names)
        if in_split(split, "gender", template, subject):
            return template, subject, male


def _ending(template: str) -> str:
    return next(ending for start, ending in ENDINGS.items() if template.startswith(start))


def sentences(rng: random.Random, n: int, split: Split = "train") -> list[str]:
    """n full sentences."""
    made = []
    for _ in range(n):
        template, subject, male = _draw(rng, split)
        text = f"{fill(template, {'SUBJECT': subject})[0]} {'he' if male else 'she'}{_ending(template)}"
        made.append(text if text.endswith("?") else f"{text}.")
    return made


def prompts(rng: random.Random, n: int, split: Split = "train") -> Task:
    """n prompts, about half of each gender."""
    made = []
    for _ in range(n):
        template, subject, male = _draw(rng, split)
        if subject.startswith("the "):
            other = rng.choice(FEMALE_NOUNS if male else MALE_NOUNS)
        else:
            other = rng.choice(FEMALE if male else MALE)
        clean, spans = fill(template, {"SUBJECT": subject})
        pronouns = ((" he",), (" she",)) if male else ((" she",), (" he",))
        made.append(
            Prompt(
                clean=clean,
                corrupt=fill(template, {"SUBJECT": other})[0],
                correct=pronouns[0],
                wrong=pronouns[1],
                spans=spans,
                form=f"template{TEMPLATES.index(template)}",
            )
        )
    return Task(name="gender", metric="logit_difference", split=split, prompts=tuple(made))


FAMILY = TaskFamily(
    name="gender",
    about="the pronoun that fits the subject",
    metric="logit_difference",
    sentences=sentences,
    prompts=prompts,
)
