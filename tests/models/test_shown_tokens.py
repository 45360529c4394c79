"""Tokens of bytes are read as the characters that they make, in any script."""

from __future__ import annotations

import pytest

from monosema.models.shown_tokens import ShownToken, quoted, shown_text, shown_tokens


def as_bytes(text: str) -> list[str]:
    return [f"<0x{byte:02X}>" for byte in text.encode()]


@pytest.mark.parametrize("text", ["한국어", "日本語", "Привет", "😀é"])
def test_bytes_are_joined_to_characters(text: str) -> None:
    pieces = shown_tokens(as_bytes(text))
    assert [one.text for one in pieces] == list(text)
    assert [piece.start for piece in pieces[1:]] == [piece.stop for piece in pieces[:-1]]
    assert pieces[-1].stop == len(text.encode())


def test_a_token_may_hold_some_bytes_of_a_character_and_a_space() -> None:
    tokens = ["I", " <0xEB>", "<0xAC>", "<0xB8>", "<0xEC><0x9E>", "<0xA5>", "."]
    assert shown_tokens(tokens) == [
        ShownToken("I", 0, 1),
        ShownToken(" 문", 1, 4),
        ShownToken("장", 4, 6),
        ShownToken(".", 6, 7),
    ]


def test_bytes_that_make_no_character_stay_apart_from_what_follows() -> None:
    assert shown_tokens(["<0x9C>", "a", "<0xED>", "<0x95>", "b", "<0xED>"]) == [
        ShownToken("�", 0, 1),
        ShownToken("a", 1, 2),
        ShownToken("�", 2, 4),
        ShownToken("b", 4, 5),
        ShownToken("�", 5, 6),
    ]
    assert shown_text(["<0xED>", "<0x95>", "<0x9C>", " the"]) == "한 the"
    assert shown_tokens([]) == []


@pytest.mark.parametrize(
    ("token", "shown"),
    [(" the", "“the”"), ("ing", "“-ing”"), ("The", "“The”"), ("\n  ", "“↵␣␣”"), ("<0xEC>", "byte EC"), (".", "“.”")],
)
def test_tokens_are_quoted_for_people(token: str, shown: str) -> None:
    assert quoted(token) == shown


def test_names_of_items_are_whole_words() -> None:
    assert quoted("apple", spaced=False) == "“apple”"
