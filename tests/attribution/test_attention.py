"""Attention is read as the model computes it, and circuits are the weights' products."""

from __future__ import annotations

import math

import pytest
import torch
from families import KINDS, family_model

from monosema.attribution.attention import head_circuits, learned_positions, read_attention, rotary_phases
from monosema.core import InputError, Site, UnsupportedModelError
from monosema.models import random_model
from monosema.pages.attended import attention_page


def test_weighted_shares_are_the_sizes_of_what_is_added() -> None:
    model = random_model()
    ids = model.tokenizer.encode("a cat sat")
    found, tokens = read_attention(model, ids), torch.tensor([ids])
    kept = model.activations(tokens, ["1.pattern", "1.v"])
    torch.testing.assert_close(found.pattern[1], kept["1.pattern"][0])
    out = model.blocks[1].attn.o.weight.unflatten(1, (model.n_heads, -1))
    head, query = 3, 5
    taken = kept["1.v"][0, :, head // 2] @ out[:, head].T * kept["1.pattern"][0, head, query, :, None]
    torch.testing.assert_close(found.weighted[1, head, query], taken.norm(dim=1) / taken.norm(dim=1).sum())


def test_figures_of_a_head_that_spreads_its_attention() -> None:
    model = random_model()
    with model.edit("0.attn_scores", lambda x: torch.where(x.isinf(), x, torch.zeros_like(x))):
        found = read_attention(model, [5, 6, 7])
    figures = {name: float(values[0, 0]) for name, values in found.figures().items()}
    assert figures["entropy"] == pytest.approx((math.log(2) + math.log(3)) / 2, abs=1e-5)
    assert figures["distance"] == pytest.approx((0.5 + 1.0) / 2, abs=1e-5)
    assert figures["sink"] == pytest.approx((1 / 2 + 1 / 3) / 2, abs=1e-5)
    assert [edge[:2] for edge in found.edges(0, 0, 0.4)] == [(0, 0), (1, 0), (1, 1)]
    with pytest.raises(InputError, match="two tokens"):
        read_attention(model, [5]).figures()
    page = attention_page(found, 0, 0, weighted=True)
    assert len(page.figures) == 2


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("gpt2", "olmo2", "gpt_neox")])
def test_qk_of_a_first_layer_is_what_the_head_computes(kind: str) -> None:
    model = family_model(kind, qkv_bias=False)
    found = head_circuits(model, 0, 1, distance=2, n=model.vocab**2)
    scores = {pair[:2]: pair[2] for pair in found.looks}
    tokens = torch.tensor([[7, 9, 11]])
    with model.capture(Site(0, "rot_q"), Site(0, "rot_k")) as kept:
        model(tokens)
    shared = 1 // (model.n_heads // model.config.n_kv_heads)
    expected = kept["0.rot_q"][0, 2, 1] @ kept["0.rot_k"][0, 0, shared] * model.config.attention[0].scale
    assert scores[11, 7] == pytest.approx(float(expected), abs=1e-4)


def test_copying_is_the_share_of_positive_eigenvalues() -> None:
    model = family_model("llama")
    found = head_circuits(model, 0, 0, n=3)
    block = model.blocks[0]
    gain, weight = block.ln1.gain(), model.embed.weight
    v = block.attn.qkv.weight.split(block.attn.sizes)[2].unflatten(0, (-1, 4))[0]
    out = block.attn.o.weight.unflatten(1, (4, -1))[:, 0]
    values = torch.linalg.eigvals(((weight * gain) @ v.T @ model.unembed(out.T)).double())
    assert found.copying == pytest.approx(float(values.real.sum() / values.abs().sum()), abs=1e-2)
    assert len(found.writes) == 3
    with pytest.raises(InputError, match=r"a0\.h9"):
        head_circuits(model, 0, 9)


def test_positions_of_both_kinds() -> None:
    (first, _) = rotary_phases(family_model("llama"), [3, 4, 5])
    assert float(first.shares.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(first.wavelengths[0]) == pytest.approx(2 * math.pi, rel=1e-5)
    half = rotary_phases(family_model("gpt_neox"), [3, 4, 5])[0]
    assert float(half.shares.sum()) < 1
    learned = learned_positions(family_model("gpt2"))
    assert float(learned.explained[-1]) <= 1.0 + 1e-6
    with pytest.raises(UnsupportedModelError):
        learned_positions(family_model("llama"))
