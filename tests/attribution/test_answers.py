"""An answer in full: what pages draw is what the methods, the lens and the heads say, and a run keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monosema.attribution import Game, Question, ask, attribute, heads_of, methods_named, tokens_of
from monosema.attribution.answers import answer_in_full, compact, keep_answer, kept_answers, read_answer
from monosema.core import FormatError, InputError, Site
from monosema.dictionaries import Metadata, dictionary_config
from monosema.models import LanguageModel


@pytest.fixture
def game(model: LanguageModel, question: Question) -> Game:
    return Game(model, question, tokens_of(model, question, "words"))


def test_all_views_are_of_one_question(model: LanguageModel, question: Question, game: Game) -> None:
    about = Metadata(site=Site(2, "resid_post"))
    dictionary = dictionary_config("topk", n_latents=64, k=4).make([model.d_model], about, 0)
    found = answer_in_full(game, methods_named(["occlusion", "gradient_input"]), dictionary=dictionary)
    assert found["target"] == "' Kevin' rather than ' Nicholas'"
    text = "".join(piece["text"] for piece in found["question"]["pieces"] if piece["player"] is not None)
    assert text.endswith("lent a coin to")
    assert found["answers"][0]["scores"] == attribute(game, "occlusion").scores.tolist()
    assert found["judged"]["methods"] == ["occlusion", "gradient_input"]
    for by in ("layer", "head", "neuron", "latent"):
        parts = found["parts"][by]
        assert sum(one["score"] for one in parts["parts"]) + parts["rest"] == pytest.approx(game.full, abs=1e-2)
    last = [cell for cell in found["lens"]["reading"] if cell["position"] == len(question.ids) - 1]
    assert last[-1]["target"] == {**last[-1]["target"], "token": " Kevin", "rank": 1}
    layer, head = found["attention"]["heads"][0]["head"]
    pattern = model.activations(torch.tensor([question.ids]), [f"{layer}.pattern"])[f"{layer}.pattern"]
    assert found["attention"]["heads"][0]["looks"] == pytest.approx(pattern[0, head, -1].tolist(), abs=1e-5)
    assert found["absent"] == {}


def test_a_completion_is_followed_by_its_first_token_and_one_word_has_no_rivals(model: LanguageModel) -> None:
    question = ask(model, "so", completion=" and then")
    found = answer_in_full(Game(model, question, tokens_of(model, question)), methods_named(["occlusion"]))
    assert found["lens"]["reading"][0]["target"]["token"] == " and"
    assert "judged" not in found
    assert "latent" not in found["parts"]


def test_methods_without_a_definition_say_why(model: LanguageModel, question: Question) -> None:
    masked = Game(model, question, tokens_of(model, question, "words", "mask"))
    found = answer_in_full(masked, methods_named(["integrated_gradients", "occlusion"]))
    assert [one["method"] for one in found["answers"]] == ["occlusion"]
    assert "no gradient" in found["failed"]["integrated_gradients"]
    with pytest.raises(InputError, match="no gradient"):
        answer_in_full(masked, methods_named(["integrated_gradients"]))
    with pytest.raises(InputError, match="among tokens only"):
        answer_in_full(Game(model, question, heads_of(model, question)), methods_named(["occlusion"]))


def test_a_run_keeps_answers_by_name(game: Game, tmp_path: Path) -> None:
    values = answer_in_full(game, methods_named(["occlusion"]))
    path = keep_answer(tmp_path, "names", values)
    assert path == tmp_path / "answers" / "names.json"
    assert read_answer(path).values == compact(values)
    assert compact({"a": [1 / 3, 12345678.9, 1e-7]}) == {"a": [0.333333, 12345700.0, 1e-07]}
    (path.parent / "other.json").write_text("[]")
    (path.parent / "torn.json").write_text("{")
    assert [one.name for one in kept_answers(tmp_path)] == ["names"]
    with pytest.raises(FormatError, match="holds no answer"):
        read_answer(path.parent / "other.json")
    for name in ("", "../up", ".hidden", "a/b"):
        with pytest.raises(InputError, match="not valid as a name"):
            keep_answer(tmp_path, name, values)
