"""Indirect object identification: "Then, Mary and John went to the store. John gave a drink to" → " Mary".

Wang et al. 2022, "Interpretability in the Wild" (arXiv 2211.00593): fifteen templates in two orders (ABBA: the
indirect object comes first; BABA: the subject comes first), metric logit(IO) − logit(S) at the last position, and the
ABC corruption, in which the three names are replaced by three unrelated ones. `corruption="io"` replaces the indirect
object alone (Cunningham et al. 2023, arXiv 2309.08600), `corruption="s2"` the second mention of the subject by the
indirect object, which turns the answer round.

Departures: the templates are our own; three quarters of the training sentences come from a small grammar with far
more forms than fifteen, since a model that sees fifteen alone learns in each where the indirect object stands, and
fails elsewhere (5 % on the ABBA order of unseen templates, after 2.7M tokens); held-out prompts use pairs of names
and pairs of place and object that no training sentence contains; four further templates never occur in training.
"""

from __future__ import annotations

import random
from typing import Literal

from monosema.core.errors import InputError
from monosema.data.tasks.names import NAMES, OBJECTS, PLACES
from monosema.data.tasks.task import Prompt, Split, Task, TaskFamily, fill, in_split

TEMPLATES = (
    "Then, {N1} and {N2} went to the {PLACE}. {S2} gave a {OBJECT} to",
    "When {N1} and {N2} arrived at the {PLACE}, {S2} handed a {OBJECT} to",
    "After {N1} and {N2} had met at the {PLACE}, {S2} brought a {OBJECT} to",
    "One morning {N1} and {N2} walked to the {PLACE}. There {S2} showed a {OBJECT} to",
    "While {N1} and {N2} were working at the {PLACE}, {S2} passed a {OBJECT} to",
    "Today {N1} and {N2} had a long talk in the {PLACE}. Afterwards {S2} said good night to",
    "The {PLACE} was quiet when {N1} and {N2} came in, and {S2} offered a {OBJECT} to",
    "Yesterday {N1} and {N2} found a {OBJECT} near the {PLACE}. At once {S2} gave it to",
    "Because {N1} and {N2} were late for the {PLACE}, {S2} sent a {OBJECT} to",
    "Friends said that {N1} and {N2} lived by the {PLACE}, where {S2} sold a {OBJECT} to",
    "As {N1} and {N2} left the {PLACE}, {S2} threw a {OBJECT} to",
    "Once {N1} and {N2} had bought a {OBJECT} at the {PLACE}, {S2} decided to give it to",
    "In the evening {N1} and {N2} sat down in the {PLACE}, and {S2} read a letter to",
    "Long ago {N1} and {N2} shared a room near the {PLACE}, and {S2} lent a {OBJECT} to",
    "It was cold at the {PLACE} when {N1} met {N2}, so {S2} carried a {OBJECT} to",
)
UNSEEN_TEMPLATES = (
    "Last week {N1} and {N2} visited the {PLACE}. In the end {S2} gave a {OBJECT} to",
    "Before {N1} and {N2} returned from the {PLACE}, {S2} promised a {OBJECT} to",
    "On their way to the {PLACE}, {N1} and {N2} stopped for a while, and {S2} showed a {OBJECT} to",
    "At noon {N1} and {N2} were alone in the {PLACE}. Then {S2} handed the {OBJECT} to",
)
OPENINGS = (
    "", "", "So ", "Then ", "Often ", "Today ", "Later ", "In May ", "That day ", "This time ", "On Sunday ",
    "After dinner ", "In the winter ", "A year ago ", "At midnight ", "To their joy ", "As usual ", "By chance ",
    "Two days later ",
)  # fmt: skip
TIME_PREPOSITIONS = (
    "At", "By", "Until", "Since", "From", "Around", "Towards", "During", "All through", "Shortly after", "Long after",
    "Just after", "Not long after", "Every year after", "Only after", "Some time after", "Right after",
)  # fmt: skip
TIME_WORDS = (
    "sunrise", "dark", "lunch", "the storm", "the war", "the concert", "the flood", "their wedding",
    "the last lesson", "the first snow", "the big game", "the long walk", "the old song", "the second act",
    "the holidays", "the trial", "supper", "the harvest", "the party", "the news", "the exam", "the funeral",
    "the wet spring", "ten", "the phone call",
)  # fmt: skip
STRAY_WORDS = (
    "again", "alone", "always", "big", "blue", "bread", "but", "clouds", "cold", "colour", "door", "down",
    "ear", "every", "far", "fire", "five", "for", "glass", "green", "hard", "here", "horse", "if", "iron",
    "just", "king", "last", "light", "line", "little", "long", "many", "men", "moon", "more", "much", "never",
    "night", "no", "not", "of", "old", "on", "once", "open", "out", "over", "poor", "rather", "red", "road",
    "salt", "sea", "seven", "ship", "short", "silver", "small", "snow", "soft", "some", "song", "street",
    "summer", "sun", "that", "the", "there", "three", "time", "town", "tree", "under", "up", "very", "walls",
    "water", "week", "white", "wind", "wood", "year",
)  # fmt: skip
MEETINGS = (
    "went to the {PLACE}", "were at the {PLACE}", "met in the {PLACE}", "waited near the {PLACE}",
    "ran to the {PLACE}", "worked in the {PLACE}", "came back to the {PLACE}", "saw the old {PLACE}",
    "looked for a {PLACE}", "had to leave the {PLACE}", "talked about the {PLACE}", "cleaned the {PLACE} together",
    "drove past the {PLACE}", "got lost on the road to the {PLACE}", "lived in a {PLACE}",
    "liked the new {PLACE} very much",
)  # fmt: skip
CONJUNCTIONS = ("When", "After", "As", "While", "Once", "Because", "Since", "Although", "As soon as", "Every time")
DOINGS = (
    "sat down", "had a rest", "talked for a long time", "began to laugh", "played all day", "waited for the rain",
    "looked at each other", "could not sleep", "were alone", "worked hard", "heard a strange noise", "drank some tea",
)  # fmt: skip
WHERE = ("In the {PLACE}", "At the {PLACE}", "Near the {PLACE}", "Not far from the {PLACE}", "Behind the old {PLACE}")
LINKS = (
    ". ", ". Soon ", ". Later ", ", and ", ", but ", ", so ", ". Of course ", ". A little later ", ". Without a word ",
    ". After that ", ". Now ", ". Next ", "; ", ", and then ", ". There ", ". The next day ", ". To be kind, ",
    ", and in the evening ", ". Suddenly ", ". For once ",
)  # fmt: skip
FILLERS = (
    "It was late", "The weather was fine", "Nobody else was there", "The door was open", "It had been a long day",
    "All was quiet", "The sun went down", "There was little to eat",
)  # fmt: skip
GIVINGS = (
    "gave a {OBJECT} to", "handed a {OBJECT} to", "brought the {OBJECT} to", "showed the old {OBJECT} to",
    "sold a {OBJECT} to", "sent a new {OBJECT} to", "passed the {OBJECT} to", "threw a {OBJECT} to",
    "took a {OBJECT} and gave it to", "talked about the {OBJECT} to", "sang a song to", "said good morning to",
    "told a long story to", "waved to", "wrote a few lines to", "wanted to give a {OBJECT} to",
    "was happy to lend a {OBJECT} to", "listened to",
)  # fmt: skip
TEMPLATE_SHARE = 0.25
"""Share of training sentences from the fifteen templates; the others come from the grammar."""
Templates = Literal["seen", "unseen"]
TEMPLATE_SETS: dict[Templates, str] = {"seen": "held-out pairs", "unseen": "held-out pairs, unseen templates"}
PAUSES = ("", "", "", " for an hour", " again", " with some friends", " in the rain", " before it grew dark")
ASIDES = ("", "", "", "", "quickly ", "once more ", "at last ", "with a smile ")
Order = Literal["ABBA", "BABA"]
ORDERS: tuple[Order, ...] = ("ABBA", "BABA")
Corruption = Literal["abc", "io", "s2"]


