"""Actions do what they say, to the part that is named and to nothing else; wrong parts are errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from monosema.core import ConfigError, InputError, SiteError, UnsupportedModelError, VectorError
from monosema.dictionaries import SparseCoder, make_coder
from monosema.interventions import (
    Part,
    clamp,
    frozen,
    intervene,
    mean,
    noise,
    patch,
    project_out,
    resample,
    side_by_side,
    splice,
    within,
    zero,
)
from monosema.models import Action, ForwardContext, Transformer, random_model

X = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
CONTEXT = ForwardContext(torch.zeros(4, 5, dtype=torch.int64))


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model()


@pytest.fixture(scope="module")
def tokens(model: Transformer) -> Tensor:
    return torch.randint(4, 250, (3, 6), generator=torch.Generator().manual_seed(0))


def done(action: Action, x: Tensor = X) -> Tensor:
    return action(x, CONTEXT)


def test_values_are_those_of_the_formulae() -> None:
    other = X.flip(0) + 1
    assert not done(zero()).any()
    assert torch.equal(done(patch(other)), other)
    assert torch.equal(done(patch(other[0, 0])), other[0, 0].expand_as(X))
    assert torch.equal(done(mean(other))[2], other.mean(0))
    assert torch.equal(done(clamp(-0.5, 0.5)), X.clamp(-0.5, 0.5))
    assert torch.equal(done(clamp(2.0, 2.0)), torch.full_like(X, 2.0))
    assert torch.equal(done(noise(0.0)), X)
    assert torch.equal(done(noise(0.3, seed=1)), done(noise(0.3, seed=1)))
    assert float((done(noise(0.3)) - X).std()) == pytest.approx(0.3, rel=0.2)


def test_rows_drawn_at_random_are_others_of_as_many() -> None:
    drawn = done(resample(X))
    for row, got in enumerate(drawn):
        sources = [index for index, other in enumerate(X) if torch.equal(got, other)]
        assert sources
        assert sources != [row]


def test_what_is_projected_out_is_gone_and_the_rest_stays() -> None:
    basis = torch.tensor([[1.0, 1, 0], [2.0, 2, 0]])  # One direction, twice.
    rest = done(project_out(basis))
    assert float((rest @ basis.T).abs().max()) < 1e-5
    assert torch.allclose(rest[..., 2], X[..., 2])
    centre = torch.tensor([1.0, 2, 3])
    around = done(project_out(basis, centre))
    assert torch.allclose((around - centre) @ basis[0], torch.zeros(4, 5), atol=1e-5)
    with pytest.raises(VectorError, match="other than 0"):
        project_out(torch.zeros(2, 3))
    with pytest.raises(VectorError, match="width 3"):
        done(project_out(basis), torch.zeros(4, 5, 2))


def test_gradients_go_through_actions() -> None:
    x, values = X.clone().requires_grad_(), X.clone().requires_grad_()
    (done(project_out(torch.eye(3)[:1]), x).sum() + done(patch(values), x).sum()).backward()
    assert x.grad is not None
    assert values.grad is not None
    assert torch.allclose(x.grad, torch.tensor([0.0, 1, 1]).expand_as(X), atol=1e-6)
    assert bool((values.grad == 1).all())


@torch.no_grad()
def test_only_the_part_that_is_named_changes(model: Transformer, tokens: Tensor) -> None:
    rows = torch.zeros(3, 6, dtype=torch.bool)
    rows[0, 1] = rows[2, 3] = True
    clean = model.activations(tokens, ["1.z"])["1.z"]
    with intervene(model, "1.z", zero(), Part(heads=[2], positions=rows)):
        got = model.activations(tokens, ["1.z"])["1.z"]
    assert not got[0, 1, 2].any()
    assert not got[2, 3, 2].any()
    changed = (got != clean).any(-1).nonzero().tolist()
    assert changed == [[0, 1, 2], [2, 3, 2]]
    with intervene(model, "1.mlp.post", patch(torch.tensor(7.0)), Part(columns=[5], positions=[-1])):
        got = model.activations(tokens, ["1.mlp.post"])["1.mlp.post"]
    assert bool((got[:, -1, 5] == 7).all())
    assert not bool((got[:, -2] == 7).any())


@torch.no_grad()
def test_hidden_scores_stay_hidden_and_finite(model: Transformer, tokens: Tensor) -> None:
    clean = model(tokens)
    for action in (zero(), noise(1.0), project_out(torch.eye(6)[:2])):
        with intervene(model, "0.attn_scores", action), model.capture("0.pattern") as got:
            changed = model(tokens)
        assert bool(changed.isfinite().all())
        assert not got["0.pattern"].triu(1).any()
        assert not torch.allclose(changed[:, 1:], clean[:, 1:], atol=1e-4)


@torch.no_grad()
def test_actions_side_by_side_are_those_of_versions(model: Transformer, tokens: Tensor) -> None:
    actions = [within(model.find("0.z"), Part(heads=[head]), zero()) for head in range(4)]
    with model.attach("0.z", side_by_side(actions)):
        together = model(tokens.repeat(4, 1)).chunk(4)
    for head, got in enumerate(together):
        with intervene(model, "0.z", zero(), Part(heads=[head])):
            torch.testing.assert_close(model(tokens), got, atol=1e-5, rtol=1e-5)


def test_wrong_parts_values_and_sites_are_errors(model: Transformer, tokens: Tensor) -> None:
    cases = (
        ("1.resid_post", zero(), Part(heads=[0]), SiteError, "no heads at 1.resid_post"),
        ("1.z", zero(), Part(heads=[4]), InputError, "no head 4 at 1.z: there are 4"),
        ("1.mlp.post", zero(), Part(columns=[64]), InputError, "no column 64"),
        ("1.z", zero(), Part(positions=[6]), InputError, "no position 6"),
        ("1.z", zero(), Part(positions=torch.ones(3, 5, dtype=torch.bool)), InputError, "3 rows of 6 positions"),
        ("1.z", patch(torch.zeros(2, 6, 4, 8)), Part(), SiteError, "same length"),
        ("1.z", lambda x, _: x[:1], Part(), SiteError, "must return a tensor of shape"),
        ("9.z", zero(), Part(), SiteError, "the model has 2 blocks"),
    )
    for site, action, part, error, says in cases:
        with pytest.raises(error, match=says), intervene(model, site, action, part):
            model(tokens)
    with pytest.raises(SiteError, match="Nothing was done at"), intervene(model, "1.z", zero()):
        pass
    for make in (lambda: noise(-1.0), lambda: clamp(1.0, 0.0)):
        with pytest.raises(InputError, match="not valid"):
            make()


def test_a_model_of_another_library_can_not_be_frozen() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    from monosema.models import AdaptedModel, byte_tokenizer

    config = GPT2Config(vocab_size=259, n_embd=16, n_head=4, n_layer=2, n_positions=32)
    foreign = AdaptedModel(GPT2LMHeadModel(config), tokenizer=byte_tokenizer())
    with pytest.raises(UnsupportedModelError, match="another library"), frozen(foreign, torch.zeros(1, 3).long()):
        pass


def coder(model: Transformer) -> SparseCoder:
    return make_coder("topk", model.d_model, 64, k=5, seed=0)


@torch.no_grad()
def test_latents_are_changed_with_the_error_kept_or_dropped(model: Transformer, tokens: Tensor) -> None:
    one, site = coder(model), model.find("0.resid_post")
    x = model.activations(tokens, [site])[site]
    codes = one.encode(x).dense()
    latent = int(codes.sum((0, 1)).argmax())
    there = torch.zeros(1, 6, dtype=torch.bool)
    there[0, 2:4] = True
    change = within(site, Part(columns=[latent], positions=there), clamp(3.0, 3.0))
    gap = torch.zeros_like(codes)
    gap[:, 2:4, latent] = 3.0 - codes[:, 2:4, latent]
    for error, base in (("keep", x), ("drop", one(x))):
        with splice(model, {site: one}, error=error, latents={site: change}), model.capture(site) as got:
            model(tokens)
        torch.testing.assert_close(got[site], base + gap @ one.directions, atol=1e-4, rtol=1e-4)
    with pytest.raises(ConfigError, match=r"no dictionary that is spliced in reads it"):
        splice(model, {site: one}, latents={"1.resid_post": zero()}).__enter__()


def test_gradients_reach_changed_latents(model: Transformer, tokens: Tensor) -> None:
    one, site = coder(model), model.find("0.resid_post")
    size = torch.tensor(2.0, requires_grad=True)
    change = within(site, Part(columns=[3]), lambda x, _: x + size)
    with splice(model, {site: one}, error="keep", latents={site: change}) as parts:
        outcome = model(tokens)[:, -1, 5].sum()
        outcome.backward()
    assert parts[site].codes.values.grad is not None

    def at(value: float) -> float:
        add = within(site, Part(columns=[3]), lambda x, _: x + value)
        with torch.no_grad(), splice(model, {site: one}, error="keep", latents={site: add}):
            return float(model(tokens)[:, -1, 5].double().sum())

    assert float(size.grad or 0) == pytest.approx((at(2.01) - at(1.99)) / 0.02, rel=0.02)
