"""Pruning: the smaller model computes what the masked one does, importance finds what matters, sizes are kept."""

from __future__ import annotations

import pytest
import torch
from families import KINDS, family_model

from monosema.circuits.pruning import (
    IMPORTANCES,
    Kept,
    cut,
    importance_named,
    kept_by,
    masked,
    parameters,
    pruned,
    pruning_curve,
    register_importance,
    verdict,
)
from monosema.core import InputError, UnsupportedModelError
from monosema.models import Transformer, random_model

TOKENS = torch.randint(0, 256, (3, 12), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_smaller_model_computes_what_zeros_in_the_whole_one_do(kind: str) -> None:
    model = family_model(kind)
    pairs = range(model.config.n_kv_heads)
    heads = ((0, *pairs[2:]), tuple(pairs[1:])) if kind != "olmo2" else (tuple(pairs),) * 2
    kept = Kept(layers=(0, 1), heads=heads, neurons=((0, 3, 7), (1, 2, 31)))
    small = cut(model, kept)
    with masked(model, kept):
        expected = model(TOKENS)
    assert torch.allclose(small(TOKENS), expected, atol=1e-5)
    assert parameters(small) < parameters(model)
    one_layer = Kept(layers=(1,), heads=kept.heads, neurons=kept.neurons)
    with masked(model, one_layer):
        expected = model(TOKENS)
    assert torch.allclose(cut(model, one_layer)(TOKENS), expected, atol=1e-5)


def test_heads_can_not_go_where_queries_are_normalised_together() -> None:
    model = family_model("olmo2")
    with pytest.raises(UnsupportedModelError, match="over all heads together"):
        cut(model, Kept(layers=(0, 1), heads=((0,), (1,)), neurons=Kept.all_of(model.config).neurons))


def with_idle(model: Transformer) -> Transformer:
    """Silence key-value pair 1 and neuron 5 of layer 0, and all of layer 1."""
    first, second = model.blocks
    with torch.no_grad():
        first.attn.o.weight[:, 16:] = 0
        first.mlp.out.weight[:, 5] = 0
        second.attn.o.weight.zero_()
        second.mlp.out.weight.zero_()
    return model


@pytest.mark.parametrize("name", ["effect", "gradient"])
def test_what_does_nothing_matters_least(name: str) -> None:
    model = with_idle(random_model())
    scores = {
        unit: importance_named(name)(model, [TOKENS], unit, 0)
        for unit in ("heads", "neurons", "layers")
        if (name, unit) != ("effect", "neurons")
    }
    assert float(scores["heads"][0, 1]) == pytest.approx(0, abs=1e-6)
    assert abs(float(scores["heads"][0, 0])) > 1e-4
    assert float(scores["layers"][1]) == pytest.approx(0, abs=1e-6)
    assert kept_by(scores["layers"], "layers", 1, model.config).layers == (0,)
    if "neurons" in scores:
        assert int(scores["neurons"][0].argmin()) == 5


def test_an_effect_of_heads_is_the_loss_of_the_smaller_model() -> None:
    model = random_model()
    scores = importance_named("effect")(model, [TOKENS], "heads", 0)
    whole = Kept.all_of(model.config)
    kept = Kept(layers=whole.layers, heads=((0,), (0, 1)), neurons=whole.neurons)

    def loss() -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(TOKENS)[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten())

    before = loss()
    with masked(model, kept):
        after = loss()
    assert float(scores[0, 1]) == pytest.approx(float(after - before), abs=1e-5)


def test_a_curve_has_every_importance_at_every_size_and_says_who_loses_less() -> None:
    points = list(pruning_curve(random_model(), "heads", ["effect", "magnitude", "random"], [TOKENS], [TOKENS]))
    assert [(one.importance, one.removed) for one in points] == [
        ("whole", 0), ("effect", 1), ("magnitude", 1), ("random", 1)
    ]  # fmt: skip
    assert points[1].added.n == 3
    assert "of 1 sizes" in verdict(points, "effect")


def test_shares_that_remove_nothing_or_all_are_refused() -> None:
    model = random_model()
    with pytest.raises(InputError, match="some go, not all"):
        pruned(model, "heads", 0.1, "gradient", [TOKENS], [TOKENS])
    with pytest.raises(InputError, match="can't go"):
        kept_by(torch.zeros(2, 2), "heads", 2, model.config)
    with pytest.raises(InputError, match="choose gradient"):
        importance_named("effect")(model, [TOKENS], "neurons", 0)
    with pytest.raises(InputError, match="magnitude"):
        importance_named("magnitud")


def test_an_importance_of_ones_own_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(IMPORTANCES, "first", IMPORTANCES["random"])
    register_importance("first", lambda model, batches, unit, seed: -torch.arange(2.0).expand(2, 2))
    small, _, after = pruned(random_model(), "heads", 0.5, "first", [TOKENS], [TOKENS])
    assert (small.config.n_kv_heads, small.config.n_heads, after.share) == (1, 2, 0.5)