def _draw_words(rng: random.Random, split: Split) -> tuple[str, str, str, str]:
    """Two names, a place and an object of the split: both pairs must be in it, neither pair may be in the other."""
    while True:
        io, subject = rng.sample(NAMES, 2)
        if in_split(split, "names", *sorted((io, subject))):
            break
    while True:
        place, thing = rng.choice(PLACES), rng.choice(OBJECTS)
        if in_split(split, "things", place, thing):
            return io, subject, place, thing


def _prompt(
    rng: random.Random, split: Split, template: str, order: Order, form: str, corruption: Corruption = "abc"
) -> Prompt:
    io, subject, place, thing = _draw_words(rng, split)
    first, second = (io, subject) if order == "ABBA" else (subject, io)
    roles = {"N1": "IO" if order == "ABBA" else "S1", "N2": "S1" if order == "ABBA" else "IO"}
    words = {"N1": first, "N2": second, "S2": subject, "PLACE": place, "OBJECT": thing}
    clean, spans = fill(template, words, roles)
    others = rng.sample([name for name in NAMES if name not in (io, subject)], 3)
    swaps = {
        "abc": dict(zip(("N1", "N2", "S2"), others, strict=True)),
        "io": {"N1" if order == "ABBA" else "N2": others[0]},
        "s2": {"S2": io},
    }
    corrupt, _ = fill(template, words | swaps[corruption])
    return Prompt(
        clean=clean, corrupt=corrupt, correct=(f" {io}",), wrong=(f" {subject}",), spans=spans, form=f"{form}-{order}"
    )


