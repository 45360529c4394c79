"""Help in Korean: every word of it."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from cyclopts.help.inline_text import InlineText
from rich.console import Console
from rich.markdown import Markdown
from rich.text import Text

from monosema.cli import help as helping
from monosema.cli.app import app
from monosema.cli.common import DEFAULTS
from monosema.cli.printing import meaning_of
from monosema.cli.verbs.run import read_request
from monosema.core.language import LANGUAGES, speaking, translate
from monosema.runs.overrides import fields_of

VERBS = [name for name in app if not name.startswith("-")]


def texts(shown: Any) -> list[str]:
    """What a renderable of cyclopts says."""
    if isinstance(shown, InlineText):
        return texts(shown.primary_renderable) + [text for part in shown.texts for text in texts(part)]
    if isinstance(shown, Markdown):
        return helping.paragraphs(shown.markup)
    return [str(shown)] if isinstance(shown, (str, Text)) and str(shown).strip() else []


class Recorder(helping.TranslatedFormatter):
    """Keeps what would be shown."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __call__(self, console: Any, options: Any, panel: Any) -> None:
        self.found += texts(panel.title) + [text for entry in panel.entries for text in texts(entry.description)]

    def render_description(self, console: Any, options: Any, description: Any) -> None:
        self.found += texts(description)


def half_english(said: list[str]) -> list[str]:
    """Texts that a Korean reader sees with English words in a row, or that stay as they are."""
    spoken = {text: re.sub(r"`[^`]*`", "", translate(text, "ko")) for text in said}
    phrase = re.compile(r"[a-z]{3} [a-z]|[a-z]{4} (?:및|또는) [a-z]")
    return [text for text, korean in spoken.items() if phrase.search(re.sub(r"monosema [a-z]+|et al", "", korean))]


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_every_text_of_help_is_said_in_korean(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(app, "help_formatter", recorder)
    app.help_print([verb] if verb else [], console=Console(file=io.StringIO()))
    assert recorder.found
    assert not half_english(recorder.found), "add these to core/languages/ko.toml"


@pytest.mark.parametrize("architecture", ["topk", "batch_topk", "matryoshka", "jumprelu", "gated", "l1", "p_anneal"])
def test_the_meaning_of_every_key_is_said_in_korean(architecture: str) -> None:
    recipe, _ = read_request(("--architecture", architecture), None, DEFAULTS)
    fields = fields_of(recipe).values()
    assert not half_english([meaning_of(owner, leaf) for owner, leaf in fields]), "add these to core/languages/ko.toml"


def test_a_mistyped_verb_suggests_the_verb_itself(command: Any) -> None:
    with speaking("ko"):
        _, _, err = command("trian")
    assert '"train"' in err
    assert "학습" not in err


@pytest.mark.parametrize("asked", [("--language", "ko"), ("--language=ko",)])
def test_the_flag_says_the_language_of_help_and_of_errors(asked: tuple[str, ...], command: Any) -> None:
    _, out, _ = command("search", "--help", *asked)
    assert "특징을 찾습니다" in out
    assert "monosema search runs/demo --token" in out
    code, _, err = command("search", "nowhere", "word", *asked)
    assert code == 2
    assert err.startswith("오류: ")


def test_a_language_that_is_not_spoken_is_refused_by_name(command: Any) -> None:
    code, _, err = command("doctor", "--language", "de")
    assert code == 2
    assert all(known in err for known in ("--language", *LANGUAGES))


def test_results_for_programs_are_the_same_in_every_language(command: Any) -> None:
    english = command("score", "anywhere", "--scorers", "list", "--json")
    with speaking("ko"):
        assert command("score", "anywhere", "--scorers", "list", "--json") == english


@pytest.mark.parametrize("verb", VERBS)
def test_the_line_of_usage_names_words_by_what_they_are(verb: str) -> None:
    shown = io.StringIO()
    app.help_print([verb], console=Console(file=shown, width=120))
    usage = shown.getvalue().splitlines()[0]
    assert usage.startswith(f"Usage: monosema {verb} ")
    assert "ARGS" not in usage
    assert "KEYS..." in usage or verb != "run"
