"""Features found from the command line by words, token, effect and passage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monosema.cli.features import heat_text
from monosema.runs import Run

Command = Callable[..., tuple[int, str, str]]


def found(result: tuple[int, str, str]) -> dict[str, Any]:
    code, out, err = result
    assert code == 0, err
    values = json.loads(out)
    assert isinstance(values, dict)
    return values


def test_by_words_token_and_effect(finished: Run, command: Command) -> None:
    feature = next(one for one in finished.atlas() if one.top_tokens and one.top_tokens[0].token.strip().isalpha())
    token, promoted = feature.top_tokens[0].token, feature.promoted[0].token
    by_token = found(command("search", finished.folder, "--token", token, "--limit", "64", "--json"))
    assert feature.latent in [row["latent"] for row in by_token["features"]]
    by_words = found(command("search", finished.folder, token.strip(), "--limit", "64", "--json"))
    assert feature.latent in [row["latent"] for row in by_words["features"]]
    by_effect = found(command("search", finished.folder, "--effect", promoted, "--limit", "64", "--json"))
    assert feature.latent in [row["latent"] for row in by_effect["features"]]
    for words in (("--token", token), (token.strip(),), ("--effect", promoted)):
        code, out, _ = command("search", finished.folder, *words, "--limit", "64")
        assert (code, str(feature.latent) in out) == (0, True)
    assert command("search", finished.folder, "--token", "no such token")[1] == "No feature found.\n"


def test_a_character_of_several_bytes_is_searched_as_a_passage(finished: Run, command: Command) -> None:
    _, out, _ = command("search", finished.folder, "--token", "다")
    said = " ".join(out.split())
    assert "EB 8B A4" in said
    assert "--passage 다" in said or "--passage '다'" in said


def test_by_passage(finished: Run, command: Command) -> None:
    values = found(command("search", finished.folder, "--passage", "She left on Monday.", "--json"))
    assert "".join(values["tokens"]) == "She left on Monday."
    shares = [one["share"] for one in values["firings"]]
    assert shares
    assert shares == sorted(shares, reverse=True)
    for one in values["firings"]:
        assert max(one["activations"]) == one["maximum"]
        assert all(values["looked_at"][position] for position in one["positions"])
    code, out, _ = command("search", finished.folder, "--passage", "She left on Monday.", "--limit", "3")
    assert (code, f"{values['active']} features fire" in out) == (0, True)


@pytest.mark.parametrize("words", [(), ("a", "--token", "b"), ("--passage", ""), (" ",), ("a", "--limit", "-1")])
def test_what_is_wrong_is_said(finished: Run, command: Command, words: tuple[str, ...]) -> None:
    code, out, err = command("search", finished.folder, *words)
    assert (code, out) == (2, ""), err


def test_tokens_of_bytes_are_shown_as_characters_and_marked_without_colour() -> None:
    tokens = ["I", " <0xEB>", "<0xAC>", "<0xB8>", ".", " end"]
    assert heat_text(tokens, [0.0, 0.1, 3.0, 0.0, 2.0, 0.0], 3.0).plain == "I [문.] end"
    assert heat_text(tokens, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0], 3.0, 1).plain == "…. [end]"
    assert heat_text(tokens, [0.0] * 6, 0.0).plain == "I 문. end"


def test_a_list_shows_scores_beside_their_controls(finished: Run, command: Command) -> None:
    code, out, _ = command("atlas", finished.folder, "list", "--limit", "3")
    assert code == 0
    assert {"shuffled", "random", "above"} <= set(out.split("\n")[0].split())
    assert "above shuffled" in out
    rows = found(command("atlas", finished.folder, "list", "--json"))
    margins = [row["label_margin"] for row in rows["features"] if row["label_margin"] is not None]
    assert margins == sorted(margins, reverse=True)
    assert {row["scorer"] for row in rows["standing"]} >= {"simulation", "detection", "fuzzing"}


def test_a_feature_shows_every_explanation_with_its_scores_and_votes(copied: Path, command: Command) -> None:
    latent = (
        Run.open(copied).atlas().sql("select latent from scores where method = 'Neuron2Graph' limit 1")[0]["latent"]
    )
    assert command("label", copied, latent, "a word of mine", "--author", "Ada")[0] == 0
    assert command("label", copied, latent, "--vote", "down", "--of", "Neuron2Graph", "--author", "Bob")[0] == 0
    code, out, _ = command("atlas", copied, "show", latent)
    assert code == 0
    for said in ("person, Ada: a word of mine", "Neuron2Graph; Bob: wrong", "token lookup", "simulation"):
        assert said in " ".join(out.split())


def test_features_on_a_passages_tokens_are_written_as_a_file(finished: Run, command: Command, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    file = tmp_path / "fired.parquet"
    listed = found(command("search", finished.folder, "--passage", "the cat", "--out", file, "--limit", 1, "--json"))
    assert len(listed["firings"]) == 1
    table = pq.read_table(file)
    assert len({latent for latent in table.column("latent").to_pylist() if latent is not None}) == listed["active"]
    code, _, err = command("search", finished.folder, "cat", "--out", file)
    assert (code, "--passage" in err) == (2, True)
    code, _, err = command("search", finished.folder, "--passage", "cat", "--out", tmp_path / "fired.xls")
    assert (code, ".parquet or .csv" in err) == (2, True)