def _stray(rng: random.Random, least: int, most: int) -> str:
    """Words without sense: where only names and their repetition are left to go by, no form can be learnt by heart."""
    return " ".join(rng.choices(STRAY_WORDS, k=rng.randint(least, most)))


def _opening(rng: random.Random) -> str:
    """Draw the beginning of a sentence before the names: nothing, a phrase of the list, a composed time, or words."""
    form = rng.random()
    if form < 0.3:
        return rng.choice(OPENINGS)
    if form < 0.7:
        comma = rng.choice(("", ","))
        return f"{rng.choice(TIME_PREPOSITIONS)} {rng.choice(TIME_WORDS)}{comma} "
    return f"{_stray(rng, 1, 5).capitalize()} "


def _link(rng: random.Random) -> str:
    """Draw the words between the meeting and the second mention of the subject."""
    form = rng.random()
    link = rng.choice(LINKS)
    if form < 0.3:
        return f". {rng.choice(FILLERS)}{link}"
    if form < 0.45:
        return f"{rng.choice(('. ', ', ', '; '))}{_stray(rng, 1, 6)} "
    if form < 0.6:
        return f". {rng.choice(TIME_PREPOSITIONS)} {rng.choice(TIME_WORDS)} "
    return link


def _free_template(rng: random.Random) -> str:
    """A template of the grammar: two people somewhere, then one of them does something for the other."""
    pause, aside, giving = rng.choice(PAUSES), rng.choice(ASIDES), rng.choice(GIVINGS)
    names = rng.choice(("{N1} and {N2}", "{N1} and {N2}", "{N1} together with {N2}", "{N1} met {N2} and they"))
    link = _link(rng)
    if rng.random() < 0.15:
        return f"{_opening(rng)}{names} {_stray(rng, 1, 8)}{link}{{S2}} {_stray(rng, 1, 5)} {giving}"
    form = rng.random()
    if form < 0.4:
        before = f"{_opening(rng)}{names} {rng.choice(MEETINGS)}{pause}{link}"
    elif form < 0.65:
        before = f"{rng.choice(CONJUNCTIONS)} {names} {rng.choice(MEETINGS)}{pause}, "
    elif form < 0.85:
        before = f"{rng.choice(WHERE)}, {names} {rng.choice(DOINGS)}{link}"
    else:
        before = f"{_opening(rng)}{names} {rng.choice(DOINGS)}{pause} in the {{PLACE}}{link}"
    return f"{before}{{S2}} {aside}{giving}"


def sentences(rng: random.Random, n: int, split: Split = "train") -> list[str]:
    """n full sentences over the fifteen templates and the grammar in both orders, with pairs of the split."""
    made = []
    for _ in range(n):
        template = rng.choice(TEMPLATES) if rng.random() < TEMPLATE_SHARE else _free_template(rng)
        prompt = _prompt(rng, split, template, rng.choice(ORDERS), "")
        made.append(f"{prompt.clean}{prompt.correct[0]}.")
    return made


def prompts(
    rng: random.Random,
    n: int,
    split: Split = "train",
    *,
    templates: Templates = "seen",
    order: Order | None = None,
    corruption: Corruption = "abc",
) -> Task:
    """n prompts with pairs of the split; `templates="unseen"` uses the templates that no training sentence has.

    `corruption` says which names the corrupted prompts have others for: all three, the indirect object, or the second
    mention of the subject.
    """
    if templates == "unseen" and split != "test":
        raise InputError("templates='unseen' needs split='test': the unseen templates are held out from training.")
    pool = {"seen": TEMPLATES, "unseen": UNSEEN_TEMPLATES}[templates]
    made = []
    for index in range(n):
        which = rng.randrange(len(pool))
        form = f"{templates}{which}"
        made.append(_prompt(rng, split, pool[which], order or ORDERS[index % 2], form, corruption))
    return Task(name="ioi", metric="logit_difference", split=split, prompts=tuple(made))


FAMILY = TaskFamily(
    name="ioi",
    about="indirect object identification (Wang et al. 2022)",
    metric="logit_difference",
    sentences=sentences,
    prompts=prompts,
)
