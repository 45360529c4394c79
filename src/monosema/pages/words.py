"""The pages' words: every text that a page shows beside the run's own passes through `say`.

Texts are English in the sources, in Python, templates and scripts alike; here they are replaced by those of another
language, and on pages of items (which are no tokens of a text) by words for these.
"""

from __future__ import annotations

from collections.abc import Mapping

ITEMS: Mapping[str, str] = {}
"""English of pages whose examples are tokens of a text, to English of pages whose examples are items."""


def say(text: str) -> str:
    """Return a text as the reader is told it."""
    return text


def of_script() -> dict[str, str]:
    """Return the texts that the page's scripts say otherwise than their sources do: `monosema.say` looks here."""
    return {}
