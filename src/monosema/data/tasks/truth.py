"""True and false statements with a marker: "The capital of France is Rome. This is" → " false".

A small closed world of facts (capitals, colours, kinds of animals, opposites, sums), after the true/false data sets of
Marks & Tegmark 2023, "The Geometry of Truth" (arXiv 2310.06824). The metric is logit(right marker) − logit(the other);
the corruption replaces the object so that the truth value flips. Held out are triples of phrasing, subject and object:
the fact is known from its other phrasing, the statement is new.
"""

from __future__ import annotations

import random

from monosema.data.tasks.task import Prompt, Split, Task, TaskFamily, fill, in_split, words_of


def _pairs(text: str) -> dict[str, str]:
    return dict(entry.strip().split(":") for entry in text.replace("\n", " ").split(",") if entry.strip())


CAPITALS = _pairs(
    """France:Paris, Italy:Rome, Spain:Madrid, England:London, Germany:Berlin, Russia:Moscow, Austria:Vienna,
    Greece:Athens, Egypt:Cairo, Japan:Tokyo, China:Beijing, Ireland:Dublin, Portugal:Lisbon, Poland:Warsaw,
    Sweden:Stockholm, Norway:Oslo, Turkey:Ankara, Cuba:Havana, Canada:Ottawa, India:Delhi"""
)
COLOURS = _pairs(
    """grass:green, snow:white, coal:black, blood:red, gold:yellow, milk:white, a lemon:yellow, the sky:blue,
    a leaf:green, night:black, chocolate:brown, a rose:red, the sea:blue, wood:brown, butter:yellow"""
)
KINDS = _pairs(
    """sparrow:bird, eagle:bird, crow:bird, robin:bird, salmon:fish, trout:fish, shark:fish, herring:fish, bee:insect,
    wasp:insect, beetle:insect, butterfly:insect, dog:mammal, horse:mammal, lion:mammal, tiger:mammal, snake:reptile,
    lizard:reptile, crocodile:reptile, tulip:flower, daisy:flower, lily:flower"""
)
OPPOSITES = _pairs(
    """hot:cold, big:small, long:short, old:young, rich:poor, light:dark, hard:soft, fast:slow, early:late, full:empty,
    high:low, strong:weak, wet:dry, good:bad, right:wrong, open:closed, loud:quiet, sweet:bitter"""
)
NUMBERS = words_of(
    """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen"""
)
SUMS = {f"{NUMBERS[a]} and {NUMBERS[b]}": NUMBERS[a + b] for a in range(1, 7) for b in range(1, 7)}

RELATIONS: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "capital": (CAPITALS, ("The capital of {SUBJECT} is {OBJECT}", "In {SUBJECT} the capital is {OBJECT}")),
    "colour": (COLOURS, ("The colour of {SUBJECT} is {OBJECT}", "Everybody knows that {SUBJECT} is {OBJECT}")),
    "kind": (KINDS, ("The {SUBJECT} is a kind of {OBJECT}", "We call the {SUBJECT} a sort of {OBJECT}")),
    "opposite": (OPPOSITES, ("The opposite of {SUBJECT} is {OBJECT}", "If it is not {SUBJECT}, it is {OBJECT}")),
    "sum": (SUMS, ("The sum of {SUBJECT} is {OBJECT}", "If you add {SUBJECT}, you get {OBJECT}")),
}
MARKER = ". This is"


def _draw(rng: random.Random, split: Split) -> tuple[str, str, str, str, bool]:
    """Relation, phrasing, subject, object, and whether the statement is true."""
    while True:
        relation = rng.choice(tuple(RELATIONS))
        facts, phrasings = RELATIONS[relation]
        phrasing, subject, true = rng.choice(phrasings), rng.choice(tuple(facts)), rng.random() < 0.5
        thing = facts[subject] if true else _other(rng, facts, subject)
        if in_split(split, phrasing, subject, thing):
            return relation, phrasing, subject, thing, true


def _other(rng: random.Random, facts: dict[str, str], subject: str) -> str:
    """A wrong object of the same relation."""
    return rng.choice(sorted(set(facts.values()) - {facts[subject]}))


def sentences(rng: random.Random, n: int, split: Split = "train") -> list[str]:
    """n statements: marked after (most), marked before, or true ones without a marker."""
    made = []
    for _ in range(n):
        plain = rng.random() < 0.3
        _, phrasing, subject, thing, true = _draw(rng, split)
        while plain and not true:
            _, phrasing, subject, thing, true = _draw(rng, split)
        text, _ = fill(phrasing, {"SUBJECT": subject, "OBJECT": thing})
        if plain:
            made.append(f"{text}.")
        elif rng.random() < 0.1:
            made.append(f"{true}: {text}.")
        else:
            made.append(f"{text}{MARKER} {str(true).lower()}.")
    return made


def prompts(rng: random.Random, n: int, split: Split = "train") -> Task:
    """n prompts, alternately true and false, over all relations."""
    made: list[Prompt] = []
    while len(made) < n:
        relation, phrasing, subject, thing, true = _draw(rng, split)
        if true != (len(made) % 2 == 0):
            continue
        facts = RELATIONS[relation][0]
        words = {"SUBJECT": subject, "OBJECT": thing}
        clean, spans = fill(phrasing + MARKER, words)
        flipped = words | {"OBJECT": _other(rng, facts, subject) if true else facts[subject]}
        answers = ((" true",), (" false",)) if true else ((" false",), (" true",))
        made.append(
            Prompt(
                clean=clean,
                corrupt=fill(phrasing + MARKER, flipped)[0],
                correct=answers[0],
                wrong=answers[1],
                spans=spans,
                form=relation,
            )
        )
    return Task(name="truth", metric="logit_difference", split=split, prompts=tuple(made))


FAMILY = TaskFamily(
    name="truth",
    about="whether a statement of a closed world is true",
    metric="logit_difference",
    sentences=sentences,
    prompts=prompts,
)
