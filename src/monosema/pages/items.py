"""The block of items: what the page shows of each item beside its name."""

from __future__ import annotations

from typing import Any

import numpy as np

from monosema.items import Items
from monosema.pages.packing import pack
from monosema.pages.tables import Passages

PICTURES_MB = 4.0
"""Size of all pictures together; the strongest items of features have theirs first."""
_LONGEST = 160
"""Characters of a value that are shown."""


def items_block(items: Items, passages: Passages) -> str:
    """Pack the other columns and the pictures of the items that are shown."""
    order = np.lexsort((passages.kind, passages.rank))
    shown: list[int] = list(dict.fromkeys(passages.document[order].tolist()))
    facts = {row: _plain(one) for row, one in zip(shown, items.facts(shown), strict=True)}
    pictures: dict[int, str] = {}
    room = PICTURES_MB * 1e6
    for row, uri in items.pictures(shown):
        room -= len(uri)
        if room < 0:
            break
        pictures[row] = uri
    return pack({}, {"facts": facts, "pictures": pictures, "missing": len(shown) - len(pictures)})


def _plain(facts: dict[str, Any]) -> dict[str, str]:
    texts = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in facts.items()}
    return {name: text if len(text) <= _LONGEST else text[:_LONGEST] + " …" for name, text in texts.items()}
