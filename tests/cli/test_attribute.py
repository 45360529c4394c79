"""attribute: scores are printed and handed over, and what can't be asked is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.names_prompt import PROMPT, TWIN

from monosema.runs import Run

Command = Callable[..., tuple[int, str, str]]


def asked(command: Command, *words: object) -> dict[str, Any]:
    code, text, err = command("attribute", *words, "--json", "--debug")
    assert code == 0, err
    found: dict[str, Any] = json.loads(text)
    return found


def test_only_what_differs_from_the_twin_matters(command: Command) -> None:
    words = (
        PROMPT,
        "--twin",
        TWIN,
        "--target",
        "Kevin",
        "--players",
        "words",
        "--methods",
        "occlusion,shapley,gradient",
    )
    found = asked(command, *words)
    assert found["removal"] == "twin"
    assert [one["method"] for one in found["methods"]] == ["occlusion", "shapley", "gradient"]
    scores = found["methods"][1]["scores"]
    assert found["players"][scores.index(max(scores))] == " Kevin"
    assert sum(scores) == pytest.approx(found["value"] - found["empty"], abs=1e-3)


def test_methods_without_a_definition_are_left_out_with_the_reason(command: Command) -> None:
    found = asked(command, "--task", "gender", "--players", "heads", "--methods", "occlusion,gradient")
    assert "among tokens only" in found["left_out"]["gradient"]
    assert len(found["players"]) == 48
    code, text, _ = command("attribute", "--task", "gender", "--methods", "all", "--removal", "mask")
    assert code == 0
    assert "integrated_gradients  Nothing lies between" in text


def test_the_prompt_is_printed_with_the_largest_scores(command: Command) -> None:
    code, text, _ = command("attribute", PROMPT, "--twin", TWIN, "--target", "Kevin", "--foil", "Nicholas")
    assert code == 0
    assert "' Kevin' rather than ' Nicholas'" in text
    assert text.count("lent a coin to") == 6
    assert "Kevin +" in text


def test_words_that_stand_twice_are_told_apart_by_position(command: Command) -> None:
    _, text, _ = command("attribute", "so so", "--methods", "occlusion", "--players", "words")
    assert "so (1) " in text
    assert "so (2) " in text


def test_bytes_that_are_no_character_are_told_apart(command: Command) -> None:
    found = asked(command, "🎉", "--methods", "occlusion,occlusion")
    assert found["players"] == ["<0xF0>", "<0x9F>", "<0x8E>", "<0x89>"]
    assert len(found["methods"]) == 1


def test_characters_of_several_tokens_are_shown_whole(command: Command) -> None:
    words = ("--methods", "gradient_input", "--completion", " and so" * 40)
    code, text, _ = command("attribute", "café 漢字 🎉 ok", *words)
    assert code == 0
    assert "café 漢字 🎉 ok" in text
    assert "…': -" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a", "b"), "2 prompts were given"),
        ((), "0 prompts were given"),
        (("a", "--task", "ioi"), "leave them out"),
        (("a", "--system", "b"), "give --chat too"),
        (("a", "--players", "latents"), "with --run"),
        (("a", "--players", "letters"), "messages, heads, neurons, latents"),
        (("a", "--judge", "--task", "ioi"), "and nothing else"),
        (("a", "--players", "neurons", "--top", "0"), "--top 0"),
        (("a", "--methods", "oclusion"), "Did you mean 'occlusion'"),
        (("a", "--memory-mb", "0"), "above 0"),
        (("a b", "--twin", "a b c"), "exchange words"),
        (("--task", "iio"), "Did you mean 'ioi'"),
        (("a", "--chat"), "chat template"),
    ],
)
def test_what_cant_be_asked_is_said(words: tuple[str, ...], said: str, command: Command) -> None:
    code, _, err = command("attribute", *words)
    assert code == 2
    assert said in err


def test_methods_are_judged(command: Command) -> None:
    words = ("--task", "gender", "--judge", "--prompts", "2", "--methods", "occlusion,rollout")
    found = asked(command, *words)
    assert [one["method"] for one in found["methods"]] == ["occlusion", "rollout"]
    assert found["methods"][0]["gains"]["mean"]["aopc"]["n"] == 2
    _, text, _ = command("attribute", *words)
    assert "word in top 2" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    code, _, err = command("attribute", "a", "--judge")
    assert code == 2
    assert "give --task" in err


def test_an_answer_is_kept_in_a_run_and_its_report_shows_it(command: Command, finished: Run, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    asked = ("attribute", "the cat sat", "--run", run, "--methods", "occlusion,rollout", "--keep")
    code, text, err = command(*asked, "cats")
    assert code == 0, err
    assert "monosema report" in text
    assert json.loads((run / "answers" / "cats.json").read_text())["methods"][1]["name"] == "rollout"
    assert command("report", run)[0] == 0
    page = next((run / "report").glob("*.html")).read_text(encoding="utf-8")
    assert '"name":"cats"' in page.replace(" ", "")
    for words in ((*asked, "../cats"), ("attribute", "a", "--keep", "b"), (*asked, "b", "--players", "heads")):
        assert command(*words)[0] == 2
