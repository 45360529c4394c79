"""The pages' words: every text that a page shows beside the run's own passes through `say`.

Texts are English in the sources, in Python, templates and scripts alike. On pages of items, which are no tokens of a
text, they are said in words for these; the scripts get the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from monosema.core.language import LANGUAGES, catalogue, language

ITEMS = (
    (r"Search labels, tokens, passages", "Search labels and items"),
    (r"Passages, densities and labels come", "Examples, densities and labels come"),
    (r"tokens of text\b", "items"),
    (r"passages that no explainer saw", "the half of the items that no explainer saw"),
    (r"on passages it was not made from", "on the half of the items that it was not made from"),
    (
        r"By balanced accuracy and detection 0\.5 is chance.*",
        "By balanced accuracy 0.5 is chance and 1 is perfect.",
    ),
    (r"never fired on (this text|the text of the atlas)", "never active on any item"),
    (r"(the held-out|other) text\b", r"\1 items"),
    (r"text that looks alike excites", "items that look alike excite"),
    (r"the model’s activations", "the vectors"),
    (r"(of the|rebuilds|rebuilt) activations", r"\1 vectors"),
    (r"Of each activation and", "Of each vector and"),
    (r"\b([Aa]) (token|passage)\b", r"\1n item"),
    (r"\bPassages?\b", "Items"),
    (r"\bpassages\b", "items"),
    (r"\bpassage\b", "item"),
    (r"\bTokens\b", "Items"),
    (r"\btokens\b", "items"),
    (r"\btoken\b", "item"),
)
"""Patterns of pages whose examples are tokens of a text, and what stands there where examples are items."""
ITEMS_SAID = {"ko": (("구절", "항목"), ("토큰", "항목"), ("텍스트", "항목"))}
"""Words of other languages for tokens and passages, and what stands there where examples are items."""
_rules: ContextVar[Sequence[tuple[str, str]]] = ContextVar("rules", default=())


@contextmanager
def rewording(rules: Sequence[tuple[str, str]]) -> Iterator[None]:
    """Have `say` follow these rules while the block runs."""
    token = _rules.set(rules)
    try:
        yield
    finally:
        _rules.reset(token)


def say(text: str) -> str:
    """Return a text as the reader is told it."""
    for pattern, other in _rules.get():
        text = re.sub(pattern, other, text)
    return text


def languages() -> dict[str, Any]:
    """Return the texts of the languages that the page can be read in, the one that it starts in, and their names."""
    texts = {}
    for code in LANGUAGES:
        if parts := catalogue(code):
            texts[code] = {say(english): said for english, said in {**parts["terminal"], **parts["page"]}.items()}
            for word, other in ITEMS_SAID[code] if _rules.get() else ():
                texts[code] = {english: said.replace(word, other) for english, said in texts[code].items()}
    return {"languages": texts, "language": language(), "names": LANGUAGES}


def of_script() -> list[tuple[str, str]]:
    """Return the rules by which `say` of elements.js says the scripts' texts otherwise than their sources do."""
    return [(pattern, other.replace("\\1", "$1")) for pattern, other in _rules.get()]
