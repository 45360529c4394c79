"""explain: at once and in batches, against a provider on this machine; killed in the middle, nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asks import Asks, FakeProvider
from fake_provider import Fault
from fake_wire import Answer

from monosema.runs import Run

Command = Callable[..., tuple[int, str, str]]


def plan(prompt: str, times: int) -> Answer:
    """Another explanation for every prompt."""
    return Answer(json.dumps({"explanation": f"meaning {len(prompt)}"}))


class AsksToExplain(Asks):
    """Five features are explained where none are named."""

    def __init__(self, folder: Path, world: FakeProvider, command: Command, protocol: str = "openai") -> None:
        super().__init__("explain", folder, world, command, protocol)
        world.plan = plan

    def words(self, *words: str) -> list[str]:
        draws = not words or words[0] == "send" or words[0].startswith("--")
        return super().words(*words, *(["--limit", "5"] if draws and "--latents" not in words else []))

    def explanations(self) -> list[dict[str, Any]]:
        return Run.open(self.folder).atlas().sql("select * from explanations where model is not null order by latent")


@pytest.fixture
def asks(copied: Path, world: FakeProvider, command: Command) -> AsksToExplain:
    return AsksToExplain(copied, world, command)


class TestAtOnce:
    def test_what_is_said_is_in_the_atlas(self, asks: AsksToExplain) -> None:
        result = asks()
        assert (result["explained"], result["requests"], result["failures"]) == (5, 5, {})
        assert result["requests_per_latent"] == 1
        assert "5 requests" in asks.said
        assert "at most $" in asks.said
        assert "no cap" in asks.said
        rows = asks.explanations()
        assert len(rows) == 5
        assert {(row["author"], row["method"], row["prompt_version"]) for row in rows} == {
            ("m", "language model (activations)", "1")
        }
        assert all(row["text"].startswith("meaning ") for row in rows)

    def test_again_costs_nothing_and_changes_nothing(self, asks: AsksToExplain) -> None:
        first = asks()
        again = asks()
        assert again == first
        assert set(asks.world.asked.values()) == {1}
        assert "0 requests, 5 more are answered already" in asks.said

    def test_without_a_client_programs_do_it(self, copied: Path, command: Command) -> None:
        code, out, err = command("explain", copied, "--json")
        assert code == 0, err
        assert "explain: done before" in err
        assert json.loads(out)["run"] == str(copied.resolve())

    def test_named_features(self, asks: AsksToExplain) -> None:
        alive = [row["latent"] for row in Run.open(asks.folder).atlas().sql("select latent from features where alive")]
        asks("--latents", f"{alive[0]},{alive[3]}")
        assert [row["latent"] for row in asks.explanations()] == [alive[0], alive[3]]
        for words, message in (("999", "999"), ("x", "names no features"), ("1-", "names no features")):
            code, _, err = asks.command(*asks.words("--latents", words))
            assert code == 2
            assert message in err

    def test_the_cap_holds_and_failures_are_no_explanations(self, asks: AsksToExplain) -> None:
        code, out, err = asks.command(*asks.words("--max-cost", "0"))
        assert code == 1, err
        one = json.loads(out)
        assert (one["explained"], one["failures"]) == (0, {"cost cap": 5})
        assert not asks.world.asked
        refuses = iter([Answer(refusal="I can't help with that"), Answer("no JSON"), Answer('{"explanation": null}')])
        asks.world.plan = lambda prompt, times: next(refuses, None) or plan(prompt, times)
        result = asks("--concurrency", "1")
        assert sum(result["failures"].values()) + result["explained"] == 5
        assert result["failures"]["refusal"] == 1
        assert result["reasons"]["refusal"] == "the model declined; the reply begins: I can't help with that"
        assert len(asks.explanations()) == result["explained"]
        assert not any("can't" in row["text"] for row in asks.explanations())

    def test_a_local_model_needs_no_key(
        self, copied: Path, tiny_directory: Path, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        roomy = Path(shutil.copytree(tiny_directory, copied.parent / "roomy"))
        config = json.loads((roomy / "config.json").read_text(encoding="utf-8"))
        (roomy / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 8192}), encoding="utf-8")
        words = ("explain", copied, "--client", f"local:{roomy}", "--limit", "2", "--max-tokens", "4")
        code, out, err = command(*words, "--json")
        assert code == 0, err
        result = json.loads(out)
        rows = Run.open(copied).atlas().sql("select * from explanations where model is not null")
        assert {row["method"] for row in rows} == {"language model (brief)"}
        assert result["explanations"] == {str(row["latent"]): row["text"] for row in rows}
        shown = command(*words)[1]
        assert all(f"feature {row['latent']}" in shown for row in rows)
        assert all(row["text"].split()[0] in shown for row in rows)
        kept = [json.loads(line) for line in Path(result["replies"]).read_text(encoding="utf-8").splitlines()]
        assert {reply["latent"] for reply in kept} == {row["latent"] for row in rows}
        assert all(reply["text"] in command(*words, "--show-replies")[1] for reply in kept[:1])

    def test_nothing_explained_is_a_failure(self, copied: Path, tiny_directory: Path, command: Command) -> None:
        words = ("--client", f"local:{tiny_directory}", "--limit", "2", "--json")
        code, out, err = command("explain", copied, *words)
        assert code == 1, err
        result = json.loads(out)
        assert (result["explained"], result["failures"]) == (0, {"rejected": 2})
        assert "context of 128" in result["reasons"]["rejected"]
        assert "Nothing was explained" in command("explain", copied, *words[:-1])[1]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("send",), "--client"),
            (("--client", "gpt-5"), "openai:MODEL"),
            (("send", "--client", "local:x", "--limit", "1"), "no Batch service"),
            (("status", "--client", "openai:m"), "OPENAI_API_KEY"),
            (("--client", "openai:m"), "OPENAI_API_KEY"),
            (("--client", "openai:m", "--base-url", "localhost:9"), "a whole address"),
            (("parse", "--client", "openai:m", "--base-url", "http://127.0.0.1:9"), "Nothing was sent"),
        ],
    )
    def test_what_is_wrong_is_said(
        self, copied: Path, command: Command, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
    ) -> None:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        code, _, err = command("explain", copied, *words)
        assert code == 2
        assert message in err


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
def test_the_key_is_nowhere(copied: Path, world: FakeProvider, command: Command, protocol: str) -> None:
    asks, key = AsksToExplain(copied, world, command, protocol), os.environ["OPENAI_API_KEY"]
    said = [asks(), asks.said, asks("send", "--form", "highlighted"), asks.said, asks("status")]
    world.end()
    said += [asks("retrieve"), asks("parse"), asks.explanations()]
    world.plan = lambda prompt, times: Fault(401, echo_key=True)
    code, out, err = command(*asks.words("--form", "highlighted", "--max-tokens", "99"))
    assert code == 1
    assert any(key in sent for sent in world.keys)
    assert key not in repr(said) + out + err
    for path in copied.rglob("*"):
        assert not path.is_file() or key.encode() not in path.read_bytes(), path


def test_a_server_that_is_not_there_is_an_error(copied: Path, command: Command) -> None:
    words = ("--client", "openai:m", "--base-url", "http://127.0.0.1:9/v1", "--attempts", "1", "--limit", "2")
    code, _, err = command("explain", copied, *words)
    assert code == 1
    assert "Nothing was answered by http://127.0.0.1:9/v1" in err
    assert "--base-url" in err


class TestSelfExplanation:
    def test_a_chat_model_explains_itself(self, copied: Path, tiny_directory: Path, command: Command) -> None:
        chat = Path(shutil.copytree(tiny_directory, copied.parent / "chat"))
        (chat / "chat_template.jinja").write_text("{{ messages[0].content }} Answer: ", encoding="utf-8")
        recipe = (copied / "recipe.toml").read_text(encoding="utf-8")
        (copied / "recipe.toml").write_text(recipe.replace(str(tiny_directory), str(chat)), encoding="utf-8")
        words = ("explain", copied, "--self-explanation", "--at", "0.resid_post", "--limit", "3", "--json")
        code, out, err = command(*words)
        assert code == 0, err
        result = json.loads(out)
        assert result["explained"] + result["silent"] == 3
        assert result["method"] == "self-explanation (0.resid_post)"
        rows = Run.open(copied).atlas().sql("select * from explanations where model is not null")
        assert len(rows) == result["explained"] > 0
        assert {(row["author"], row["method"]) for row in rows} == {(result["author"], result["method"])}
        # What is said stands; only what is lacking is asked again.
        again = json.loads(command(*words)[1])
        assert (again["before"], again["explained"]) == (result["explained"], 0)

    def test_another_model_is_refused(self, copied: Path, command: Command) -> None:
        code, _, err = command("explain", copied, "--self-explanation")
        assert code == 2
        assert "no chat template" in err
        code, _, err = command("explain", copied, "send", "--self-explanation")
        assert code == 2
        assert "leave out --client" in err


def finish(asks: AsksToExplain) -> None:
    """Go on after a kill; all ends as if there had been none."""
    asks("send")
    asks.world.end()
    asks("status")
    asks("retrieve")
    result = asks("parse")
    assert (result["explained"], result["failures"]) == (5, {})
    assert result["spent_dollars"]["answered"] == result["spent_dollars"]["at_most"] > 0
    assert Counter(asks.world.batched.values()) == {1: 5}
    assert len(asks.world.batches) == 1
    assert not asks.world.asked
    rows = asks.explanations()
    assert len({row["latent"] for row in rows}) == len(rows) == 5
    assert asks("parse") == result
    assert asks.explanations() == rows


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
class TestKilled:
    def test_in_every_phase_of_a_batch(
        self, copied: Path, world: FakeProvider, command: Command, victims: Any, protocol: str
    ) -> None:
        asks = AsksToExplain(copied, world, command, protocol)
        if protocol == "openai":
            victims.kill_at(world, "upload after", asks.words("send"))
        victims.kill_at(world, "create before", asks.words("send"))
        victims.kill_at(world, "create after", asks.words("send"))
        victims.kill_at(world, "list batches before", asks.words("status"))
        asks("status")
        world.end()
        victims.kill_at(world, "results half", asks.words("retrieve"))
        finish(asks)

    def test_while_asking_at_once(
        self, copied: Path, world: FakeProvider, command: Command, victims: Any, protocol: str
    ) -> None:
        asks = AsksToExplain(copied, world, command, protocol)
        seen: list[str] = []

        def third_waits(prompt: str, times: int) -> Answer:
            seen.append(prompt)
            if len(seen) == 3:
                world.at("third")
            return plan(prompt, times)

        world.plan = third_waits
        victims.kill_at(world, "third", asks.words("--concurrency", "1"))
        assert len(world.asked) == 3
        result = asks("--concurrency", "1")
        assert result["explained"] == 5
        # Only the one that was under way is asked again, and counts at the most that it can have cost.
        assert sorted(world.asked.values()) == [1, 1, 1, 1, 2]
        assert result["spent_dollars"]["at_most"] > result["spent_dollars"]["answered"]
