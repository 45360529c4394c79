"""Numbers of things in messages: one thing, two things."""

from __future__ import annotations


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it isn't 1: 1 row, 2 rows, 3 batches."""
    if n == 1:
        return f"1 {noun}"
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{n:,} {noun}es"
    return f"{n:,} {noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{n:,} {noun}s"
