"""The built-in corpus: large, varied, and the same everywhere."""

from __future__ import annotations

import collections
import hashlib

import pytest

from monosema.data import BuiltinCorpus, open_corpus


@pytest.fixture(scope="module")
def documents():
    return list(open_corpus("builtin").documents())


def test_it_is_the_same_text_for_good(documents):
    """Figures of the documentation and of recipes were measured on this text."""
    state = hashlib.sha256()
    for document in documents:
        state.update(repr(document).encode())
    assert state.hexdigest() == "22532a3f4d6a69a84439851a01bc54712709312fa6eddaf6ce30bd3dd7154e21"


def test_a_limit_reads_the_beginning_and_is_another_corpus(documents):
    few = open_corpus("builtin", limit=200)
    assert list(few.documents()) == documents[:200]
    assert few.digest == BuiltinCorpus(limit=200).digest != open_corpus("builtin").digest


def test_it_is_large_and_of_several_kinds(documents):
    characters = collections.Counter()
    for document in documents:
        characters[document.source.split("/")[0]] += len(document.text)
    assert sum(characters.values()) > 5_000_000
    assert characters["stdlib"] + characters["topic"] > 0.35 * sum(characters.values())
    assert characters["generated"] > 1_500_000
    assert characters["skill"] > 500_000


def test_hardly_anything_is_said_twice(documents):
    assert len({document.text for document in documents}) > 0.999 * len(documents)
    runs = collections.Counter()
    for document in documents[::4]:
        words = document.text.split()
        runs.update(hash(tuple(words[i : i + 8])) for i in range(len(words) - 7))
    assert len(runs) > 0.8 * runs.total()


def test_its_beginning_holds_all_kinds(documents):
    assert {document.source.split("/")[0] for document in documents[:200]} == {"generated", "skill", "stdlib", "topic"}
