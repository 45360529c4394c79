"""Documents written as chats: a chat model's own template around paragraphs of a text.

Plain text never shows what a chat model does at the tokens of its template. Paragraphs become the messages of a user
and an assistant in turn; their contents are the document's, so nothing is made up but who is said to speak.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from monosema.data.tokens import TextEncoder

MESSAGES = 6
"""In one conversation; the next paragraphs begin another."""
_PARAGRAPHS = re.compile(r"\n\s*\n")


@runtime_checkable
class ChatFormat(Protocol):
    """Writes messages as one text; `monosema.models.ChatTemplate` is one."""

    def render(self, messages: Sequence[Mapping[str, str]], *, answer: bool = ...) -> str:
        """The messages as one text; with `answer`, up to where the model's answer begins."""
        ...


@runtime_checkable
class ChatEncoder(TextEncoder, Protocol):
    """A tokenizer of a model that can be talked to; `monosema.models.Tokenizer` is one."""

    @property
    def chat_template(self) -> ChatFormat | None:
        """Template that writes messages as one text; None where the model has none."""
        ...

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids of tokens that mark something and are no text."""
        ...


def is_chat(text: str, share: float) -> bool:
    """Check if a document belongs to the share written as chats: by a hash of its text alone, which says nothing
    about the held-out split."""
    content = text.encode("utf-8", "surrogatepass")
    point = int.from_bytes(hashlib.blake2b(content, digest_size=8, person=b"chat").digest(), "little")
    return point < share * 2.0**64


def as_chats(text: str, template: ChatFormat) -> str:
    """A document as conversations, one after the other. A document of one paragraph is cut in two near its middle.

    Raises InputError when the template refuses messages of a user and an assistant in turn.
    """
    parts = [part.strip() for part in _PARAGRAPHS.split(text) if part.strip()]
    if len(parts) == 1:
        parts = _halves(parts[0])
    roles = ("user", "assistant")
    messages = [{"role": roles[index % MESSAGES % 2], "content": part} for index, part in enumerate(parts)]
    begins = range(0, len(messages), MESSAGES)
    return "".join(template.render(messages[begin : begin + MESSAGES], answer=False) for begin in begins)


def _halves(text: str) -> list[str]:
    """The text in two, at the end of a sentence or else of a word, as near to its middle as there is one."""
    for pattern in (r"(?<=[.!?])\s+", r"\s+"):
        cuts = list(re.finditer(pattern, text))
        if cuts:
            cut = min(cuts, key=lambda found: abs(found.start() - len(text) // 2))
            return [text[: cut.start()], text[cut.end() :]]
    return [text]
