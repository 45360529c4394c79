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


def items_block(items: Items, passages: Passages) -> tuple[str, dict[str, str]]:
    """Pack the other columns and the pictures of the items that are shown; say also which pictures are left out, and
    why."""
    order = np.lexsort((passages.kind, passages.rank))
    shown: list[int] = list(dict.fromkeys(passages.document[order].tolist()))
    facts = {row: _plain(one) for row, one in zip(shown, items.facts(shown), strict=True)}
    pictures: dict[int, str] = {}
    room, unread, left_out = PICTURES_MB * 1e6, 0, 0
    for row, read in items.pictures(shown):
        if room < 0:
            left_out += 1
        elif (uri := read()) is None:
            unread += 1
        elif (room := room - len(uri)) < 0:
            left_out += 1
        else:
            pictures[row] = uri
    total = unread + left_out + len(pictures)
    absent = {}
    if unread:
        why = "there is no such file, or it is no picture, or too large to be shown"
        absent[f"the pictures of {unread:,} of {total:,} items"] = why
    if left_out:
        why = f"all pictures take {PICTURES_MB:g} MB at most"
        absent[f"the pictures of {left_out:,} of {total:,} items, the weakest"] = why
    return pack({}, {"facts": facts, "pictures": pictures}), absent


def _plain(facts: dict[str, Any]) -> dict[str, str]:
    texts = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in facts.items()}
    return {name: text if len(text) <= _LONGEST else text[:_LONGEST] + " …" for name, text in texts.items()}
