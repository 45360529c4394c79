"""Repetition: how much of a text says what it said before.

    distinct n-grams = number of different n-grams of tokens / number of n-grams,     zlib = bytes deflated / bytes

Both are 1 for a text that never repeats itself (zlib's about: letters alone can be packed a little, very short texts
not at all) and fall towards 0 for one that goes round in circles, as strong steering often makes it. (Li et al. 2016,
arXiv 1510.03055, for distinct n-grams.)
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

_RAW = -zlib.MAX_WBITS


def distinct_ngrams(tokens: Sequence[int], n: int) -> tuple[int, int]:
    """Count the different n-grams of a text, and all of them; (0, 0) of a text of fewer than n tokens."""
    grams = [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]
    return len(set(grams)), len(grams)


def deflated_bytes(text: str) -> tuple[int, int]:
    """Count the bytes of a text when deflated, without zlib's own header, and the bytes of it; (0, 0) of no text."""
    content = text.encode()
    if not content:
        return 0, 0
    packer = zlib.compressobj(9, wbits=_RAW)
    return len(packer.compress(content) + packer.flush()), len(content)
