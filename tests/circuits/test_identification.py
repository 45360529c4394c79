"""Feature identification: what matters is found, groups find what single drops find, and half-way is where it is."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.helpers.letters import task_of_letters

from monosema.circuits.contrast import contrasts
from monosema.circuits.halfway import Curve, needed, needed_against
from monosema.circuits.identification import Patching, identify, measure
from monosema.core import Site
from monosema.dictionaries import Codes, Neurons, Pca
from monosema.dictionaries.signs_apart import SignsApart
from monosema.models import Transformer, random_model

SITE = Site(0, "resid_post")
THRESHOLDS = (1e-6, 1e-4, 1e-2)


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model()


@pytest.fixture(scope="module")
def patching(model: Transformer) -> Patching:
    return Patching(model, SITE, contrasts(task_of_letters(), model), Neurons(model.d_model))


def test_all_latents_of_an_exact_dictionary_are_the_corrupted_run_and_none_the_clean_one(patching: Patching) -> None:
    logs, edit = patching.run(patching.every)
    assert torch.allclose(logs, patching.corrupt, atol=1e-5)
    assert bool((edit > 0).all())
    logs, edit = patching.run(~patching.every)
    assert torch.allclose(logs, patching.clean, atol=1e-6)
    assert not edit.any()


def test_selections_shrink_and_what_goes_first_costs_less_than_what_stays(patching: Patching) -> None:
    found = list(dict.fromkeys([*identify(patching, THRESHOLDS), ()]))
    assert found[0] == patching.selection(patching.every)
    assert all(set(after) < set(before) for before, after in pairwise(found))
    path = measure(patching, found)
    assert path.sizes.tolist() == sorted(path.sizes.tolist(), reverse=True)
    some = next(selection for selection in reversed(found) if selection)
    chosen, chance = patching.mask(some), patching.every
    chance[torch.randperm(len(chance), generator=torch.Generator().manual_seed(0))[len(some) :]] = False
    costs = [patching.patched(mask).mean for mask in (chosen, chance)]
    assert costs[0] < costs[1]


def test_running_only_the_prompts_that_a_latent_changes_is_running_all(model: Transformer) -> None:
    class Sparse(Neurons):
        """Each neuron, where it is large."""

        def encode(self, x: torch.Tensor) -> Codes:
            codes = super().encode(x).dense()
            return Codes.of(torch.where(codes > codes.std(), codes, 0.0), self.n_latents, x)

    patching = Patching(model, SITE, contrasts(task_of_letters(), model), Sparse(model.d_model))
    for place in range(len(patching.latents)):
        kept = patching.every
        kept[place] = False
        some, every = patching.without(patching.patched(patching.every), place), patching.patched(kept)
        assert torch.allclose(some.x, every.x, atol=1e-5)
        assert torch.allclose(some.divergence, every.divergence, atol=1e-6)


def test_an_interrupted_search_goes_on_to_the_same_selections(patching: Patching) -> None:
    whole = list(identify(patching, THRESHOLDS, seed=3))
    assert list(identify(patching, THRESHOLDS, seed=3, found=whole[:2])) == whole[2:]


def test_prompts_of_two_lengths_in_one_batch_are_as_each_alone(model: Transformer) -> None:
    both = contrasts(task_of_letters(), model)
    whole = Patching(model, SITE, both, Neurons(model.d_model))
    alone = torch.cat([model(group.clean, last=True)[:, -1].log_softmax(-1) for group in both])
    assert len(both.groups) == 2
    assert torch.allclose(whole.clean, alone, atol=1e-5)


def test_signs_apart_add_up_to_the_components() -> None:
    rows = torch.randn(50, 6)
    pca = Pca.fit([rows], 4)
    apart = SignsApart(pca)
    codes = apart.encode(rows)
    assert bool((codes.values >= 0).all())
    assert apart.n_latents == 8
    assert torch.allclose(apart.decode(codes), pca(rows), atol=1e-5)


def test_half_way_lies_on_the_line_between_points_and_ratios_are_of_what_is_needed() -> None:
    left = np.array([[0.0, 0.0], [1.0, 3.0], [4.0, 4.0]])
    own = Curve(np.array([[10.0], [4.0], [0.0]]), left)
    assert own.halfway() == pytest.approx(4.0)
    far = Curve(np.array([[40.0], [16.0], [0.0]]), left)
    found = needed_against([own], [far])
    assert found is not None
    assert found.value == pytest.approx(0.25)
    assert found.low <= 0.25 <= found.high
    never = Curve(np.array([[5.0], [0.0]]), np.array([[3.0, 3.0], [4.0, 4.0]]))
    assert needed([never]) == float("inf")
    assert needed_against([own], [never]) is None


def test_an_interval_is_open_where_many_draws_never_come_half_way() -> None:
    far = Curve(np.array([[8.0], [4.0], [0.0]]), np.array([[0.0, 2.5], [0.5, 3.0], [4.0, 4.0]]))
    all_the_way = Curve(np.array([[8.0], [0.0]]), np.array([[0.0, 0.0], [4.0, 4.0]]))
    found = needed_against([far], [all_the_way])
    assert found is not None
    assert np.isfinite([found.value, found.low]).all()
    assert found.high == float("inf")
