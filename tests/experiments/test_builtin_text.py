"""The generators of the built-in corpus."""

from __future__ import annotations

import random
import re
import sys

from builtin_text import __main__ as generator
from builtin_text import documentation, stories
from monosema.data import open_corpus


def test_generated_texts_are_those_that_ship(monkeypatch):
    monkeypatch.setattr(generator, "STORIES", 60)
    monkeypatch.setattr(generator, "SKILLS", 60)
    monkeypatch.setattr(documentation, "documentation", lambda: ())
    monkeypatch.setattr(documentation, "topics", lambda: ())
    shipped = {(document.source, document.text) for document in open_corpus("builtin").documents()}
    made = generator.texts()
    assert len(made) == 120
    assert set(made) <= shipped


def test_every_kind_of_story_fills_all_of_its_slots():
    made = [stories.story(random.Random(seed)) for seed in range(200)]
    for source, text in made:
        assert not re.search(r"[{}]|\b[A-Za-z]+_[a-z]+\b", text), (source, text)
        assert "  " not in text
    assert {source for source, _ in made} == {f"generated/{kind}" for kind in stories.KINDS}


def test_documentation_shows_signature_and_text_without_importing_the_module(monkeypatch):
    files = [file for file in documentation.library_files() if file[0] in ("textwrap.py", "antigravity.py")]
    monkeypatch.setattr(documentation, "library_files", lambda: tuple(files))
    texts = [text for source, text in documentation.documentation() if source == "stdlib/textwrap"]
    assert "antigravity" not in sys.modules
    assert "Module textwrap\n\nText wrapping and filling." in texts[0]
    assert "class textwrap.TextWrapper\n    Object for wrapping" in texts[1]
    assert "\n\ntextwrap.TextWrapper.wrap(self, text)\n    wrap(text : string) -> [string]" in texts[1]
