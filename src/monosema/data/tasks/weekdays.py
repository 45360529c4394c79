"""Calendar arithmetic: "Two days after Monday is" → " Wednesday"; "Three months before June is" → " March".

Cyclic addition of one to six over the days of the week and the months of the year, where language models are known
to hold circular features (Engels et al. 2024, arXiv 2405.14860). Held out are combinations of phrasing, number,
direction and start: the sum itself has been seen in another phrasing, the sentence never.
"""

from __future__ import annotations

import random

from monosema.data.tasks.task import Prompt, Split, Task, TaskFamily, fill, in_split

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
NUMBERS = ("one", "two", "three", "four", "five", "six")
TEMPLATES = (
    "{COUNT} {UNIT} {DIRECTION} {START} is",
    "We counted {COUNT} {UNIT} {DIRECTION} {START} and came to",
    "The time {COUNT} {UNIT} {DIRECTION} {START} is called",
    "What comes {COUNT} {UNIT} {DIRECTION} {START} is",
)


def _draw(rng: random.Random, split: Split) -> tuple[str, dict[str, str], tuple[str, ...], int, int]:
    """Template, words, the cycle, index of the start, signed distance."""
    while True:
        days = rng.random() < 0.5
        cycle = DAYS if days else MONTHS
        distance = rng.randrange(1, len(NUMBERS) + 1)
        start, direction = rng.randrange(len(cycle)), rng.choice(("after", "before"))
        unit = ("day" if days else "month") + ("" if distance == 1 else "s")
        template = rng.choice(TEMPLATES)
        if not in_split(split, template, NUMBERS[distance - 1], unit, direction, cycle[start]):
            continue
        count = NUMBERS[distance - 1]
        count = count.capitalize() if template.startswith("{COUNT}") else count
        words = {"COUNT": count, "UNIT": unit, "DIRECTION": direction, "START": cycle[start]}
        return template, words, cycle, start, distance if direction == "after" else -distance


def sentences(rng: random.Random, n: int, split: Split = "train") -> list[str]:
    """n full sentences, half about days and half about months; a fifth only say what follows what."""
    made = []
    for _ in range(n):
        if rng.random() < 0.2:
            cycle: tuple[str, ...] = rng.choice((DAYS, MONTHS))
            at = rng.randrange(len(cycle))
            this, following = cycle[at], cycle[(at + 1) % len(cycle)]
            made.append(rng.choice((f"After {this} comes {following}.", f"Before {following} comes {this}.")))
            continue
        template, words, cycle, start, distance = _draw(rng, split)
        made.append(f"{fill(template, words)[0]} {cycle[(start + distance) % len(cycle)]}.")
    return made


def prompts(rng: random.Random, n: int, split: Split = "train") -> Task:
    """n prompts; wrong are all other members of the cycle; the corruption changes the start."""
    made = []
    for _ in range(n):
        template, words, cycle, start, distance = _draw(rng, split)
        answer = cycle[(start + distance) % len(cycle)]
        clean, spans = fill(template, words)
        other = rng.choice([name for name in cycle if name != cycle[start]])
        made.append(
            Prompt(
                clean=clean,
                corrupt=fill(template, words | {"START": other})[0],
                correct=(f" {answer}",),
                wrong=tuple(f" {name}" for name in cycle if name != answer),
                spans=spans,
                form="days" if cycle is DAYS else "months",
            )
        )
    return Task(name="weekdays", metric="logit_difference", split=split, prompts=tuple(made))


FAMILY = TaskFamily(
    name="weekdays",
    about="addition over weekdays and months",
    metric="logit_difference",
    sentences=sentences,
    prompts=prompts,
)
