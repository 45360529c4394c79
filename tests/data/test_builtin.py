"""The built-in corpus: the same each time, large, varied, and made without importing what it documents."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys

import pytest

from monosema.data import BuiltinCorpus, open_corpus
from monosema.data.builtin import documentation, stories

SURVEY = """
import collections, hashlib, json, sys
from monosema.data import BuiltinCorpus
corpus = BuiltinCorpus(**json.loads(sys.argv[1]))
before = set(sys.modules)
documents = list(corpus.documents())
new = {name.split(".")[0] for name in set(sys.modules) - before}
characters, runs = collections.Counter(), collections.Counter()
for document in documents:
    characters[document.source.split("/")[0]] += len(document.text)
    words = document.text.split()
    runs.update(hash(tuple(words[i : i + 8])) for i in range(len(words) - 7))
print(json.dumps({
    "documents": len(documents),
    "different": len({document.text for document in documents}),
    "characters": characters,
    "different_runs": len(runs) / sum(runs.values()),
    "beginning": hashlib.sha256(repr(documents[:200]).encode()).hexdigest(),
    "kinds": sorted({document.source.split("/")[0] for document in documents[:200]}),
    "digest": corpus.digest,
    "imported": sorted(new & {"turtle", "tkinter", "antigravity", "this", "idlelib", "lib2to3", "turtledemo"}),
}))
"""


def survey_of(hash_seed, **arguments):
    """Facts about a corpus, from a process of its own with its own order of sets, and without checks of types."""
    done = subprocess.run(
        [sys.executable, "-c", SURVEY, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def survey():
    return survey_of("1")


def test_it_is_the_same_in_every_process(survey):
    again = survey_of("2", limit=200)
    assert again["beginning"] == survey["beginning"]
    assert again["digest"] == BuiltinCorpus(limit=200).digest
    assert survey["digest"] == open_corpus("builtin").digest
    assert again["documents"] == 200


def test_seed_and_limit_make_another_corpus(survey):
    other = survey_of("1", seed=1, limit=200)
    assert other["beginning"] != survey["beginning"]
    assert len({survey["digest"], other["digest"], BuiltinCorpus(limit=200).digest}) == 3


def test_it_is_large_and_of_several_kinds(survey):
    characters = survey["characters"]
    assert sum(characters.values()) > 5_000_000
    assert characters["stdlib"] + characters["topic"] > 0.35 * sum(characters.values())
    assert characters["generated"] > 1_500_000
    assert characters["skill"] > 500_000


def test_hardly_anything_is_said_twice(survey):
    assert survey["different"] > 0.999 * survey["documents"]
    assert survey["different_runs"] > 0.8


def test_documentation_is_read_without_importing_modules(survey):
    assert survey["imported"] == []


def test_its_beginning_holds_all_kinds(survey):
    assert survey["kinds"] == ["generated", "skill", "stdlib", "topic"]


def test_every_kind_of_story_fills_all_of_its_slots():
    made = [stories.story(random.Random(seed)) for seed in range(200)]
    for source, text in made:
        assert not re.search(r"[{}]|\b[A-Za-z]+_[a-z]+\b", text), (source, text)
        assert "  " not in text
    assert {source for source, _ in made} == {f"generated/{kind}" for kind in stories.KINDS}


def test_documentation_shows_signature_and_text(monkeypatch):
    file = next(file for file in documentation.library_files() if file[0] == "textwrap.py")
    monkeypatch.setattr(documentation, "library_files", lambda: (file,))
    texts = [text for source, text in documentation.documentation() if source == "stdlib/textwrap"]
    assert "Module textwrap\n\nText wrapping and filling." in texts[0]
    assert "class textwrap.TextWrapper\n    Object for wrapping" in texts[1]
    assert "\n\ntextwrap.TextWrapper.wrap(self, text)\n    wrap(text : string) -> [string]" in texts[1]
