"""What one generated text is about: who, where, when; and the words drawn for it, which don't repeat themselves."""

from __future__ import annotations

import random
from typing import Any

from builtin_text.settings import SETTINGS
from monosema.data.tasks.names import FEMALE, MALE

PRONOUNS = {"m": ("he", "him", "his", "himself"), "f": ("she", "her", "her", "herself")}
KIN = {
    "m": "brother uncle grandfather father cousin nephew son",
    "f": "sister aunt grandmother mother cousin niece daughter",
}
POOLS = {
    "weather": "rain snow fog wind sunshine thunder drizzle frost heat hail",
    "season": "spring summer autumn winter",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "month": "January February March April May June July August September October November December",
    "colour": "red blue green yellow white black grey brown silver golden purple orange",
    "animal": "dog cat horse donkey parrot goose rabbit mouse crow goat pony hedgehog",
    "size": "small large huge tiny heavy narrow enormous light long short",
    "material": "wood iron glass paper stone leather silver clay wool copper bone silk",
    "trait": """patient curious stubborn honest shy proud careful lazy brave clever quiet cheerful strict
        generous nervous
        absent-minded polite suspicious""",
    "feeling": """happy afraid tired angry surprised proud ashamed hopeful jealous calm lonely relieved bored
        excited sad
        grateful confused""",
    "manner": """slowly quickly quietly loudly carefully suddenly gently sadly politely firmly at_once without_a_word
        in_a_whisper with_a_laugh after_a_while""",
    "hour": "one two three four five six seven eight nine ten eleven twelve",
    "few": "two three four five six seven eight nine",
    "town": """London Paris Berlin Rome Madrid Vienna Dublin Lisbon Oslo Prague Boston Chicago Toronto Sydney Cairo
        Moscow Athens Geneva Bristol Oxford""",
    "food": """bread cheese soup apples cake porridge fish plums rice honey potatoes tea pancakes onions chestnuts
        sausages""",
    "verb_said": "said answered replied whispered explained murmured shouted insisted admitted suggested",
}
"""Words by slot; `_` stands for a space."""


class World(dict[str, Any]):
    """Words by slot, drawn when a template asks for them.

    A slot such as ``thing`` or ``sight`` gives another phrase each time; with a digit (``thing1``) it keeps
        what it gave
    first. ``a_thing1`` puts the article before it, and a slot with a capital letter begins with one. ``he``, ``him``,
    ``his``, ``self`` and ``kin`` belong to the hero ``name``; with ``2`` to ``name2``. ``place``, ``people``,
        ``thing``,
    ``deed``, ``sight``, ``trouble``, ``remedy``, ``saying`` and ``fact`` belong to the setting; ``elsewhere``
        is another.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng
        self._setting, other = rng.sample(SETTINGS, 2)
        self._bags: dict[str, list[str]] = {}
        self["place"], self["elsewhere"] = self._setting.place, other.place
        names: set[str] = set()
        for suffix in ("", "2", "3"):
            sex = rng.choice("mf")
            name = rng.choice([n for n in (MALE if sex == "m" else FEMALE) if n not in names])
            names.add(name)
            self["name" + suffix] = name
            pronouns = zip(("he", "him", "his", "self"), PRONOUNS[sex], strict=True)
            self.update({key + suffix: word for key, word in pronouns})
            self["kin" + suffix] = rng.choice(KIN[sex].split())
        self["year"] = str(rng.randint(1700, 2020))
        self["number"] = str(rng.choice((rng.randint(11, 99), rng.randint(100, 999), 10 * rng.randint(2, 60))))

    def __missing__(self, key: str) -> str:
        if key[0].isupper():
            text: str = self[key[0].lower() + key[1:]]
            return text[0].upper() + text[1:]
        if key.startswith("a_"):
            text = self[key[2:]]
            return f"an {text}" if text[0] in "aeiou" else f"a {text}"
        kind = key.rstrip("0123456789")
        text = self._draw(kind)
        if key != kind:
            self[key] = text
        return text

    def _draw(self, kind: str) -> str:
        """A phrase of a kind; none comes twice before all have come."""
        if kind in ("date", "age"):
            return str(self.rng.randint(1, 28) if kind == "date" else self.rng.randint(16, 88))
        bag = self._bags.get(kind)
        if not bag:
            plural = {"deed": "deeds", "remedy": "remedies", "people": "people"}.get(kind, f"{kind}s")
            bag = POOLS[kind].split() if kind in POOLS else list(getattr(self._setting, plural))
            self.rng.shuffle(bag)
            self._bags[kind] = bag
        return bag.pop().replace("_", " ").format_map(self)

    def tell(self, *templates: str) -> str:
        """One of the templates, filled."""
        return self.rng.choice(templates).format_map(self)

    def tell_each(self, low: int, high: int, *templates: str) -> list[str]:
        """Between `low` and `high` of the templates in random order, filled."""
        return [template.format_map(self) for template in self.rng.sample(templates, self.rng.randint(low, high))]

    def tell_some(self, low: int, high: int, *templates: str) -> str:
        """The same as one paragraph."""
        return " ".join(self.tell_each(low, high, *templates))
