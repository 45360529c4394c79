"""What every site of every kind of decoder keeps to: parts sum to the stream, and gradients are finite differences."""

from __future__ import annotations

import pytest
import torch
from families import KINDS, SHAPE, family_model
from torch import Tensor

from monosema.circuits import component_graph, contributions
from monosema.core import Site
from monosema.interventions import Part, frozen, intervene, patch, zero
from monosema.models import Transformer

TOKENS = torch.randint(0, 256, (2, 7), generator=torch.Generator().manual_seed(0))
SHARED = {f"llama with {n} keys": n for n in (1, 2, 4)}
WEIGHTS = torch.randn(SHAPE["vocab"], generator=torch.Generator().manual_seed(1)) / SHAPE["vocab"] ** 0.5


@pytest.fixture(scope="module", params=[*KINDS, *SHARED])
def model(request: pytest.FixtureRequest) -> Transformer:
    kind = str(request.param)
    if kind not in SHARED:
        return family_model(kind)
    return family_model("llama", n_kv_heads=SHARED[kind], attention_out_bias=True, qkv_bias=True)


def figure(logits: Tensor) -> Tensor:
    """Return a figure of all logits."""
    return (logits.double() @ WEIGHTS.double()).sum()


def near(got: Tensor, want: Tensor, share: float = 1e-5) -> bool:
    return float((got - want).norm()) <= share * float(want.norm())


@torch.no_grad()
def test_attention_and_mlp_add_up_to_the_residual_stream(model: Transformer) -> None:
    got = model.activations(TOKENS)
    for layer in range(model.n_layers):
        before, after = got["resid_pre", layer], got["resid_post", layer]
        between = before + got["attn_out", layer]
        if not model.config.parallel:
            assert near(got["resid_mid", layer], between)
        assert near(after, between + got["mlp_out", layer])


@torch.no_grad()
def test_what_all_writers_add_is_the_residual_stream(model: Transformer) -> None:
    graph = component_graph(model)
    parts = contributions(model, TOKENS)
    assert len(parts) == len(graph.writers)
    biases = [block.attn.o.bias for block in model.blocks]
    for layer in range(model.n_layers):
        rows = [row for row, node in enumerate(graph.writers) if node.layer <= layer]
        whole = parts[rows].sum(0) + sum(bias for bias in biases[: layer + 1] if bias is not None)
        assert near(whole, model.activations(TOKENS, [Site(layer, "resid_post")])["resid_post", layer])


def test_the_gradient_of_every_site_is_a_finite_difference(model: Transformer) -> None:
    for site in model.sites():
        with model.capture(site, gradients=True) as got:
            (gradient,) = torch.autograd.grad(figure(model(TOKENS)), [got[site]])
        value = got[site].detach()
        seen = value.isfinite()
        assert bool(seen.all()) or site.component == "attn_scores"
        assert bool((gradient[~seen] == 0).all())
        # Along the gradient, where rounding is least, so far that the figure moves by about 0.02.
        norm = float(gradient.norm())
        assert norm > 0, site
        step = min(0.02 / norm, 0.02 * float(value[seen].norm())) / norm * gradient

        both = torch.cat([value + step, value - step])
        with torch.no_grad(), intervene(model, site, patch(both)):
            after, before = (figure(logits) for logits in model(TOKENS.repeat(2, 1)).chunk(2))
        expected = float((gradient * step).sum())
        assert float(after - before) / 2 == pytest.approx(expected, rel=5e-3, abs=2e-6), site


@torch.no_grad()
def test_a_change_at_every_site_reaches_the_logits(model: Transformer) -> None:
    clean = model(TOKENS)
    for site in model.sites():
        with intervene(model, site, lambda x, _: 1.5 * x + torch.linspace(0.1, 1, x.shape[-1]), Part(positions=[2])):
            changed = model(TOKENS)
        assert bool(changed.isfinite().all())
        assert torch.allclose(changed[:, :2], clean[:, :2], atol=1e-5), site
        assert not torch.allclose(changed[:, 2:], clean[:, 2:], atol=1e-4), site


@torch.no_grad()
def test_frozen_attention_and_norms_leave_a_model_that_is_linear_between_mlps(model: Transformer) -> None:
    clean, other = model.activations(TOKENS), model.activations(TOKENS.flip(1))
    with frozen(model, TOKENS):
        assert torch.allclose(model(TOKENS), model.logits(model.final_residual(TOKENS)))
        halfway = (clean["resid_pre", 0] + other["resid_pre", 0]) / 2
        found = []
        for start in (clean["resid_pre", 0], halfway, other["resid_pre", 0]):
            with intervene(model, "0.resid_pre", patch(start)), intervene(model, "0.mlp_out", zero()):
                found.append(model.activations(TOKENS, ["1.attn_out"])["1.attn_out"])
    assert near(found[1], (found[0] + found[2]) / 2, 1e-4)
    assert not near(found[0], found[2], 0.1)
    with intervene(model, "0.resid_pre", patch(halfway)), intervene(model, "0.mlp_out", zero()):
        free = model.activations(TOKENS, ["1.attn_out"])["1.attn_out"]
    assert not near(free, found[1], 0.01)


@torch.no_grad()
def test_frozen_values_hold_for_versions_below_each_other_and_for_heads_that_read_copies(model: Transformer) -> None:
    with frozen(model, TOKENS):
        whole = model(TOKENS.flip(1))
        twice = model(TOKENS.flip(1).repeat(2, 1), last=True)
        with intervene(model, "1.q_input", lambda x, _: x.clone()):
            split = model(TOKENS.flip(1))
    for got in (twice[:2, -1], twice[2:, -1], split[:, -1]):
        torch.testing.assert_close(got, whole[:, -1], atol=1e-5, rtol=1e-5)
