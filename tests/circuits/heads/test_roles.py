"""Roles of heads: planted ones are found, paths are edges of the graph, ablation is the edit that it says."""

from __future__ import annotations

import pytest
import torch

from monosema.circuits import LogitDifference, Resample, circuit_metrics
from monosema.circuits.graph import Kind, Node
from monosema.circuits.heads import (
    HEAD_SCORES,
    Attends,
    HeadTexts,
    LayerReading,
    Repeated,
    ablated,
    all_heads,
    component_outputs,
    effects_along,
    head_roles,
    layer_sets,
    means,
    register_head_score,
    repeated_tokens,
    score_heads,
)
from monosema.circuits.memory import pass_memory
from monosema.circuits.planted import PLANTED
from monosema.core import InputError, Site
from monosema.models import random_model

MODEL = random_model()


def test_a_planted_induction_circuit_looks_as_its_name_says() -> None:
    model = PLANTED["induction"]().model
    (begin,) = model.tokenizer.encode_batch([""])
    blocks = model.tokenizer.encode_batch(["abcabc", "dgedge", "lkblkb"], bos=False)
    text = Repeated(torch.tensor([[*begin, *block] for block in blocks]), period=3)
    scores = score_heads(model, HeadTexts(repeated=text, ioi=None))
    high = {name: (values.mean(1) > 0.9).nonzero()[:, 0].tolist() for name, values in scores.items()}
    # Heads 0.0 and 1.1, of three in each layer.
    assert (high["previous"], high["duplicate"], high["induction"]) == ([0], [], [4])


def test_random_weights_have_no_roles() -> None:
    found = head_roles(MODEL, 8)
    assert not any(found.roles(head) for head in found.heads)
    assert len(found.others) == len(found.heads)


def test_paths_are_edges_of_the_graph() -> None:
    planted = PLANTED["indirect-object"]()
    model, graph, metric = planted.model, planted.graph, LogitDifference()
    heads = all_heads(model)
    for path in ("straight", "queries"):
        keeps = []
        for head in heads:
            through = [r.port == "q" if path == "queries" else r.node.kind is Kind.LOGITS for r in graph.readers]
            keep = graph.allowed.clone()
            keep[graph.writer_index[head], torch.tensor(through)] = False
            keeps.append(keep)
        figures = circuit_metrics(model, planted.contrasts, graph, [graph.allowed, *keeps], Resample(), metric)
        quick = torch.cat([effects_along(model, group, heads, path, metric) for group in planted.contrasts], dim=1)
        assert torch.allclose(quick, figures[0] - figures[1:], atol=1e-4), path
        assert quick.abs().max() > 0.1


def test_a_set_of_components_is_ablated_as_one_edit_at_a_time_does() -> None:
    text = repeated_tokens(MODEL, 4, period=5)
    stand_ins = means(component_outputs(MODEL, text.tokens))
    sets = [(), *((head,) for head in all_heads(MODEL)), *layer_sets(MODEL)]

    def read(x: torch.Tensor) -> torch.Tensor:
        return x[..., :3].sum((1, 2))

    quick = ablated(MODEL, text.tokens, sets, stand_ins, read)
    with pass_memory(1e-6):
        whole = ablated(MODEL, text.tokens, sets, stand_ins, read)
    assert torch.allclose(quick, whole, atol=1e-4)

    def without(x: torch.Tensor) -> torch.Tensor:
        changed = x.clone()
        changed[:, :, 2] = stand_ins[Site(1, "z")][:, :, 2]
        return changed

    with MODEL.edit("1.z", without):
        slow = read(MODEL.final_residual(text.tokens))
    assert torch.allclose(quick[sets.index((Node(1, Kind.HEAD, 2),))], slow, atol=1e-4)
    assert not torch.allclose(slow, quick[0], rtol=1e-3)


def test_repeated_blocks_come_twice_and_fit_the_context() -> None:
    text = repeated_tokens(MODEL, 3, period=6)
    assert torch.equal(text.tokens[:, -6:], text.tokens[:, -12:-6])
    assert all(len(set(row[-6:].tolist())) == 6 for row in text.tokens)
    with pytest.raises(InputError, match="longer than the 128 tokens"):
        repeated_tokens(MODEL, 3, period=90)


def test_a_score_of_ones_own_is_read_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monosema.circuits.heads.scores.HEAD_SCORES", dict(HEAD_SCORES))

    def itself(reading: LayerReading) -> torch.Tensor:
        n, _, length, _ = reading.pattern.shape
        return torch.eye(length, dtype=torch.bool).expand(n, -1, -1)

    monkeypatch.setitem(HEAD_SCORES, "itself", Attends("itself", "looks at its own token", "repeated", itself))
    found = head_roles(MODEL, 4)
    assert 0 < float(found.scores["itself"].mean()) < 1
    register_head_score(HEAD_SCORES["itself"])
