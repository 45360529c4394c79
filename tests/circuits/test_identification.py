"""Feature identification: what matters is found, groups find what single drops find, and half-way is where it is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.helpers.letters import task_of_letters

from monosema.circuits.contrast import contrasts
from monosema.circuits.halfway import Curve, needed, needed_against
from monosema.circuits.identification import Patching, Selection, identify, measure
from monosema.circuits.memory import pass_memory
from monosema.core import Site, torch_generator
from monosema.data.tasks import ioi
from monosema.dictionaries import Codes, Neurons, Pca, RandomDirections
from monosema.dictionaries.signs_apart import SignsApart
from monosema.models import Transformer, load_model, random_model

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
    costs = measure(patching, [patching.selection(mask) for mask in (chosen, chance)]).divergence.mean(1)
    assert costs[0] < costs[1]


class Sparse(Neurons):
    """Each neuron, where it is large."""

    def encode(self, x: torch.Tensor) -> Codes:
        codes = super().encode(x).dense()
        return Codes.of(torch.where(codes > codes.std(), codes, 0.0), self.n_latents, x)


def one_by_one(patching: Patching, thresholds: Sequence[float], seed: int) -> list[Selection]:
    """The slow twin, as the paper has it: every latent tried by a run of all prompts, at all positions, alone."""

    def cost(kept: torch.Tensor) -> float:
        logs, _ = patching.run(kept)
        return float((patching.all_patched.exp() * (patching.all_patched - logs)).sum(-1).double().mean())

    kept, found = patching.every, [patching.selection(patching.every)]
    for number, threshold in enumerate(thresholds):
        generator = torch_generator(seed, "feature identification", number)
        places = kept.nonzero().flatten()
        for place in places[torch.randperm(len(places), generator=generator)].tolist():
            fewer = kept.clone()
            fewer[place] = False
            if cost(fewer) - cost(kept) < threshold:
                kept = fewer
        found.append(patching.selection(kept))
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", [Neurons, Sparse])
def test_latents_tried_in_batches_are_dropped_as_one_by_one(
    model: Transformer, kind: type[Neurons], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monosema.circuits.dropping.POSITIONS", 9 + 40 * seed)
    monkeypatch.setattr("monosema.circuits.continuation._POSITIONS", 4)
    patching = Patching(model, SITE, contrasts(task_of_letters(8, 2), model), kind(model.d_model))
    thresholds = np.geomspace(1e-6, 1e-1, 9).tolist()
    found = list(identify(patching, thresholds, seed))
    assert len(set(found)) > 4
    assert found == one_by_one(patching, thresholds, seed)


@torch.no_grad()
def test_latents_of_the_embedded_model_are_dropped_as_one_by_one() -> None:
    specimen, site = load_model("specimen", dtype=torch.float32), Site(3, "resid_post")
    assert isinstance(specimen, Transformer)
    prompts = contrasts(ioi.prompts(random.Random(0), 4, "test", corruption="io"), specimen)
    rows = torch.cat([specimen.activations(group.clean, [site])[site].flatten(0, 1) for group in prompts])
    patching = Patching(specimen, site, prompts, RandomDirections.fit(rows, 128, 6, 0))
    thresholds = (1e-5, 1e-3, 1e-1)
    found = list(identify(patching, thresholds, 1))
    assert len(set(found)) == 4
    assert found == one_by_one(patching, thresholds, 1)


def test_nothing_changes_with_little_memory(patching: Patching) -> None:
    whole = list(identify(patching, THRESHOLDS))
    with pass_memory(0.01):
        assert list(identify(patching, THRESHOLDS)) == whole


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
