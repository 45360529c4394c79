"""Dictionaries in the place of activations: what the model does then is what an edit by hand does, with gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import monosema as ms
from monosema.core import ConfigError, Site, SiteError, VectorError
from monosema.dictionaries import Codes, SparseCoder, at_sites, dictionary_config, make_coder
from monosema.interventions import put_rows, splice
from monosema.models import AttentionConfig, Role, Transformer, TransformerConfig, random_model

SITES = ("0.resid_post", "1.resid_post")


GPT2 = TransformerConfig(
    family="gpt2",
    d_model=32,
    n_layers=2,
    n_heads=4,
    n_kv_heads=4,
    d_head=8,
    d_mlp=64,
    vocab=259,
    context=128,
    attention=(AttentionConfig(scale=8**-0.5),) * 2,
    activation="gelu",
    mlp_bias=True,
    learned_positions=True,
)


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model()


@pytest.fixture
def tokens(model: Transformer) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(4, model.vocab, (3, 9), generator=draw)
    tokens[:, 0] = model.tokenizer.bos_id
    return tokens


def coder(model: Transformer, seed: int = 0) -> SparseCoder:
    return make_coder("topk", model.d_model, 4 * model.d_model, k=5, seed=seed)


def transcoder(model: Transformer, read: str, written: str) -> SparseCoder:
    made = dictionary_config("transcoder", n_latents=32, k=5).make([model.d_model, model.d_model])
    made.metadata = at_sites(made.metadata, [Site.parse(read), Site.parse(written)], transcodes=True)
    return made


def test_the_error_kept_the_model_does_as_before(model: Transformer, tokens: Tensor) -> None:
    clean = model(tokens)
    with ms.splice(model, {site: coder(model) for site in SITES}, error="keep") as parts:
        torch.testing.assert_close(model(tokens), clean, atol=1e-5, rtol=1e-5)
    assert {site.short for site in parts} == set(SITES)
    part = parts[SITES[0]]
    assert len(part.codes) == int(part.where.sum()) == len(part.error) == 3 * 8


def test_the_error_dropped_is_an_edit_by_hand_and_special_tokens_stay(model: Transformer, tokens: Tensor) -> None:
    one = coder(model)

    def by_hand(x: Tensor) -> Tensor:
        return torch.cat([x[:, :1], one(x[:, 1:].flatten(0, 1)).view_as(x[:, 1:])], dim=1)

    with model.edit(SITES[0], by_hand):
        expected = model(tokens)
    with splice(model, {SITES[0]: one}):
        torch.testing.assert_close(model(tokens), expected, atol=1e-5, rtol=1e-5)
    with splice(model, {SITES[0]: one}, roles=list(Role)) as parts:
        model(tokens)
    assert bool(parts[SITES[0]].where.all())


def test_gradients_reach_codes_and_error(model: Transformer, tokens: Tensor) -> None:
    one = coder(model)
    with splice(model, {SITES[0]: one}, error="keep") as parts:
        loss = model(tokens).log_softmax(-1)[..., 7].sum()
        part = parts[SITES[0]]
        of_codes, of_error = torch.autograd.grad(loss, [part.codes.values, part.error])
    values, error = part.codes.values.detach().requires_grad_(), part.error.detach().requires_grad_()
    made = one.decode(Codes(values, part.codes.indices, one.n_latents)) + error
    with model.edit(SITES[0], lambda x: put_rows(x, part.where, made)):
        by_hand = model(tokens).log_softmax(-1)[..., 7].sum()
    expected = torch.autograd.grad(by_hand, [values, error])
    torch.testing.assert_close(of_codes, expected[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(of_error, expected[1], atol=1e-5, rtol=1e-4)
    assert float(of_error.abs().max()) > 0


def test_gradients_flow_through_the_codes_of_one_site_into_those_before(model: Transformer, tokens: Tensor) -> None:
    with splice(model, {site: coder(model) for site in SITES}, error="keep") as parts:
        model(tokens)
        later = parts[SITES[1]].codes.values.sum()
        (gradient,) = torch.autograd.grad(later, parts[SITES[0]].codes.values)
    assert float(gradient.abs().max()) > 0


@pytest.mark.parametrize("config", [None, GPT2], ids=["llama", "gpt2"])
@pytest.mark.parametrize("kind", ["autoencoder", "transcoder", "jumprelu"])
def test_the_error_kept_logits_and_gradients_upstream_are_those_of_the_clean_model(
    config: TransformerConfig | None, kind: str, tokens: Tensor
) -> None:
    model = random_model(config)
    if kind == "transcoder":
        spliced = {"0.resid_mid": transcoder(model, "0.resid_mid", "0.mlp_out"), SITES[1]: coder(model)}
    elif kind == "jumprelu":
        spliced = {SITES[0]: make_coder("jumprelu", model.d_model, 64)}
    else:
        spliced = {site: coder(model) for site in SITES}

    def upstream() -> tuple[Tensor, Tensor]:
        leaf: list[Tensor] = []

        def begin(x: Tensor) -> Tensor:
            leaf.append(x.detach().requires_grad_())
            return leaf[0]

        with model.edit("embed", begin):
            logits = model(tokens)
        (gradient,) = torch.autograd.grad(logits.log_softmax(-1)[:, -1, 7].sum(), leaf)
        return logits, gradient

    clean, expected = upstream()
    with splice(model, spliced, error="keep"):
        logits, gradient = upstream()
    torch.testing.assert_close(logits, clean, atol=1e-6, rtol=1e-6)
    assert float((gradient - expected).norm() / expected.norm()) < 1e-4


def test_gradients_are_kept_where_nothing_before_the_site_has_any(model: Transformer, tokens: Tensor) -> None:
    one = coder(model).requires_grad_(False)
    with splice(model, {SITES[0]: one}, error="keep") as parts:
        model(tokens)[..., 7].sum().backward()
        part = parts[SITES[0]]
    assert part.codes.values.grad is not None
    assert part.error.grad is not None
    torch.testing.assert_close(part.codes.values.grad[0], one.directions[part.codes.indices[0]] @ part.error.grad[0])


def test_a_transcoder_reads_one_site_and_writes_another(model: Transformer, tokens: Tensor) -> None:
    one = transcoder(model, "0.resid_mid", "0.mlp_out")
    with model.capture("0.resid_mid") as got:
        model(tokens)
    rows = got["0.resid_mid"][:, 1:].flatten(0, 1)
    made = one(rows).detach()
    where = torch.ones(tokens.shape, dtype=torch.bool)
    where[:, 0] = False
    with model.edit("0.mlp_out", lambda x: put_rows(x, where, made)):
        expected = model(tokens)
    with splice(model, {"0.resid_mid": one}) as parts:
        torch.testing.assert_close(model(tokens), expected, atol=1e-5, rtol=1e-5)
    assert [site.short for site in parts] == ["0.mlp_out"]


def test_a_crosscoder_stands_in_for_the_last_of_its_sites(model: Transformer, tokens: Tensor) -> None:
    one = dictionary_config("crosscoder", n_latents=32, k=5).make([model.d_model, model.d_model])
    one.metadata = at_sites(one.metadata, [Site.parse(site) for site in SITES], transcodes=False)
    with splice(model, {SITES[0]: one}) as parts:
        model(tokens)
    assert [site.short for site in parts] == [SITES[1]]
    assert parts[SITES[1]].reconstruction.shape == (24, model.d_model)


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_generation_with_a_cache_does_what_whole_passes_do(model: Transformer, temperature: float) -> None:
    one = coder(model)
    prompts = ["a few words", "of unlike length, that are continued"]
    with splice(model, {SITES[0]: one}):
        together = model.generate(prompts, max_new_tokens=6, temperature=temperature, seed=3)
        for prompt, whole in zip(prompts, together, strict=True):
            assert model.generate(prompt, max_new_tokens=6, temperature=temperature, seed=3).tokens == whole.tokens
        if temperature == 0:
            ids = torch.tensor([model.tokenizer.encode(prompts[0])])
            for _ in range(6):
                ids = torch.cat([ids, model(ids)[:, -1].argmax(-1, keepdim=True)], dim=1)
            assert tuple(ids[0, -6:].tolist()) == tuple(together[0].tokens)


def test_nothing_stays_after_an_error(model: Transformer, tokens: Tensor) -> None:
    clean = model(tokens)
    with pytest.raises(RuntimeError, match="by hand"), splice(model, {SITES[0]: coder(model)}):
        model(tokens)
        raise RuntimeError("by hand")
    assert torch.equal(model(tokens), clean)


def test_what_cannot_be_done_is_said(model: Transformer, tokens: Tensor) -> None:
    with pytest.raises(SiteError, match="no forward pass"), splice(model, {SITES[0]: coder(model)}):
        pass
    with pytest.raises(ConfigError, match="keep"), splice(model, {SITES[0]: coder(model)}, error="drip"):
        pass
    backwards = transcoder(model, "1.resid_mid", "0.mlp_out")
    with pytest.raises(ConfigError, match=r"must have read 1\.resid_mid"), splice(model, {"1.resid_mid": backwards}):
        pass
    narrow = make_coder("topk", 8, 16, k=2)
    with pytest.raises(VectorError, match="width 8"), splice(model, {SITES[0]: narrow}):
        model(tokens)


def test_what_does_not_fit_is_refused_before_the_model_runs(model: Transformer) -> None:
    dictionary = coder(model)
    width = model.site_width("1.mlp.post")
    said = rf"width {model.d_model:,}, and 1\.mlp\.post of .* has width {width:,}"
    with pytest.raises(VectorError, match=said), splice(model, {"1.mlp.post": dictionary}):
        pass
