"""Across models: where heads only change places, matching finds them again, and the circuit does its work there."""

from __future__ import annotations

import copy
import random
from typing import cast

import pytest
import torch

from monosema.circuits import Circuit, ablation_named, contrasts, metric_of
from monosema.circuits.across_models import carried, matched, overlaps, role_counts, transfers
from monosema.circuits.faithfulness import trial_of
from monosema.circuits.finding import FindConfig, score_edges
from monosema.circuits.graph import component_graph
from monosema.circuits.heads import HeadRoles, head_looks
from monosema.core import InputError
from monosema.data.tasks import ALL_TASKS
from monosema.models import Transformer, load_model, random_model, require_decoder
from monosema.models.decoder import Block


def with_heads_elsewhere(model: Transformer) -> Transformer:
    """The same function with the heads of each block in another order."""
    turned = copy.deepcopy(model)
    for block in (cast(Block, one) for one in turned.blocks):
        attn, n = block.attn, model.n_heads
        order = torch.arange(n).roll(3)
        q, k, v = (part.unflatten(0, (n, -1))[order].flatten(0, 1) for part in attn.qkv.weight.data.split(attn.sizes))
        attn.qkv.weight.data = torch.cat([q, k, v])
        attn.o.weight.data = attn.o.weight.data.unflatten(1, (n, -1))[:, order].flatten(1)
    return turned


@pytest.fixture(scope="module")
def models() -> dict[str, Transformer]:
    specimen = require_decoder(load_model("specimen", dtype="float32"))
    return {"here": specimen, "turned": with_heads_elsewhere(specimen)}


@pytest.fixture(scope="module")
def roles(models: dict[str, Transformer]) -> dict[str, HeadRoles]:
    return {name: head_looks(model, 3) for name, model in models.items()}


def test_heads_in_another_order_are_found_again(models: dict[str, Transformer], roles: dict[str, HeadRoles]) -> None:
    found = matched(roles["here"], roles["turned"])
    n = models["here"].n_heads
    assert all(there.head == (here.head + 3) % n and there.layer == here.layer for here, there in found.items())
    assert role_counts(roles["here"]).sum() > 0
    (one,) = overlaps(roles)
    assert one.overlap == 1.0
    assert one.chance.high < 1.0


def test_a_matched_circuit_is_the_other_models_own_and_one_by_number_is_not(
    models: dict[str, Transformer], roles: dict[str, HeadRoles]
) -> None:
    trials, circuits = {}, {}
    for name, model in models.items():
        prompts = contrasts(ALL_TASKS["ioi"].prompts(random.Random(0), 4, "test"), model)
        trials[name] = trial_of(model, prompts, ablation_named("resample"), metric_of(prompts, model))
        circuits[name] = Circuit.top(score_edges(model, prompts, FindConfig(method="eap")), 300)
    heads = matched(roles["here"], roles["turned"])
    there = carried(circuits["here"], circuits["turned"].graph, heads)
    assert int((there.keep != circuits["turned"].keep).sum()) <= 2
    (one, _) = transfers(trials, circuits, roles)
    assert one.by_role.value == pytest.approx(one.own.value, abs=1e-2)
    assert abs(one.by_number.value - one.own.value) > 0.05
    assert one.random.value < one.own.value


def test_models_of_two_shapes_are_refused(models: dict[str, Transformer]) -> None:
    graph = component_graph(models["here"])
    with pytest.raises(InputError, match="one architecture"):
        carried(Circuit.random(graph, 5), component_graph(random_model()), {})
