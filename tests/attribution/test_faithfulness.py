"""Faithfulness: the true order beats chance, its reverse loses to it, and a random one is like chance."""

from __future__ import annotations

import pytest
import torch
from tests.helpers.known_game import additive

from monosema.attribution import MEASURES, Contrast, Game, faithfulness, judge, methods_named, task_pairs
from monosema.attribution.faithfulness import counts_of
from monosema.attribution.judging import JudgeConfig, _hit_by_chance, agreement
from monosema.core import InputError
from monosema.models import LanguageModel


class Asked:
    """A question whose values are log odds."""

    target = Contrast((0,), (1,))


def game(n: int = 12) -> Game:
    known = additive(n)
    known.question = Asked()  # type: ignore[assignment]
    shift = known.full / 2
    known._f = lambda c, f=known._f: f(c) - shift  # type: ignore[misc]
    known.__dict__.pop("full", None)
    return known


def test_the_true_order_is_better_than_chance_and_its_reverse_worse() -> None:
    true, drawn = torch.arange(12.0), torch.rand(12, generator=torch.Generator().manual_seed(0))
    found = faithfulness(game(), [true, -true, drawn])
    assert (found.orders[0] > 0).all()
    assert (found.reverses[0] < 0).all()
    torch.testing.assert_close(found.orders[1], found.reverses[0])
    assert abs(float(found.orders[2, -1])) < float(found.orders[0, -1]) / 2


def test_measures_are_those_of_the_sets_by_hand() -> None:
    known, scores = game(4), torch.tensor([3.0, 1.0, 2.0, 0.0])
    found = faithfulness(known, [scores], random=2)
    p = torch.sigmoid
    full, counts = known.full, (1, 2, 3)
    assert found.counts == counts
    order = [0, 2, 1, 3]
    there = torch.ones(3, 4, dtype=torch.bool)
    for row, k in enumerate(counts):
        there[row, order[:k]] = False
    without, only = known(there), known(~there)
    raw = torch.tensor(
        [
            float(p(without).mean()),
            float(p(only).mean()),
            float((p(torch.tensor(full)) - p(without))[:2].mean()),
            float((p(torch.tensor(full)) - p(only))[:2].mean()),
            float((full - without).mean()),
        ]
    )
    sign = torch.tensor([-1.0, 1, 1, -1, 1])
    torch.testing.assert_close(found.orders[0], sign * (raw - found.chance), atol=1e-5, rtol=0)
    assert len(MEASURES) == 5


def test_counts_lie_evenly_and_equal_scores_hold_no_order() -> None:
    for n in range(2, 40):
        counts = counts_of(n)
        assert set(counts) == {n - k for k in counts}
        assert 0 < min(counts) <= max(counts) < n
    equal = torch.zeros(12)
    first, second = (faithfulness(game(), [equal], seed=seed).orders[0] for seed in (0, 1))
    assert first.tolist() != second.tolist()
    with pytest.raises(InputError, match="one player"):
        faithfulness(additive(1), [torch.zeros(1)])


def test_the_chance_of_a_hit_is_that_of_draws() -> None:
    assert _hit_by_chance(10, 1, 2) == pytest.approx(0.2)
    assert _hit_by_chance(4, 2, 2) == pytest.approx(1 - 2 / 4 * 1 / 3)


def test_methods_are_judged_on_a_task(model: LanguageModel) -> None:
    pairs, _ = task_pairs(model, "gender", 3)
    methods = methods_named(["occlusion", "integrated_gradients", "rollout"])
    found = judge(model, "gender", pairs, methods, JudgeConfig(random=4, sanity=2))
    assert (found.n, found.removal) == (3, "twin")
    occlusion, integrated, rollout = found.methods
    assert occlusion.gains["twin"]["aopc"].value > rollout.gains["twin"]["aopc"].value
    assert occlusion.found is not None
    assert occlusion.found.value == 1.0
    assert integrated.gap is not None
    assert occlusion.gap is None
    # Patterns of random weights are nearly even, and so are those of a rollout: it sees positions.
    assert rollout.ignores_weights
    assert set(found.between_removals) == {f"{name}, twin and mean" for name in MEASURES}
    assert found.to_dict()["methods"][0]["method"] == "occlusion"


def test_rounding_is_no_order() -> None:
    exact = torch.tensor([5.0, 0.0, 0.0, -2.0, 0.0, 3.0])
    rounded = exact + 1e-6 * torch.tensor([0.0, 1.0, -2.0, 0.0, 3.0, 0.0])
    assert agreement(exact, rounded) == pytest.approx(1)
    assert agreement(exact, -exact) == pytest.approx(-1)
    assert agreement(torch.zeros(4), torch.arange(4.0)) is None
