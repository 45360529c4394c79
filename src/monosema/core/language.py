"""The language that people are spoken to in: English in the sources, others from a catalogue in ``languages/``.

Texts are written in English where they are made, and translated where they are shown: on the terminal and on pages. A
catalogue maps English to the other language. In its keys ``{}`` stands for any text within a sentence, itself
translated where it is known, ``{s}`` for several sentences, ``{v}`` for a name that stays as it is, and ``{n}`` for a
number; the translation takes them up as ``{0}``, ``{1}`` or, in the same order, ``{}``. What a catalogue doesn't have
stays English.
"""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

LANGUAGES: Mapping[str, str] = {"en": "English", "ko": "한국어"}
"""Names of the languages, each in itself, by their codes."""
ENGLISH = "en"
VARIABLES = ("MONOSEMA_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
"""Environment variables that say the language; the first that is set counts."""
_PLACES = {
    "{}": r"((?:(?!\. | · ).)*?)",
    "{v}": r"(?P<v{n}>(?:(?!\. | · ).)*?)",
    "{s}": "(.*?)",
    "{n}": r"([-−+]?[\d.,:]+(?: ?%)?)",
}
_PLACE = re.compile(r"(\{[nvs]?\})")
_SENTENCES = re.compile(r"(?<=[.!?…]) (?=[A-Z–-])")
_NAME = re.compile(r"[^a-zA-Z]*|\S*[\d_./@:`'\"]\S*")  # a number, a file, a site, a key: the same in every language
_PARTICLE = re.compile(r"(\S+) ?(이|은|을)\((가|는|를)\)")
_LISTED = re.compile(r"(\(|\)|, |; |: | · | or | and )")


def language() -> str:
    """Return the code of the user's language; English where the environment names none that we speak."""
    named = next((os.environ[name] for name in VARIABLES if os.environ.get(name)), ENGLISH)
    code = re.split(r"[_.@-]", named.lower())[0]
    return code if code in LANGUAGES else ENGLISH


@contextlib.contextmanager
def speaking(code: str | None) -> Iterator[None]:
    """Speak a language within the block, in this process and those it starts; None leaves it to the environment."""
    before = os.environ.get(VARIABLES[0])
    if code is not None:
        os.environ[VARIABLES[0]] = code
    try:
        yield
    finally:
        if code is not None:
            os.environ.pop(VARIABLES[0])
            if before is not None:
                os.environ[VARIABLES[0]] = before


@cache
def catalogue(code: str) -> Mapping[str, Mapping[str, str]]:
    """Return the translations into a language, from English, by the part of monosema that they belong to."""
    source = files("monosema.core") / "languages" / f"{code}.toml"
    return {} if code == ENGLISH else tomllib.loads(source.read_text(encoding="utf-8"))


def translate(text: str, code: str | None = None) -> str:
    """Say a text in a language, the user's by default: the whole, else sentence by sentence, else as it is."""
    known = _known(code or language())
    return text if known is None else known.translate(text)


@dataclass(frozen=True)
class _Known:
    """A catalogue ready for look-up: whole texts, and patterns of texts with places, the longest first."""

    whole: Mapping[str, str]
    patterns: tuple[tuple[re.Pattern[str], str], ...]

    def translate(self, text: str) -> str:
        """Say a text as a whole, else its sentences, else the things that it lists; what is not known stays."""
        said = self.say(text)
        if said is not None:
            return said
        sentences = _SENTENCES.split(text)
        for n in range(len(sentences) - 1, 0, -1):  # as many of the first ones as are known together
            if (said := self.say(" ".join(sentences[:n]))) is not None or n == 1:
                first = self._listed(sentences[0]) if said is None else said
                return f"{first} {self.translate(' '.join(sentences[n:]))}"
        return self._listed(text)

    def _listed(self, text: str) -> str:
        """Say a list all of whose things are known or names; else it stays as it is, never half of it."""
        things, between = _LISTED.split(text)[::2], _LISTED.split(text)[1::2]
        said = [self.say(thing) or (thing if _NAME.fullmatch(thing.strip()) else None) for thing in things]
        if len(things) == 1 or text.rstrip().endswith(".") or None in said:
            return text
        joints = [*(self.say(one) or one for one in between), ""]
        return "".join(f"{thing}{joint}" for thing, joint in zip(said, joints, strict=True))

    def say(self, text: str) -> str | None:
        """Return the translation of a whole text, with the blanks around it; None where it is not known."""
        words = " ".join(text.split())
        said = self.whole.get(words) or next(self._fitting(words), None)
        return None if said is None else text[: len(text) - len(text.lstrip())] + said + text[len(text.rstrip()) :]

    def _fitting(self, text: str) -> Iterator[str]:
        for pattern, said in self.patterns:
            if found := pattern.fullmatch(text):
                names = pattern.groupindex.values()
                parts = enumerate(found.groups(), 1)
                yield agreeing(said.format(*(p if n in names else self.translate(p) for n, p in parts)))


def agreeing(korean: str) -> str:
    """Choose each particle that is written both ways, 은(는), by the sound that the word before it ends in."""
    return _PARTICLE.sub(lambda found: found[1] + found[2 if _closed(found[1]) else 3], korean)


def _closed(word: str) -> bool:
    """Return True for a word whose last syllable ends in a consonant, as it is read: Hangul, a digit or a letter."""
    last = next((sign for sign in reversed(word) if sign.isalnum()), "")
    return (ord(last) - ord("가")) % 28 > 0 if "가" <= last <= "힣" else last.lower() in tuple("013678lmn")


@cache
def _known(code: str) -> _Known | None:
    texts = {key: said for part in catalogue(code).values() for key, said in part.items()}
    if not texts:
        return None
    patterned = sorted((key for key in texts if _PLACE.search(key)), key=len, reverse=True)
    return _Known(texts, tuple((re.compile(_pattern(key)), texts[key]) for key in patterned))


def _pattern(key: str) -> str:
    """Return the regular expression of a key; names have groups with names, so that they stay as they are."""
    parts = enumerate(_PLACE.split(key))
    return "".join(_PLACES[part].format(n=n) if part in _PLACES else re.escape(part) for n, part in parts)
