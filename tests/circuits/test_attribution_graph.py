"""Attribution graphs: edges are what interventions do, scores are circuit-tracer's, files hold the whole."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from pydantic import TypeAdapter
from tests.helpers.families import KINDS, family_model
from tests.helpers.transcoding import random_transcoders
from torch import Tensor
from typing_extensions import TypedDict

from monosema.circuits.attribution_graph import GraphConfig, PromptGraph, attribution_graph, graph_of
from monosema.circuits.graph_checks import check_graph
from monosema.circuits.graph_files import show_graph, to_circuit_tracer, to_dot
from monosema.circuits.influence import influence_of, prune, score_graph
from monosema.circuits.replacement import EVERY_PART, Part, Replacement, Source
from monosema.core import InputError, Site
from monosema.models import Transformer

PROMPT = "a cat sat"


def graph_and_replacement(model: Transformer, **settings: int) -> tuple[PromptGraph, Replacement]:
    tokens = torch.tensor(model.tokenizer.encode_batch([PROMPT]))
    replacement = Replacement(model, tokens, random_transcoders(model))
    return graph_of(replacement, GraphConfig(**{"max_logits": 3, **settings})), replacement


@pytest.mark.parametrize("kind", KINDS)
def test_every_edge_is_what_taking_its_source_out_does_with_all_else_held(kind: str) -> None:
    graph, replacement = graph_and_replacement(family_model(kind))
    checks = check_graph(replacement, graph, prune(graph), latents=1000)
    assert checks.drawn == graph.n_latents
    assert checks.constrained.pearson > 0.9999


def test_a_wrong_edge_is_found_by_the_interventions() -> None:
    graph, replacement = graph_and_replacement(family_model("llama"))
    wrong = replace(graph, weights=graph.weights.flip(1))
    assert check_graph(replacement, wrong, prune(graph), latents=1000).constrained.pearson < 0.9


class _Held(Replacement):
    """A replacement of which chosen parts are held although they are asked to be free."""

    held: frozenset[Part] = frozenset()

    def without(self, sources: Sequence[Source], free: Collection[Part] = ()) -> tuple[list[Tensor], Tensor]:
        return super().without(sources, [part for part in free if part not in self.held])


def test_the_part_that_the_graph_is_wrong_about_is_the_one_at_which_agreement_falls() -> None:
    # All but the last norm is held, so what falls at the last step is that norm's doing.
    model = family_model("llama")
    tokens = torch.tensor(model.tokenizer.encode_batch([PROMPT]))
    replacement = _Held(model, tokens, random_transcoders(model))
    replacement.held = frozenset({"MLPs", "attention", "norms"})
    graph = graph_of(replacement, GraphConfig(max_logits=3))
    checks = check_graph(replacement, graph, prune(graph), latents=1000)
    drawn = {row.name: row.drawn for row in checks.freed}
    held, free = drawn["and norms, but the last"], drawn["and the last norm: all free"]
    assert held is not None
    assert free is not None
    assert free.value < held.value
    assert held.low <= held.value <= held.high
    assert len(checks.sentences) == 2


def test_with_a_part_free_the_intervention_is_that_of_a_model_with_the_rest_held() -> None:
    model = family_model("llama")
    graph, replacement = graph_and_replacement(model)
    layer, position, latent = graph.latents[0].tolist()
    source = Source(
        layer=layer,
        position=position,
        vector=5 * graph.activations[0] * replacement.coders[layer].directions[latent],
    )

    def edit(x: Tensor, _: object) -> Tensor:
        return x - torch.nn.functional.one_hot(torch.tensor(position), x.shape[1])[:, None] * source.vector

    with model.attach(Site(layer, "mlp_out"), edit):
        whole = model.final_residual(replacement.tokens, last=True)[0, -1]
    _, free = replacement.without([source], EVERY_PART)
    torch.testing.assert_close(free[0], whole)
    _, held = replacement.without([source], EVERY_PART[:3])
    # With the last scale held the stream is divided by the untouched length: the same direction, another length.
    torch.testing.assert_close(held[0] / held[0].norm(), whole / whole.norm())
    assert not torch.allclose(held[0], whole, rtol=1e-3)


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_total_effects_are_the_sum_over_all_ways_through_the_graph(kind: str) -> None:
    graph, _ = graph_and_replacement(family_model(kind))
    n = graph.n_latents
    step = graph.weights[:n, :n] / graph.activations[:, None]
    ways = total = graph.weights[n:, :n]
    for _ in range(graph.n_layers):
        ways = ways @ step
        total = total + ways
    torch.testing.assert_close(total, graph.total_effects, rtol=1e-4, atol=1e-5)


def test_sources_sum_to_the_logits_less_their_mean() -> None:
    model = family_model("llama")  # No biases, so that nothing else adds.
    graph, replacement = graph_and_replacement(model)
    logits = model.logits(replacement.final)
    constants = replacement.constants.abs().max()
    assert float(constants) < 1e-5
    expected = logits[graph.logits] - logits.mean()
    torch.testing.assert_close(graph.weights[graph.n_latents :].sum(1), expected, rtol=1e-4, atol=1e-4)


def test_what_latents_outside_of_the_graph_add_is_kept_as_a_sum() -> None:
    model = family_model("llama")
    whole, _ = graph_and_replacement(model)
    part, _ = graph_and_replacement(model, max_latents=20)
    assert part.n_latents == 20 < whole.n_latents == whole.n_active == part.n_active
    sums = [one.weights[one.n_latents :].sum(1) + one.outside[one.n_latents :] for one in (whole, part)]
    torch.testing.assert_close(*sums, rtol=1e-4, atol=1e-5)
    assert float(whole.outside.abs().max()) < 1e-5 < float(part.outside.abs().max())


def test_little_memory_gives_the_same_graph() -> None:
    model = family_model("llama")
    graph, replacement = graph_and_replacement(model)
    module = import_module("monosema.circuits.attribution_graph")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_rows_at_once", lambda *_: 3)
        torch.testing.assert_close(graph_of(replacement, GraphConfig(max_logits=3)).weights, graph.weights)


def test_layers_without_a_latent_in_the_graph_are_no_obstacle() -> None:
    whole, _ = graph_and_replacement(family_model("llama"))
    graph, _ = graph_and_replacement(family_model("llama"), max_latents=1)
    assert graph.n_latents == 1 < whole.n_layers
    assert graph.weights.shape[0] == 1 + len(graph.logits)


def test_scores_of_a_graph_worked_out_by_hand() -> None:
    # One latent, one error, one token; the logit reads 2 of the latent and 2 of the error, the latent 3 of the token
    # and −1 of the error: influence is latent 1/2, error 1/2 + 1/8, token 3/8.
    graph = PromptGraph(
        model="by hand",
        tokens=torch.tensor([5]),
        texts=("five",),
        n_layers=1,
        latents=torch.tensor([[0, 0, 7]]),
        activations=torch.ones(1),
        logits=torch.tensor([9]),
        logit_texts=("nine",),
        probabilities=torch.ones(1),
        weights=torch.tensor([[0.0, -1.0, 3.0], [2.0, 2.0, 0.0]]),
        outside=torch.zeros(2),
        total_effects=torch.tensor([[2.0]]),
        n_active=1,
    )
    assert influence_of(graph.weights, graph.probabilities).tolist() == [0.5, 0.625, 0.375]
    scores = score_graph(graph)
    assert scores.replacement == pytest.approx(0.375)
    # Explained: 3/4 of the latent's inputs and 1/2 of the logit's, all of error and token.
    assert scores.completeness == pytest.approx((0.75 * 0.5 + 0.5 + 1) / 2.5)


def test_pruning_leaves_no_loose_ends_and_more_share_keeps_more() -> None:
    graph, _ = graph_and_replacement(family_model("llama"))
    small, large = prune(graph, 0.5, 0.8), prune(graph, 0.9, 0.99)
    assert int(small.sources.sum()) < int(large.sources.sum())
    n = graph.n_latents
    for pruned in (small, large):
        assert not bool((pruned.edges & ~pruned.sources).any())
        assert bool(pruned.edges[:n].any(1)[pruned.sources[:n]].all())
        assert bool(pruned.edges.any(0)[: graph.errors.stop][pruned.sources[: graph.errors.stop]].all())


def test_the_exported_graph_has_unique_ids_labels_and_all_weights() -> None:
    graph, _ = graph_and_replacement(family_model("llama"))
    pruned = prune(graph)
    layer, _, latent = graph.latents[int(pruned.sources[: graph.n_latents].nonzero()[0])].tolist()
    value = to_circuit_tracer(graph, pruned, {(layer, latent): "cats"}, slug="cats")
    ids = [node["node_id"] for node in value["nodes"]]
    assert len({*ids}) == len(ids)
    assert {*_FIELDS} == {*value["nodes"][0]}
    assert "cats" in [node["clerp"] for node in value["nodes"]]
    assert all(link["source"] in ids and link["target"] in ids for link in value["links"])
    assert sorted(link["weight"] for link in value["links"]) == sorted(graph.weights[pruned.edges].tolist())
    assert to_dot(graph, pruned).count("->") == len(value["links"])
    shown = show_graph(graph, pruned, title="cats")
    assert [len(shown.nodes), len(shown.edges)] == [len(ids), len(value["links"])]


_FIELDS = (
    *("node_id", "feature", "layer", "ctx_idx", "feature_type", "token_prob", "is_target_logit", "run_idx"),
    *("reverse_ctx_idx", "jsNodeId", "clerp", "influence", "activation"),
)


class PublishedNode(TypedDict):
    """Types of a node in the schema that Neuronpedia checks uploaded graphs with (draft 07, version 1.0.0)."""

    node_id: str
    feature: int | None
    layer: str | int
    ctx_idx: int
    feature_type: str
    jsNodeId: str
    clerp: str
    influence: float | None
    activation: float | None


class PublishedLink(TypedDict):
    """Types of a link there."""

    source: str
    target: str
    weight: float


def test_the_exported_graph_is_of_the_published_types() -> None:
    graph, _ = graph_and_replacement(family_model("llama"))
    value = json.loads(json.dumps(to_circuit_tracer(graph, prune(graph), slug="cats"), allow_nan=False))
    for key, kind in (("nodes", list[PublishedNode]), ("links", list[PublishedLink])):
        assert TypeAdapter(kind).validate_python(value[key], strict=True)
    metadata, asked = value["metadata"], value["qParams"]
    assert [type(metadata[key]) for key in ("slug", "scan", "prompt", "prompt_tokens")] == [str, str, str, list]
    assert isinstance(metadata["node_threshold"], float)
    assert [type(asked[key]) for key in ("pinnedIds", "supernodes", "linkType", "clickedId")] == [list, list, str, str]


def test_a_layer_without_transcoder_is_named() -> None:
    model = family_model("llama")
    coders = random_transcoders(model)
    del coders[next(iter(coders))]
    with pytest.raises(InputError, match="no transcoder for layer 0"):
        attribution_graph(model, coders, PROMPT)


def test_autoencoders_and_half_precision_are_refused() -> None:
    model = family_model("llama")
    coders = random_transcoders(model)
    with pytest.raises(InputError, match="float32"):
        attribution_graph(family_model("llama").to(torch.bfloat16), coders, PROMPT)
    coder = next(iter(coders.values()))
    with pytest.raises(InputError, match="transcoders of MLPs"):
        attribution_graph(model, {"0.resid_pre": coder, **coders}, PROMPT)
