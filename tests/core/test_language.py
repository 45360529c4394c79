"""Texts are English in the sources and Korean where a Korean reader sees them."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import monosema
from monosema.core.language import agreeing, catalogue, language, speaking, translate

SOURCE = Path(monosema.__file__).parent
PLACE = re.compile(r"\{[nvs]?\}")
TEXTS = [english for part, texts in catalogue("ko").items() if part != "library" for english in texts]


def joined(text: str) -> str:
    """The text with single blanks, without the marks of docstrings."""
    return " ".join(text.replace("``", "").split())


def fragments(text: str) -> list[str]:
    """What a text says between its places."""
    return [part.strip() for part in PLACE.split(text) if part.strip()]


def strings(path: Path) -> list[str]:
    """The strings of a Python file, those with values in them included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(joined(node.value))
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            found.append(joined("".join(map(str, parts))))
    return found


@cache
def sources() -> str:
    """All that the sources say, one text a line."""
    texts = [text for path in SOURCE.rglob("*.py") for text in strings(path)]
    pages = [path for kind in ("*.j2", "*.js") for path in SOURCE.rglob(kind)]
    found = "\n".join([*texts, *(joined(path.read_text(encoding="utf-8")) for path in pages)])
    return found + found.replace("_", " ")  # names of values are shown with blanks


def test_every_text_of_the_catalogue_is_in_the_sources() -> None:
    said = sources()
    dead = [text for text in TEXTS if any(part not in said for part in fragments(text))]
    assert not dead, "nothing says these any more; remove or mend them in core/languages/ko.toml"


def test_every_translation_takes_up_each_place_of_its_text() -> None:
    for english in TEXTS:
        marks = [f"«{i}»" if place != "{n}" else str(70 + i) for i, place in enumerate(PLACE.findall(english))]
        said = translate(re.sub(r"\{[nvs]\}", "{}", english).format(*marks), "ko")
        assert all(mark in said for mark in marks), english


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({}, "en"),
        ({"LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "ko_KR.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "MONOSEMA_LANGUAGE": "ko"}, "ko"),
    ],
)
def test_the_environment_says_the_language(
    environment: dict[str, str], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MONOSEMA_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert language() == code


def test_a_language_is_spoken_within_its_block_only() -> None:
    with speaking("ko"):
        assert language() == "ko"
    assert language() == "en"


def test_english_stays_as_it_is() -> None:
    assert translate("No feature found.") == "No feature found."


def test_places_are_translated_in_turn_and_blanks_around_a_text_stay() -> None:
    said = translate(" train: done before (478 steps) ", "ko")
    assert said == " 학습: 이미 끝남 (478스텝) "


def test_a_text_that_nobody_translated_stays_english_beside_one_that_is() -> None:
    assert translate("Xyzzy is new. No feature found.", "ko") == "Xyzzy is new. 찾은 특징이 없습니다."


def test_lists_are_said_whole_or_stay_english() -> None:
    assert translate("12 steps, 20 alive", "ko") == "12스텝, 활성 20개"
    assert translate("20 alive, xyzzy and tokens", "ko") == "20 alive, xyzzy and tokens"


@pytest.mark.parametrize("quotes", ['"{}"', "`{}`", "`monosema run {}`", "'{}'"])
def test_what_people_typed_and_what_they_shall_type_is_never_translated(quotes: str) -> None:
    assert not [text for text in catalogue("ko")["errors"] | catalogue("ko")["library"] if quotes in text]


@pytest.mark.parametrize(
    ("both", "one"),
    [
        ("책 은(는)", "책은"),
        ("바다 은(는)", "바다는"),
        ("층 3 을(를)", "층 3을"),
        ("k=4 이(가)", "k=4가"),
        ('"gpt.json" 이(가)', '"gpt.json"이'),
        ("runs/demo 은(는)", "runs/demo는"),
    ],
)
def test_a_particle_fits_the_word_before_it(both: str, one: str) -> None:
    assert agreeing(both) == one


def test_what_the_first_hour_says_is_said_in_korean() -> None:
    for said in (
        "Training makes 12 steps of 32 items.",
        "capture: 93%, 21,985 items/s, 0:00:00 left",
        "score: 100%, 4,269 explanations/s, 0:00:00 in all",
        "0 few passages, 40,492 model tokens",
        "v.npy holds NaN or infinity, or values beyond float32, which no dictionary can be trained on. "
        "v.npy: 16 values in 1 of 210 rows (rows 3). Remove these rows.",
    ):
        assert not re.search(r"[a-z]{3} [a-z]", translate(said, "ko"))
