"""Text that is given to the app."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel


def _encodable(text: str) -> str:
    if any(0xD800 <= ord(char) < 0xE000 for char in text):
        raise ValueError("half a character (a lone surrogate) is no text")
    return text


Words = Annotated[str, AfterValidator(_encodable)]
"""Text that can be encoded."""


class ChatMessage(BaseModel):
    """A message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: Words
