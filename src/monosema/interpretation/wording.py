r"""Passages as text for language models, and the reading of their replies.

Two forms. *Highlighted*: one line, with the tokens that matter between « and ». *Token by token* (Bills et al. 2023):
one line a token, then a tab, then a whole number from 0 to 10.

Whatever the passage holds, none of it can be taken for a sign of ours: within tokens, a backslash stands before «, »
and itself, and control characters and line ends are written as escapes (``\n``, ``\t``, ``\u0085``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import NDArray

OPEN, CLOSE = "«", "»"
LEVELS = 10
"""Largest whole number for an activation."""

_NAMED = {"\\": "\\\\", OPEN: f"\\{OPEN}", CLOSE: f"\\{CLOSE}", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_CONTROLS = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029]
_ESCAPES = {code: f"\\u{code:04x}" for code in _CONTROLS} | {ord(sign): text for sign, text in _NAMED.items()}
_PLAIN = {text[1]: sign for sign, text in _NAMED.items()}
_ESCAPED = re.compile(r"\\(?:u([0-9a-f]{4})|(.))")
_LINE = re.compile(r"^([^\t\n]*)\t *(10|[0-9]) *$", re.MULTILINE)


def escape(token: str) -> str:
    """Write a token in one line, without any of our signs."""
    return token.translate(_ESCAPES)


def unescape(text: str) -> str:
    """Undo `escape`; an unknown escape stays as it is."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else _PLAIN.get(found[2], found[0]), text)


def highlighted(tokens: Sequence[str], marks: Bool[np.ndarray, " n"] | None = None) -> str:
    """Write a passage in one line; each stretch of marked tokens stands between « and »."""
    text, inside = [], False
    for token, mark in zip(tokens, np.zeros(len(tokens), np.bool_) if marks is None else marks, strict=True):
        if mark != inside:
            text.append(OPEN if mark else CLOSE)
            inside = bool(mark)
        text.append(escape(token))
    return "".join(text) + (CLOSE if inside else "")


def levels(activations: Sequence[float] | NDArray[np.floating], maximum: float) -> Int[np.ndarray, " n"]:
    """Return activations as whole numbers: min(10, ⌊10 · max(a, 0) / maximum⌋) (Bills et al. 2023)."""
    values = np.maximum(np.asarray(activations, np.float64), 0.0)
    if maximum <= 0:
        return np.zeros(len(values), np.int64)
    return np.minimum(np.floor(LEVELS * values / maximum + 1e-9), LEVELS).astype(np.int64)


def token_lines(tokens: Sequence[str], values: Sequence[int] | NDArray[np.int64] | None = None) -> str:
    """Write a passage token by token; values follow after a tab."""
    if values is None:
        return "\n".join(map(escape, tokens))
    return "\n".join(f"{escape(token)}\t{value}" for token, value in zip(tokens, values, strict=True))


def read_lines(text: str, tokens: Sequence[str]) -> list[tuple[int, int]] | None:
    """Read the values that a model wrote after tokens, and the start of each value in the text.

    Returns:
        One (value, start) per token; None where the lines are not those of the tokens: another number of them, or
        another token in one. Spaces at the ends of tokens are ignored, as models drop them.
    """
    found = list(_LINE.finditer(text))
    if len(found) != len(tokens):
        return None
    if any(line[1].strip() != escape(token).strip() for line, token in zip(found, tokens, strict=True)):
        return None
    return [(int(line[2]), line.start(2)) for line in found]
