"""What every language model keeps to, ours or foreign, or two side by side."""

from __future__ import annotations

import pytest
import torch
from families import KINDS, SHAPE

from monosema.core import Site, SiteError
from monosema.models import (
    AdaptedModel,
    LanguageModel,
    ModelPair,
    TransformerConfig,
    byte_tokenizer,
)
from monosema.models import random_model as random
from monosema.steering import Add, Clamp, Direction, Edit, Scale, Steering, Where, steered

TOKENS = torch.randint(0, 256, (3, 9), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=[*KINDS, "adapted", "pair"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    if request.param == "pair":
        config = TransformerConfig(family="llama", **{**SHAPE, **KINDS["llama"]})
        return ModelPair(random(config), random(config, seed=1))
    if request.param != "adapted":
        return random(TransformerConfig(family=request.param, **{**SHAPE, **KINDS[request.param]}))
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=259, n_embd=16, n_head=4, n_layer=2, n_positions=32, initializer_range=0.3)
    return AdaptedModel(GPT2LMHeadModel(config), tokenizer=byte_tokenizer())


def some_sites(model: LanguageModel) -> list[Site]:
    """Sites in the middle that the model surely comes to."""
    if isinstance(model, AdaptedModel):
        return [Site(None, f"transformer.h.{i}") for i in range(2)]
    return [Site(i, "resid_post", other=isinstance(model, ModelPair)) for i in range(2)]


def test_it_is_a_language_model(model: LanguageModel) -> None:
    assert isinstance(model, LanguageModel)
    assert (model.d_model, model.n_layers, model.n_heads, model.vocab, model.context) == (16, 2, 4, 259, 32)
    assert model.device == torch.device("cpu")
    assert model.dtype == torch.float32
    assert model.digest == model.digest
    assert len(model.digest) == 16
    assert len(set(model.sites())) == len(model.sites())


@torch.no_grad()
def test_it_is_causal(model: LanguageModel) -> None:
    changed = TOKENS.clone()
    changed[:, 5:] = 7
    torch.testing.assert_close(model(TOKENS)[:, :5], model(changed)[:, :5], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_takes_no_part(model: LanguageModel, side: str) -> None:
    short = TOKENS[:, :4]
    padded = torch.full((3, 9), 258)
    mask = torch.zeros(3, 9, dtype=torch.bool)
    part = slice(5, 9) if side == "left" else slice(0, 4)
    padded[:, part], mask[:, part] = short, True
    torch.testing.assert_close(model(padded, mask)[:, part], model(short), atol=1e-4, rtol=1e-4)
    site = some_sites(model)[1]
    got = model.activations(padded, [site], mask)[site][:, part]
    torch.testing.assert_close(got, model.activations(short, [site])[site], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_rows_of_a_batch_do_not_touch(model: LanguageModel) -> None:
    torch.testing.assert_close(model(TOKENS)[1:2], model(TOKENS[1:2]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_captures_edits_and_activations_agree(model: LanguageModel) -> None:
    before = model(TOKENS)
    first, second = some_sites(model)
    with model.capture(first, str(second)) as got:
        assert torch.equal(model(TOKENS), before)
    assert set(got) == {first, second}
    assert got[first].shape[-1] == model.site_width(first)
    stopped = model.activations(TOKENS, [str(second), first])
    assert list(stopped) == [second, first]
    for site in (first, second):
        torch.testing.assert_close(stopped[site], got[site])
    kept = got[first]
    with model.edit(first, lambda x: x * 0.5):
        torch.testing.assert_close(model.activations(TOKENS, [first])[first], kept * 0.5)
        assert (model(TOKENS) - before).abs().max() > 1e-3
    assert torch.equal(model(TOKENS), before)


def test_gradients_reach_captured_activations(model: LanguageModel) -> None:
    first, second = some_sites(model)
    with model.capture(first, second, gradients=True) as got:
        loss = model(TOKENS)[:, -1, 3].sum()
    for gradient in torch.autograd.grad(loss, [got[first], got[second]]):
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 0


@torch.no_grad()
def test_unembedding_gives_the_logit_effect_of_directions(model: LanguageModel) -> None:
    directions = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
    effects = model.unembed(directions)
    assert effects.shape == (3, 259)
    torch.testing.assert_close(model.unembed(2 * directions), 2 * effects)
    if isinstance(model, (AdaptedModel, ModelPair)):
        return
    site = some_sites(model)[-1]
    scale = model.activations(TOKENS, ["ln_final.scale"])[Site(None, "ln_final.scale")]
    cap = model.config.logit_softcap

    def uncapped() -> torch.Tensor:
        logits = model(TOKENS)
        return logits if cap is None else cap * torch.atanh(logits / cap)

    before = uncapped()
    with model.edit(site, lambda x: x + directions[0]), model.edit("ln_final.scale", lambda x: scale):
        after = uncapped()
    torch.testing.assert_close((after - before) * scale, effects[0].expand_as(before), atol=2e-2, rtol=2e-2)


def test_unknown_sites_are_errors(model: LanguageModel) -> None:
    for use in (lambda s: model.capture(s).__enter__(), lambda s: model.edit(s, torch.clone).__enter__()):
        with pytest.raises(SiteError, match="There is no"):
            use("9.resid_post")
    with pytest.raises(SiteError):
        model.activations(TOKENS, ["somewhere.else"])
    with pytest.raises(SiteError):
        model.site_width("somewhere")


def test_it_writes(model: LanguageModel) -> None:
    greedy = model.generate(["ab", "abcdef"], max_new_tokens=5, stop_at_eos=False)
    assert [len(generation.tokens) for generation in greedy] == [5, 5]
    assert model.generate("ab", max_new_tokens=5, stop_at_eos=False) == greedy[0]
    sampled = [model.generate("ab", max_new_tokens=5, temperature=1.0, seed=4) for _ in range(2)]
    assert sampled[0] == sampled[1]
    with model.edit(some_sites(model)[-1], torch.neg):
        edited = model.generate("ab", max_new_tokens=5, stop_at_eos=False)
    assert edited.tokens != greedy[0].tokens


@torch.no_grad()
def test_half_precision_stays_near() -> None:
    for kind, settings in KINDS.items():
        exact = random(TransformerConfig(family=kind, **{**SHAPE, **settings}))
        logits = exact(TOKENS)
        half = exact.to(torch.bfloat16)
        for site in half.sites():
            with half.capture(site) as got, half.edit(site, lambda x: x.clone()):
                assert half(TOKENS).dtype == torch.bfloat16
            assert got[site].isfinite().all() or site.component == "attn_scores"
        assert (half(TOKENS).float() - logits).norm() / logits.norm() < 0.05


def test_it_is_steered_row_by_row_alike_alone_streamed_and_without_a_cache(model: LanguageModel) -> None:
    site = some_sites(model)[0]
    d = torch.randn(16, generator=torch.Generator().manual_seed(1))
    push = Steering(Edit(Direction(site, d), Add(2.0)))
    mixed = Steering(
        [
            Edit(Direction(site, d), Clamp(1.5, 1.5), Where(prompt="last", generated=(1, 3))),
            Edit(Direction(some_sites(model)[1], d), Scale(-1.0)),
        ]
    )
    rows = [push, None, mixed]
    prompts = ["one", "a second text", "xyz"]
    plain = model.generate(prompts, max_new_tokens=5)
    with steered(model, rows) as touched:
        texts = model.generate(prompts, max_new_tokens=5)
    with steered(model, rows) as again:
        assert model.generate(prompts, max_new_tokens=5, use_cache=False) == texts
    with steered(model, rows):
        pieces = list(model.stream(prompts, max_new_tokens=5))
    assert texts[1] == plain[1]
    assert texts != plain
    for number, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
        assert tuple(piece.token for piece in pieces if piece.row == number) == texts[number].tokens
        with steered(model, [row]):
            assert model.generate(prompt, max_new_tokens=5) == texts[number]
    for one, other in zip(touched, again, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert (one.prompt, one.generated) == (other.prompt, other.generated)
    assert model.generate(prompts, max_new_tokens=5) == plain


def test_a_steered_activation_is_that_of_the_equation(model: LanguageModel) -> None:
    site = some_sites(model)[0]
    d = torch.randn(16, generator=torch.Generator().manual_seed(1))
    before = model.activations(TOKENS, [site])[site]
    with steered(model, Steering()):
        assert torch.equal(model.activations(TOKENS, [site])[site], before)
    steering = Steering([Edit(Direction(site, d), Clamp(high=0.1)), Edit(Direction(site, d), Add(0.1), unit="norm")])
    with steered(model, steering):
        after = model.activations(TOKENS, [site])[site]
    c = before @ d / (d @ d)
    moved = (c.clamp(max=0.1) - c)[..., None] * d + 0.1 * before.norm(dim=-1, keepdim=True) * d / d.norm()
    torch.testing.assert_close(after - before, moved, rtol=1e-5, atol=1e-5)
