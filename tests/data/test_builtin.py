"""The built-in corpus: the same each time, large, varied, and made without importing what it documents."""

from __future__ import annotations

import collections
import itertools
import random
import re
import subprocess
import sys

import pytest

from monosema.data import BuiltinCorpus, open_corpus
from monosema.data.builtin import stories


@pytest.fixture(scope="module")
def documents():
    return list(open_corpus("builtin").documents())


def test_it_is_the_same_for_the_same_seed(documents):
    again = BuiltinCorpus(seed=0, limit=300)
    assert list(again.documents()) == documents[:300]
    other = BuiltinCorpus(seed=1, limit=300)
    assert list(other.documents()) != documents[:300]
    assert BuiltinCorpus().digest == BuiltinCorpus().digest
    assert len({BuiltinCorpus().digest, BuiltinCorpus(seed=1).digest, again.digest}) == 3


def test_it_is_large_and_of_several_kinds(documents):
    characters = collections.Counter()
    for document in documents:
        characters[document.source.split("/")[0]] += len(document.text)
    assert sum(characters.values()) > 5_000_000
    assert characters["stdlib"] + characters["topic"] > 0.35 * sum(characters.values())
    assert characters["generated"] > 1_500_000
    assert characters["skill"] > 500_000


def test_its_beginning_holds_all_kinds(documents):
    kinds = {document.source.split("/")[0] for document in documents[:400]}
    assert kinds == {"stdlib", "topic", "generated", "skill"}


def test_hardly_anything_is_said_twice(documents):
    texts = [document.text for document in documents]
    assert len(set(texts)) > 0.999 * len(texts)
    runs = collections.Counter()
    for text in texts:
        words = text.split()
        runs.update(hash(tuple(words[i : i + 8])) for i in range(len(words) - 7))
    assert len(runs) > 0.8 * sum(runs.values())


def test_every_kind_of_story_fills_all_of_its_slots():
    for seed in range(600):
        source, text = stories.story(random.Random(seed))
        assert not re.search(r"[{}]|\b[A-Za-z]+_[a-z]+\b", text), (source, text)
        assert "  " not in text
    kinds = {stories.story(random.Random(seed))[0] for seed in range(600)}
    assert kinds == {f"generated/{kind}" for kind in stories.KINDS}


def test_documentation_is_read_without_importing_modules():
    code = (
        "import sys\n"
        "from monosema.data.builtin import documentation\n"
        "before = set(sys.modules)\n"
        "n = sum(1 for _ in documentation.documentation())\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(n, sorted(new & {'turtle', 'tkinter', 'antigravity', 'this', 'idlelib', 'lib2to3'}))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert int(out[0]) > 1000
    assert out[1] == "[]"


def test_documentation_shows_signature_and_text(documents):
    text = next(d.text for d in documents if d.source == "stdlib/textwrap" and "class textwrap.TextWrapper" in d.text)
    assert "\n\ntextwrap.TextWrapper.wrap(self, text)\n    wrap(text : string) -> [string]" in text


def test_a_limit_reads_no_more():
    corpus = open_corpus("builtin", limit=7)
    assert len(list(itertools.islice(corpus.documents(), 100))) == 7
