"""Self-repair is found where it is planted; roles are distinct where they are, and not where they are dealt."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monosema.circuits.heads import context_latents, context_learning, self_repair
from monosema.circuits.heads.ablating import all_heads, component_outputs, layer_sets
from monosema.circuits.heads.distinct import _distinct, first_order, spread
from monosema.circuits.planted import PLANTED
from monosema.core import InputError, Site
from monosema.dictionaries import Neurons
from monosema.interventions import splice
from monosema.models import random_model


def test_a_planted_backup_is_self_repair() -> None:
    planted = PLANTED["backup"]()
    found = self_repair(planted.model, planted.contrasts, n=2, ablation="zero")
    assert {head.name for head in found.heads} == {"a0.h1", "a1.h2"}
    assert found.repaired.value == pytest.approx(1, abs=0.02)
    assert "stood in for by the others" in found.sentence
    assert found.joint.value > found.random_joint.value


def test_heads_without_a_backup_repair_nothing() -> None:
    planted = PLANTED["induction"]()
    found = self_repair(planted.model, planted.contrasts, n=1)
    assert found.repaired.value == pytest.approx(0, abs=1e-6)
    assert "no self-repair" in found.sentence


def test_one_skill_each_is_distinct_and_all_alike_is_shared() -> None:
    rng = np.random.default_rng(0)
    own = [np.eye(4)[:, task, None] * rng.uniform(0.9, 1.1, (4, 8)) for task in range(4)]
    alike = [np.eye(4)[:, 0, None] * rng.uniform(0.9, 1.1, (4, 8)) for _ in range(4)]
    tasks = ("a", "b", "c", "d")
    assert spread(np.eye(4)) == pytest.approx(1)
    assert spread(np.ones((4, 4))) == pytest.approx(4)
    shared = _distinct("heads", tasks, tasks, {}, alike, None, 0)
    assert "are shared" in shared.sentence
    alone = _distinct("heads", tasks, tasks, {}, own, None, 0)
    assert alone.spread.value == pytest.approx(1)
    assert alone.spread.value < alone.chance.value


def test_what_writes_nothing_is_estimated_to_cost_nothing() -> None:
    model = random_model()
    tokens = torch.randint(0, 256, (2, 3, 7), generator=torch.Generator().manual_seed(0))
    nodes = [*((head,) for head in all_heads(model)), *layer_sets(model)]
    last = model.n_layers - 1
    with torch.no_grad():
        for block in list(model.blocks)[:-1]:
            for part in (block.attn.o, block.mlp.out):
                part.weight.zero_()
        model.blocks[last].mlp.out.weight.zero_()
    outputs, others = (component_outputs(model, ids) for ids in tokens)
    guessed = first_order(model, tokens[0], others, nodes, lambda x: x[:, -1, 0])
    assert guessed.shape == (len(nodes), 3)
    # Heads of the first layer write nothing here; those of the last one do.
    assert float(guessed[: model.n_heads].abs().max()) == 0
    assert float(guessed[model.n_heads : 2 * model.n_heads].abs().max()) > 0
    assert outputs.keys() == others.keys()


def test_too_few_prompts_are_refused() -> None:
    planted = PLANTED["induction"](n=1)
    with pytest.raises(InputError, match="two prompts"):
        self_repair(planted.model, planted.contrasts)


def test_context_learning_is_late_less_early_loss() -> None:
    model = random_model()
    tokens = torch.randint(0, 256, (5, 110), generator=torch.Generator().manual_seed(0))
    found = context_learning(model, tokens, top=2)
    losses = -model(tokens).log_softmax(-1)[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]
    expected = losses[3:, 69:].mean() - losses[3:, 10:30].mean()
    assert found.score.value == pytest.approx(float(expected), abs=1e-5)
    assert {name: len(one.parts) for name, one in found.groups.items()} == {
        "by gradient": 2,
        "by induction score": 2,
        "at random": 2,
    }
    assert not {*found.groups["at random"].parts} & {*found.groups["by gradient"].parts}
    with pytest.raises(InputError, match="100 tokens"):
        context_learning(model, tokens[:, :50])


def test_latents_of_context_learning_are_told_by_what_their_ablation_adds() -> None:
    model, site = random_model(), Site(0, "resid_post")
    tokens = torch.randint(0, 256, (8, 110), generator=torch.Generator().manual_seed(0))
    found = context_latents(model, Neurons(model.d_model), site, tokens, top=3)
    first, drawn = found.groups["by gradient"], found.groups["at random"]
    assert found.score.value == pytest.approx(context_learning(model, tokens).score.value, abs=1e-5)
    assert first.together.value > drawn.together.value
    latent, added = next(iter(first.parts.items()))
    with splice(
        model,
        {site: Neurons(model.d_model)},
        latents={site: lambda c, _: c.index_fill(-1, torch.tensor([int(latent)]), 0)},
    ):
        changed = context_learning(model, tokens).score.value
    assert changed - found.score.value == pytest.approx(added.value, abs=1e-4)
