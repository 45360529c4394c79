"""Text that is given to the app."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from monosema.core import nearest
from monosema.models import Prompt


def _encodable(text: str) -> str:
    if any(0xD800 <= ord(char) < 0xE000 for char in text):
        raise ValueError("half a character (a lone surrogate) is no text")
    return text


Words = Annotated[str, AfterValidator(_encodable)]
"""Text that can be encoded."""


class Asking(BaseModel):
    """A request: a field that it does not have is refused, with the names of those that it has."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        unknown = [name for name in values if name not in cls.model_fields] if isinstance(values, dict) else []
        if unknown:
            name, there = str(unknown[0])[:80], ", ".join(cls.model_fields)
            said = f"there is no field {name!r}.{nearest(name, cls.model_fields)} Fields: {there}"
            raise PydanticCustomError("unknown_field", "{said}", {"said": said})
        return values


class ChatMessage(BaseModel):
    """A message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: Words


class Turn(ChatMessage):
    """A message of a chat, of bounded length."""

    content: Words = Field(max_length=100_000)


class OnPrompt(Asking):
    """A prompt, or the messages of a chat: one of them."""

    prompt: Words | None = Field(None, min_length=1, max_length=20_000)
    messages: list[Turn] | None = Field(None, min_length=1, max_length=200)

    @model_validator(mode="after")
    def _one(self) -> OnPrompt:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either prompt or messages")
        return self

    @property
    def given(self) -> Prompt:
        """The prompt as models take it."""
        return self.prompt if self.messages is None else [turn.model_dump() for turn in self.messages]  # type: ignore[return-value]
