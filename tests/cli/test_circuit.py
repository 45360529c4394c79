"""circuit: a planted circuit is found, judged and written, and what can't be judged is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open
from tests.helpers.planted_pairs import planted_pairs

from monosema.circuits import ShownGraph
from monosema.circuits.planted import PLANTED, Planted
from monosema.core import Site
from monosema.dictionaries import Metadata, SparseCoder, TopK, save_dictionary

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def subject() -> Planted:
    return PLANTED["induction"](40)


@pytest.fixture
def pairs(subject: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return planted_pairs(subject, tmp_path, monkeypatch)


def test_a_circuit_is_found_judged_and_written(subject: Planted, pairs: Path, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "found"
    code, text, err = command("circuit", pairs, "--out", out, "--json", "--debug")
    assert code == 0, err
    (found,) = json.loads(text)["circuits"]
    assert (found["task"], found["n"], found["edges"]) == ("repeats", 20, len(subject.truth))
    assert found["faithfulness"]["low"] > 0.9
    assert found["random"]["high"] < 0.1
    assert found["completeness"]["without"]["high"] < 0.1
    assert [one["idle"] for one in found["minimality"]] == [False] * 3
    assert found["curves"]["size"]["cmd"]["linear"]["value"] < found["curves"]["random"]["cmd"]["linear"]["value"]
    assert set(json.loads((out / "circuit.json").read_text())["edges"]) == set(subject.truth.edge_names())
    assert '"a0.h0" -> "a1.h1" [label="k"' in (out / "circuit.dot").read_text()
    shown = ShownGraph.read(out)
    assert (shown.about["edges"], len(shown.curve)) == (len(subject.truth), len(found["curves"]["size"]["points"]))
    with safe_open(out / "scores.safetensors", "pt") as file:
        names = {key: json.loads(file.metadata()[key]) for key in ("writers", "readers")}
        shape = [len(names["writers"]), len(names["readers"])]
        assert file.get_slice("scores").get_shape() == shape


def test_tables_and_sentences_are_printed(pairs: Path, command: Command) -> None:
    code, text, _ = command("circuit", pairs, "--tests", "curve,completeness")
    assert code == 0
    for part in ("f, random", "CMD, linear axis", "100% of 20", "nothing else does the task"):
        assert part in " ".join(text.split())


def test_a_circuit_that_is_given_is_judged(subject: Planted, pairs: Path, command: Command, tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    words = ("circuit", pairs, "--from", own, "--tests", "none", "--json")
    for value, faithful in (({"nodes": ["a0.h0", "a1.h1"]}, 1), ({"edges": ["embed->logits"]}, 0)):
        own.write_text(json.dumps(value))
        code, text, _ = command(*words)
        assert code == 0
        (found,) = json.loads(text)["circuits"]
        assert found["faithfulness"]["value"] == pytest.approx(faithful, abs=0.05)
        assert found["scores"] is None
    own.write_text('{"edges": ["embed->a9.h0<q>"]}')
    code, _, err = command(*words)
    assert (code, "a9.h0" in err) == (2, True)
    own.write_text('{"heads": []}')
    assert "holds no circuit" in command(*words)[2]


def test_several_tasks_give_the_matrix_and_its_verdict(pairs: Path, command: Command, tmp_path: Path) -> None:
    other = tmp_path / "again.jsonl"
    other.write_text(pairs.read_text())
    code, text, _ = command("circuit", pairs, other, "--tests", "none", "--json")
    found = json.loads(text)
    assert (code, found["matrix"]["verdict"]) == (0, "Double dissociation: none among 1 pairs of tasks.")
    assert found["matrix"]["lost"]["repeats"]["again"]["value"] == pytest.approx(1, abs=0.1)
    # Of two circuits that are the same, none has an edge of its own.
    assert found["own"]["sizes"] == {"repeats": 0, "again": 0}
    assert found["own"]["lost"]["repeats"]["again"]["value"] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "which task"),
        (("ioy",), "'ioi'"),
        (("ioi", "--prompts", "2"), "--prompts = 2"),
        (("ioi", "--ranking", "best"), "--ranking = 'best'"),
        (("ioi", "--tests", "curv"), "--tests"),
        (("ioi", "--threshold", "2"), "--threshold = 2"),
        (("ioi", "gender", "--from", "x.json"), "one task"),
        (("ioi", "--method", "exactly"), "no method"),
        (("ioi", "--ablation", "noise"), "no ablation"),
        (("ioi", "--metric", "loss"), "no metric"),
    ],
)
def test_what_cannot_be_found_is_said(
    words: tuple[str, ...], says: str, subject: Planted, command: Command, pairs: Path
) -> None:
    # The planted model reads its own prompts only: they come after what is wrong, or in the place of a task.
    code, _, err = command("circuit", *(str(pairs) if one == "ioi" else one for one in words))
    assert (code, says in err) == (2, True)


def test_a_task_that_the_model_cannot_do_ends_with_its_accuracy(pairs: Path, command: Command) -> None:
    turned = [json.loads(line) for line in pairs.read_text().splitlines()]
    pairs.write_text("\n".join(json.dumps(one | {"correct": one["wrong"], "wrong": one["correct"]}) for one in turned))
    code, _, err = command("circuit", pairs)
    assert (code, "answers 0% of 20 prompts" in err) == (2, True)


def test_a_circuit_of_latents_is_found(subject: Planted, pairs: Path, command: Command, tmp_path: Path) -> None:
    model = subject.model
    about = Metadata(model.name, site=Site(model.n_layers - 1, "resid_post"))
    save_dictionary(SparseCoder(model.d_model, 2 * model.d_model, TopK(k=8), metadata=about), tmp_path / "coder")
    words = ("--latents", tmp_path / "coder", "--prompts", "8", "--out", tmp_path / "out")
    code, text, err = command("circuit", pairs, *words, "--json", "--debug")
    assert code == 0, err
    found = json.loads(text)
    assert found["curve"][-1]["faithfulness"]["value"] > 0.5
    assert ShownGraph.read(tmp_path / "out").nodes[0].name == found["first"][0]["node"]
    assert "random" in command("circuit", pairs, *words)[1]
    assert "one task" in command("circuit", pairs, pairs, *words)[2]
