"""Concepts: those of the package, and files of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from monosema.core import ConfigError, FormatError, InputError, MonosemaError
from monosema.models import random_model
from monosema.steering.concepts import CONCEPTS, Concept, concept_named

OWN = """
positive = ["yes a", "yes b", "yes c", "yes d"]
negative = ["no a", "no b", "no c", "no d"]
prompts = ["Well,", "So,"]
"""


@pytest.mark.parametrize("name", CONCEPTS)
def test_a_concept_of_the_package_is_whole(name: str) -> None:
    concept = concept_named(name)
    assert len(concept.positive) == len(concept.negative) >= 40
    assert not set(concept.positive) & set(concept.negative)
    assert not set(concept.fitting[0]) & set(concept.judging[0])
    assert len(concept.prompts) == len(concept.questions) == 24
    assert concept.accuracy.value > 0.9
    assert concept.about
    for chat in (False, True):
        words = concept.baseline(chat)
        assert words is not None
        assert words.text.endswith((" ", "\n"))


def test_the_beginnings_leave_the_concept_open() -> None:
    for name in CONCEPTS:
        concept = concept_named(name)
        scores = concept.effect([*concept.prompts, *concept.questions])
        assert (scores <= 0.75).all()


def test_a_file_of_ones_own_is_a_concept_whose_effect_is_learned(tmp_path: Path) -> None:
    path = tmp_path / "agreeing.toml"
    path.write_text(OWN)
    concept = concept_named(str(path))
    assert concept.name == "agreeing"
    assert concept.fitting == (("yes a", "yes c"), ("no a", "no c"))
    assert concept.effect(["yes", "no"])[0] > 0.5
    words = concept.baseline(chat=False)
    assert words is not None
    assert words.text == "yes a yes c "
    assert concept.baseline(chat=True) is None
    with pytest.raises(InputError, match="no 'questions'"):
        concept.beginnings(chat=True)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        (OWN + 'promts = ["a"]', ConfigError, "no field 'promts'. Did you mean 'prompts'"),
        (OWN + "about = ['a']", ConfigError, "field 'about' of the concept 'own' has a value of the wrong kind"),
        (OWN + "words = 'a'", ConfigError, "field 'words' of the concept 'own' has a value of the wrong kind"),
        ('positive = ["a", "b", "c", "d"]', ConfigError, "lacks the fields negative, prompts"),
        (OWN.replace(', "no d"', ""), ConfigError, "at least 4 texts as 'negative'"),
        ("positive = [", FormatError, "is no TOML file"),
    ],
)
def test_a_wrong_file_is_told_what_is_wrong(tmp_path: Path, text: str, error: type[MonosemaError], says: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(error, match=says.replace(".", r"\.")):
        concept_named(str(path))


def test_a_name_that_is_none_is_told_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no concept 'sentimnt'\. Did you mean 'sentiment'"):
        concept_named("sentimnt")


def test_telling_tokens_are_those_of_the_concept_alone() -> None:
    model = random_model()
    concept = Concept("x", ("xx a", "b", "xx a", "b"), ("yy a", "b", "yy a", "b"), ("p",))
    assert model.tokenizer.tokens(concept.tokens(model)) == ["x"]
