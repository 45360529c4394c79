"""Models as people call them: with texts, with sites by their spelling, and without a graph nobody asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import monosema as ms
from monosema.core import InputError, SiteError
from monosema.models import AdaptedModel, ModelPair, Transformer, byte_tokenizer, random_model


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model()


def test_a_text_is_read_as_its_tokens_are(model: Transformer) -> None:
    got = model.activations("one text")
    ids = model.to_tokens("one text")
    assert ids.tolist() == [model.tokenizer.encode("one text")]
    for name in ("1.resid_post", "blocks.1.hook_resid_post"):
        torch.testing.assert_close(got[name], model.activations(ids, ["1.resid_post"])["1.resid_post"])
    torch.testing.assert_close(got["embed"], model.activations(ids[0])["embed"])
    assert "1.result" not in got
    assert {site.component for site in model.sites()} >= {"result", "pattern"}
    with pytest.raises(SiteError, match=r"1\.result was not captured\..*0…1\.resid_post"):
        got["1.result"]


def test_several_texts_are_filled_up_and_masked(model: Transformer) -> None:
    got = model.activations(["short", "a longer text"], ["1.resid_post"])["1.resid_post"]
    alone = model.activations("short", ["1.resid_post"])["1.resid_post"]
    torch.testing.assert_close(got[:1, : alone.shape[1]], alone, atol=1e-5, rtol=1e-5)
    ids = model.to_tokens(["short", "a longer text"])
    assert model.to_string(ids, skip_special=True) == ["short", "a longer text"]
    assert model.to_string(ids[1]) == "<bos>a longer text"
    with pytest.raises(InputError, match="Text 1 has no tokens"):
        model.to_tokens(["a", ""], bos=False)


def test_a_run_gives_logits_and_activations(model: Transformer) -> None:
    logits, cache = model.run_with_cache("one text", ["0.pattern"])
    torch.testing.assert_close(logits, model(model.to_tokens("one text")))
    assert repr(cache) == "{0.pattern: [1, 4, 9, 9]}"
    both, everything = model.run_with_cache(["one text", "two"])
    assert both.shape[0] == len(everything["0.z"]) == 2


def test_what_is_read_has_no_graph(model: Transformer, tiny_directory: Path) -> None:
    loaded = ms.load_model(tiny_directory)
    for one in (model, loaded):
        assert not any(parameter.requires_grad for parameter in one.parameters())
        assert not one(one.to_tokens("text")).requires_grad
        one.requires_grad_(True)
        assert one(one.to_tokens("text")).requires_grad
        assert not one.activations("text")["0.resid_post"].requires_grad
        assert not one.run_with_cache("text")[0].requires_grad
        one.requires_grad_(False)


def test_models_say_what_they_are_in_a_line(model: Transformer) -> None:
    assert repr(model) == (
        "Transformer('random-0': llama, 2 layers, d_model 32, 4 heads, vocab 259, context 128, float32)"
    )
    assert repr(ModelPair(model, model)).startswith("ModelPair(Transformer('random-0'")
    layers = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
    assert repr(AdaptedModel(layers, "net", example=torch.ones(1, 3))) == "AdaptedModel('net': Sequential, 2 sites)"


def test_a_foreign_module_is_read_at_all_its_modules() -> None:
    layers = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
    model = AdaptedModel(layers, "net", byte_tokenizer(), example=torch.ones(1, 3))
    assert repr(model.activations(torch.ones(2, 3))) == "{0: [2, 4], 1: [2, 4]}"
    out, got = model.run_with_cache(torch.ones(2, 3))
    assert torch.equal(out, got["1"])


def test_a_pair_reads_both_models(model: Transformer) -> None:
    got = ModelPair(model, model).activations("text")
    assert torch.equal(got["1.resid_post"], got["1.resid_post@other"])


def test_ids_are_taken_in_any_natural_form_and_else_refused_with_what_to_do(model: Transformer) -> None:
    ids = model.to_tokens("one text")
    for given in (ids[0], ids.numpy(), ids.to(torch.int16), ids.tolist(), ids[0].tolist()):
        torch.testing.assert_close(model(given), model(ids))
    for text in ("one text", ["one", "text"]):
        with pytest.raises(InputError, match=r"model\.activations\(text\).*model\(model\.to_tokens\(text\)\)"):
            model(text)
    with pytest.raises(InputError, match=r"whole numbers, not float32: convert"):
        model(ids.float())
    with pytest.raises(InputError, match=r"the list is empty"):
        model.activations([])
    with pytest.raises(InputError, match=r"the model has \d+ only"):
        model(torch.ones(1, model.context + 1).long())


def test_an_activation_is_found_by_name_and_layer_too(model: Transformer) -> None:
    got = model.activations("one text")
    assert got["resid_post", 1] is got["1.resid_post"]
