"""Saving: what is written is read again as the same model, by us and by transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monosema.circuits.pruning import Kept, cut
from monosema.core import InputError, UnsupportedModelError
from monosema.models import load_model, random_model, save_model

TOKENS = torch.randint(3, 250, (2, 9), generator=torch.Generator().manual_seed(0))


def smaller(folder: Path) -> torch.Tensor:
    """Save the embedded model without most of itself; return the logits of what was saved."""
    model = load_model("specimen", dtype="float32")
    heads = tuple((layer % 3, 5) for layer in range(6))
    neurons = tuple(tuple(range(layer, 90, 9)) for layer in (0, 1, 2, 3, 4, 5))
    kept = Kept(layers=(0, 2, 5), heads=heads, neurons=neurons)
    small = cut(model, kept)
    save_model(small, folder, model.folder)
    return small(TOKENS)


def test_a_pruned_model_is_read_again(tmp_path: Path) -> None:
    expected = smaller(tmp_path / "small")
    again = load_model(tmp_path / "small", dtype="float32")
    assert torch.equal(again(TOKENS), expected)
    assert again.tokenizer.encode("The weather") == load_model("specimen").tokenizer.encode("The weather")
    with pytest.raises(InputError, match="holds something already"):
        save_model(again, tmp_path / "small")
    with pytest.raises(InputError, match="made in memory"):
        save_model(random_model(), tmp_path / "other")


@pytest.mark.interop
def test_transformers_computes_the_same_logits(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    expected = smaller(tmp_path / "small")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "small", dtype=torch.float32)
    with torch.no_grad():
        assert torch.allclose(theirs(TOKENS).logits, expected, atol=1e-5)


@pytest.mark.interop
@pytest.mark.parametrize("kind", ["GPT2", "GPTNeoX", "Qwen3", "Gemma2"])
def test_other_families_lose_neurons_and_layers(kind: str, tmp_path: Path) -> None:
    from foreign_models import foreign_model
    from transformers import AutoModelForCausalLM

    from monosema.models import byte_tokenizer

    sizes = {"n_embd": 16, "n_layer": 3, "n_head": 4} if kind == "GPT2" else {
        "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
        "intermediate_size": 24,
    }  # fmt: skip
    foreign_model(kind, {"vocab_size": 259, **sizes}).save_pretrained(tmp_path / "whole")
    byte_tokenizer().raw.save(str(tmp_path / "whole/tokenizer.json"))
    model = load_model(tmp_path / "whole", dtype="float32")
    whole = Kept.all_of(model.config)
    kept = Kept(layers=(0, 2), heads=whole.heads, neurons=((1, 4, 7, 9),) * 3)
    small = cut(model, kept)
    save_model(small, tmp_path / "small", tmp_path / "whole")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "small", attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        assert torch.allclose(theirs(TOKENS).logits, small(TOKENS), atol=1e-4)
    if kind == "GPT2":
        fewer = cut(model, Kept(layers=whole.layers, heads=((0, 1),) * 3, neurons=whole.neurons))
        with pytest.raises(UnsupportedModelError, match="can't say"):
            save_model(fewer, tmp_path / "fewer", tmp_path / "whole")
