"""Tokens as people read them: bytes that make a character together are joined, whatever the script.

A vocabulary of bytes writes 한 as three tokens, ``<0xED>``, ``<0x95>``, ``<0x9C>`` (`Tokenizer.tokens`), of which none
can be read. Everything that shows tokens shows these.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_SIGNS = str.maketrans({"\n": "↵", "\r": "␍", "\t": "⇥"})


@dataclass(frozen=True)
class ShownToken:
    """A stretch of tokens that is read as one.

    Attributes:
        text: whole characters; U+FFFD for bytes that make none.
        start, stop: its tokens.
    """

    text: str
    start: int
    stop: int


def shown_tokens(tokens: Sequence[str]) -> list[ShownToken]:
    """Join tokens whose bytes make characters together; every other token stays as it is."""
    shown: list[ShownToken] = []
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text, start = "", 0
    for index, token in enumerate(tokens):
        content = _bytes(token)
        if decoder.getstate()[0] and not 0x80 <= (content[:1] or b" ")[0] < 0xC0:
            # The character before is never finished.
            shown.append(ShownToken(text + decoder.decode(b"", True), start, index))
            text, start = "", index
            decoder.reset()
        text += decoder.decode(content)
        if not decoder.getstate()[0]:
            shown.append(ShownToken(text, start, index + 1))
            text, start = "", index + 1
    if start < len(tokens):
        shown.append(ShownToken(text + decoder.decode(b"", True), start, len(tokens)))
    return shown


def shown_text(tokens: Sequence[str]) -> str:
    """Join tokens to the text that they make."""
    text = "".join(tokens)
    return text if "<0x" not in text else "".join(one.text for one in shown_tokens(tokens))


def visible(text: str) -> str:
    """Write line breaks and tabs as signs."""
    return text.translate(_SIGNS)


def quoted(token: str, spaced: bool = True) -> str:
    """Write one token for a sentence: “the”; “-ing” where it goes on with a word; “↵␣␣” for white space; byte EC.

    Args:
        spaced: words of the vocabulary begin with a space, so that a token without one goes on with a word.
    """
    found = _BYTE.findall(token)
    if found and not _BYTE.sub("", token).strip():
        return f"byte{'s' if len(found) > 1 else ''} {' '.join(found)}"
    text = visible(token)
    if not token.strip():
        return f"“{text.replace(' ', '␣')}”"
    return f"“{'-' if spaced and token[0].islower() else ''}{text.strip()}”"


def _bytes(token: str) -> bytes:
    """Return the bytes that a token's text stands for."""
    parts = _BYTE.split(token)
    return b"".join(
        bytes([int(part, 16)]) if number % 2 else part.encode("utf-8", "replace") for number, part in enumerate(parts)
    )
