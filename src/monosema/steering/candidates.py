"""Candidates: what sweeps and tables compare. Nothing, edits of the model, or words before the prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from monosema.core import InputError
from monosema.models import Prompt
from monosema.models.chat import Message
from monosema.steering.edits import Steering


@dataclass(frozen=True)
class Prefix:
    """Words before a prompt: in front of a text, or of the last words of the user in a chat.

    Attributes:
        text: the words, with the space that is to follow them.
    """

    text: str

    def before(self, prompt: Prompt) -> Prompt:
        """Return the prompt with the words in front. Raises InputError for token ids and chats without a user."""
        if isinstance(prompt, str):
            return self.text + prompt
        if not prompt or not isinstance(prompt[0], Mapping):
            raise InputError("A prefix goes before a text or a chat, and this prompt is given as token ids.")
        messages = [dict(message) for message in cast(Sequence[Message], prompt)]
        users = [message for message in messages if message["role"] == "user"]
        if not users:
            raise InputError("A prefix goes before the words of the user, and this chat has none.")
        users[-1]["content"] = f"{self.text}{users[-1]['content']}"
        return cast(Prompt, messages)


Candidate = Steering | Prefix | None
"""A change that holds while a text is written; None is none."""


def at_strengths(steering: Steering, strengths: Iterable[float]) -> dict[str, Candidate]:
    """Return a steering at several strengths, by their numbers, for a sweep."""
    return {f"{strength:g}": steering.at(strength) for strength in strengths}
