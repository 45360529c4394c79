"""Generated stories."""

from __future__ import annotations

import random

__all__ = ["story"]


def story(rng: random.Random) -> tuple[str, str]:
    """(source, text)."""
    return "story", f"Once there was a number {rng.randint(0, 10**6)}."
