"""Words before a prompt."""

from __future__ import annotations

import pytest

from monosema.core import InputError
from monosema.steering.candidates import Prefix


def test_words_go_before_a_text_and_before_the_last_words_of_the_user() -> None:
    words = Prefix("Be kind. ")
    assert words.before("Hello") == "Be kind. Hello"
    chat = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "One."},
        {"role": "user", "content": "Two?"},
    ]
    assert words.before(chat) == [*chat[:2], {"role": "user", "content": "Be kind. Two?"}]  # type: ignore[arg-type]
    assert chat[2]["content"] == "Two?"


def test_there_must_be_words_to_go_before() -> None:
    with pytest.raises(InputError, match="token ids"):
        Prefix("x").before([1, 2])
    with pytest.raises(InputError, match="has none"):
        Prefix("x").before([{"role": "assistant", "content": "Hm."}])  # type: ignore[arg-type]
