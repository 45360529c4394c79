"""Versions of the activations at a site run on as edits of whole passes do, and share what comes before."""

from __future__ import annotations

import pytest
import torch
from foreign_models import foreign_model

from monosema.core import Site
from monosema.interventions import put_rows
from monosema.models import AdaptedModel, Fork, ModelPair, byte_tokenizer, can_fork, random_model, unembed_of

TOKENS = torch.randint(0, 256, (3, 6), generator=torch.Generator().manual_seed(2))
MASKS = {
    "none": None,
    "right": torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [True] * 6]),
    "left": torch.tensor([[True] * 6, [False] * 2 + [True] * 4, [True] * 6]),
}


@pytest.mark.parametrize("site", ["embed", "0.resid_mid", "1.resid_pre", "0.resid_post", "0.mlp_out", "1.z"])
@pytest.mark.parametrize("mask", MASKS)
@torch.no_grad()
def test_each_version_is_an_edit_of_a_whole_pass(site: str, mask: str) -> None:
    model, mask_of = random_model(), MASKS[mask]
    fork = Fork(model, site, TOKENS, mask_of)
    assert can_fork(model, site) == ("resid" in site or site == "embed")
    unembed = unembed_of(model, site)
    clean, doubled = (unembed(out) for out in fork.run([None, 2 * fork.activation]))
    keep = torch.ones(3, 6, dtype=torch.bool) if mask_of is None else mask_of
    torch.testing.assert_close(clean[keep], model(TOKENS, mask_of)[keep], atol=2e-5, rtol=1e-5)
    with model.edit(site, lambda x: 2 * x):
        torch.testing.assert_close(doubled[keep], model(TOKENS, mask_of)[keep], atol=2e-5, rtol=1e-5)
    assert len(model.hooks) == 0


@torch.no_grad()
def test_blocks_before_the_site_run_once() -> None:
    model, ran = random_model(), []
    for index, block in enumerate(model.blocks):
        block.mlp.register_forward_hook(lambda *_, index=index: ran.append(index))
    fork = Fork(model, "0.resid_post", TOKENS)
    for _ in range(3):
        list(fork.run([None, 0 * fork.activation]))
    assert ran == [0, 1, 1, 1]


def test_gradients_reach_the_versions_and_nothing_before() -> None:
    shape = {"vocab_size": 300, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16}
    adapted = AdaptedModel(foreign_model("GPT2", shape), tokenizer=byte_tokenizer())
    where = torch.zeros(3, 6, dtype=torch.bool)
    where[1, 2:4] = True
    cases: list[tuple[Transformer | AdaptedModel, str]] = [
        (random_model(), "0.resid_post"),
        (random_model(), "0.mlp_out"),
    ]
    for model, site in [*cases, (adapted, "transformer.h.0")]:
        with torch.no_grad():
            fork = Fork(model, site, TOKENS)
        rows = fork.activation[where].clone().requires_grad_()
        (out,) = fork.run([put_rows(fork.activation, where, rows)])
        (gradient,) = torch.autograd.grad(out[1].square().sum(), rows)
        assert (gradient != 0).any(dim=1).all()
        assert torch.is_grad_enabled()


@torch.no_grad()
def test_of_a_pair_the_model_that_has_the_site_runs() -> None:
    first, second = random_model(seed=1), random_model(seed=2)
    pair = ModelPair(first, second)
    for site, model in (("0.resid_post", first), ("0.resid_post@other", second)):
        fork = Fork(pair, site, TOKENS)
        assert torch.equal(fork.activation, model.activations(TOKENS, ["0.resid_post"])[Site(0, "resid_post")])
