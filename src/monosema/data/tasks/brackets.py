"""Bracket matching: "( red [ blue { green } sky" → " ]".

A language of nested brackets of three kinds with words between them (a Dyck language, Hewitt et al. 2020,
arXiv 2010.07515). Correct is the bracket that closes the innermost open one; wrong are the two other closing brackets.
The corruption changes the kind of the opening bracket that is to be closed. Held out are the first
`MIN_WORDS` words, and with them every string that begins so.
"""

from __future__ import annotations

import random

from monosema.data.tasks.task import Prompt, Span, Split, Task, TaskFamily, in_split, words_of

PAIRS = {"(": ")", "[": "]", "{": "}"}
WORDS = words_of("red blue green black white sun moon star tree bird fish wind rain fire snow gold")
MAX_DEPTH = 4
MIN_WORDS = 6


def _draw(rng: random.Random) -> tuple[list[str], list[int]]:
    """A balanced string as words, and for each closing bracket the index of its opening one (else −1)."""
    while True:
        words: list[str] = []
        partner: list[int] = []
        open_at: list[int] = []
        for _ in range(rng.randrange(6, 16)):
            roll = rng.random()
            if (roll < 0.4 and len(open_at) < MAX_DEPTH) or not open_at:
                open_at.append(len(words))
                words.append(rng.choice("([{"))
                partner.append(-1)
            elif roll < 0.7:
                words.append(rng.choice(WORDS))
                partner.append(-1)
            else:
                partner.append(open_at.pop())
                words.append(PAIRS[words[partner[-1]]])
        while open_at:
            partner.append(open_at.pop())
            words.append(PAIRS[words[partner[-1]]])
        if len(words) > MIN_WORDS:
            return words, partner


def _draw_in(rng: random.Random, split: Split) -> tuple[list[str], list[int]]:
    while True:
        words, partner = _draw(rng)
        if in_split(split, *words[:MIN_WORDS]):
            return words, partner


def sentences(rng: random.Random, n: int, split: Split = "train") -> list[str]:
    """n balanced strings."""
    return [" ".join(_draw_in(rng, split)[0]) for _ in range(n)]


def prompts(rng: random.Random, n: int, split: Split = "train") -> Task:
    """n prompts, each a string of the split cut before one of its closing brackets, after `MIN_WORDS` words or more."""
    made = []
    for _ in range(n):
        words, partner = _draw_in(rng, split)
        cut = rng.choice([index for index, opener in enumerate(partner) if opener >= 0 and index >= MIN_WORDS])
        opener = partner[cut]
        other = rng.choice([kind for kind in PAIRS if kind != words[opener]])
        start = len(" ".join(words[:opener])) + (1 if opener else 0)
        clean = " ".join(words[:cut])
        last = clean.rfind(" ") + 1
        made.append(
            Prompt(
                clean=clean,
                corrupt=" ".join([*words[:opener], other, *words[opener + 1 : cut]]),
                correct=(f" {words[cut]}",),
                wrong=tuple(f" {closer}" for closer in PAIRS.values() if closer != words[cut]),
                spans=(Span(role="OPEN", start=start, end=start + 1), Span(role="END", start=last, end=len(clean))),
                form=f"distance{min(cut - opener, 9)}",
            )
        )
    return Task(name="brackets", metric="logit_difference", split=split, prompts=tuple(made))


FAMILY = TaskFamily(
    name="brackets",
    about="the bracket that closes the innermost open one",
    metric="logit_difference",
    sentences=sentences,
    prompts=prompts,
)
