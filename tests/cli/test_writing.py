"""Completion and chat from the command line, untouched and with a dictionary in place."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from printed import parsed

from monosema.models import Piece, Transformer
from monosema.runs import Run

Command = Callable[..., tuple[int, str, str]]
TEMPLATE = "{% for message in messages %}{{ message.role }}:{{ message.content }};{% endfor %}a:"


@pytest.fixture(scope="module")
def talking(tiny_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a chat template."""
    folder = tmp_path_factory.mktemp("talking") / "model"
    shutil.copytree(tiny_directory, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def test_complete_shows_a_text_as_it_is_written(command: Command, tiny_directory: Path) -> None:
    words = ("complete", "one", "--model", tiny_directory, "--tokens", "8")
    assert command(*words, "--stream") == command(*words)


def test_complete(command: Command, tiny_directory: Path) -> None:
    words = ("complete", "one", "two", "--model", tiny_directory, "--tokens", "4", "--temperature", "1")
    first = parsed(command(*words, "--seed", "1", "--json"))
    assert [pair["prompt"] for pair in first["completions"]] == ["one", "two"]  # type: ignore[attr-defined]
    assert parsed(command(*words, "--seed", "1", "--json")) == first
    assert parsed(command(*words, "--seed", "2", "--json")) != first
    assert command(*words)[0] == 0


def test_a_spliced_completion_stands_beside_the_untouched_one_and_controls(finished: Run, command: Command) -> None:
    words = ("complete", "the cat", "a dog", "--run", finished.folder, "--splice", "drop", "--tokens", "4")
    found = parsed(command(*words, "--json"))
    assert [row["name"] for row in found["versions"]] == ["untouched", "spliced", "pca", "random", "mean"]
    assert [text["prompt"] for text in found["versions"][1]["texts"]] == ["the cat", "a dog"]
    kept = parsed(command(*words[:6], "keep", *words[7:], "--no-controls", "--json"))
    assert [row["metrics"]["kl"] for row in kept["versions"]] == [0, 0]
    code, out, _ = command(*words)
    assert (code, "spliced" in out, "perplexity" in out) == (0, True, True)
    code, _, err = command("complete", "the cat", "--splice", "drop")
    assert (code, "--run" in err) == (2, True)


def test_a_dictionary_alone_says_its_model(finished: Run, command: Command) -> None:
    (folder,) = (finished.folder / "dictionaries").iterdir()
    words = ("complete", "the cat", "--run", folder, "--splice", "drop", "--no-controls", "--tokens", "2", "--json")
    assert len(parsed(command(*words))["versions"]) == 2


def test_chat_answers_each_message_before_the_next(talking: Path, command: Command) -> None:
    words = ("chat", "one", "two", "--system", "be kind", "--model", talking, "--tokens", "3")
    found = parsed(command(*words, "--json"))
    assert [one["role"] for one in found["messages"]] == ["system", *("user", "assistant") * 2]
    code, out, _ = command(*words)
    assert (code, "user: two" in out) == (0, True)


def test_chat_without_a_template_names_a_model_that_has_one(tiny_directory: Path, command: Command) -> None:
    code, _, err = command("chat", "hello", "--model", tiny_directory)
    assert (code, "no chat template" in err, "smollm2" in err) == (2, True, True)
    code, _, err = command("chat", "--json", "--model", tiny_directory)
    assert (code, "MESSAGE" in err) == (2, True)


def test_lines_are_answered_until_the_input_ends(
    talking: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n\ntwo\n"))
    code, out, _ = command("chat", "--model", talking, "--tokens", "3")
    first, second = (one["content"] for one in _answers(command, talking, "one", "two"))
    assert (code, out) == (0, f"{first}\n{second}\n")


def _answers(command: Command, model: Path, *messages: str) -> list[dict[str, str]]:
    found = parsed(command("chat", *messages, "--model", model, "--tokens", "3", "--json"))
    return [one for one in found["messages"] if one["role"] == "assistant"]


def test_an_interrupt_ends_an_answer_and_keeps_the_conversation(
    talking: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[dict[str, str]]] = []

    def stream(self: Transformer, prompt: list[dict[str, str]], **settings: object) -> Iterator[Piece]:
        asked.append([dict(one) for one in prompt])
        yield Piece(0, 1, "begun", None)
        raise KeyboardInterrupt

    monkeypatch.setattr(Transformer, "stream", stream)
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo\n"))
    assert command("chat", "--model", talking)[:2] == (0, "begun\nbegun\n")
    assert [one["content"] for one in asked[1]] == ["one", "begun", "two"]


def test_chat_beside_the_untouched_model_goes_on_with_its_answer(
    finished: Run, talking: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--run", finished.folder, "--model", talking, "--splice", "drop", "--no-controls", "--tokens", "3")
    found = parsed(command("chat", "one", "two", *words, "--json"))
    untouched, spliced = found["versions"]
    assert untouched["texts"][0]["text"] in spliced["texts"][1]["prompt"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo\n"))
    code, out, _ = command("chat", *words)
    assert (code, out.count("spliced")) == (0, 4)


def test_a_steered_chat_says_which_tokens_were_edited(finished: Run, talking: Path, command: Command) -> None:
    words = ("chat", "one", "--run", finished.folder, "--model", talking, "--steer", "0=+5raw", "--tokens", "3")
    found = parsed(command(*words, "--json"))
    (edited,) = found["edited"]
    assert len(edited["prompt"]) == len("one"), "the template's tokens stay as they are"
    assert edited["generated"] == [0, 1]
    code, out, _ = command(*words)
    assert (code, "edited: 3 tokens of the prompt, 2 of the text" in out) == (0, True)
