"""Feature circuits: effects of latents and errors are what patching them does, and all of them are the whole model."""

from __future__ import annotations

import random

import pytest
import torch
from tests.helpers.families import family_model
from tests.helpers.transcoding import random_transcoders

from monosema.circuits import Contrasts, agreement, contrasts, end_metrics, metric_of
from monosema.circuits.feature_circuits import (
    FeatureNodes,
    exact_effects,
    feature_curve,
    feature_metrics,
    feature_scores,
)
from monosema.circuits.memory import pass_memory
from monosema.core import ConfigError
from monosema.data.tasks import Prompt, Span, Task
from monosema.dictionaries import Neurons, SparseCoder, TopK
from monosema.interventions import splice
from monosema.models import Role, Transformer


def letters(model: Transformer, n: int = 6) -> Contrasts:
    draw = random.Random(0)
    prompts = []
    for _ in range(n):
        a, b, c = draw.sample("abcdefgh", 3)
        span = Span(role="END", start=2, end=3)
        words = {"clean": f"{a}{b}{a}", "corrupt": f"{c}{b}{c}", "form": "letters"}
        prompts.append(Prompt(**words, correct=(a,), wrong=(b,), spans=(span,)))
    return contrasts(Task(name="letters", metric="logit_difference", split="test", prompts=tuple(prompts)), model)


def autoencoders(model: Transformer) -> dict[str, SparseCoder]:
    sites = ("0.resid_post", "1.mlp_out")
    return {site: SparseCoder(model.d_model, 24, TopK(k=4), seed=number) for number, site in enumerate(sites)}


def test_all_nodes_are_the_clean_model_and_none_of_the_last_stream_the_corrupted_one() -> None:
    model = family_model("llama")
    prompts = letters(model)
    metric = metric_of(prompts, model)
    nodes = FeatureNodes(model, {"1.resid_post": SparseCoder(model.d_model, 24, TopK(k=4))})
    ends = torch.stack([torch.ones(len(nodes)), torch.zeros(len(nodes))]).bool()
    found = feature_metrics(nodes, prompts, metric, ends)
    for row, expected in zip(found, end_metrics(model, prompts, metric), strict=True):
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "gemma2"])
def test_effects_of_all_nodes_of_the_last_stream_sum_to_the_whole_difference(kind: str) -> None:
    model = family_model(kind)
    prompts = letters(model)
    metric = metric_of(prompts, model)
    last = f"{model.n_layers - 1}.resid_post"
    nodes = FeatureNodes(model, {last: SparseCoder(model.d_model, 24, TopK(k=4))})
    scores = feature_scores(nodes, prompts, metric, steps=60)
    clean, corrupt = end_metrics(model, prompts, metric)
    torch.testing.assert_close(scores.by_prompt.sum(1), clean - corrupt, rtol=1e-2, atol=5e-3)


def test_gradients_are_those_of_spliced_latents_and_errors() -> None:
    model = family_model("llama")
    prompts = letters(model)
    metric, coders = metric_of(prompts, model), autoencoders(model)
    nodes = FeatureNodes(model, coders)
    values, (group,) = feature_scores(nodes, prompts, metric).by_prompt, prompts.groups
    with splice(model, coders, error="keep", roles=tuple(Role)) as parts:
        metric(model(group.clean, last=True)[:, -1], group).sum().backward()
    other = model.activations(group.corrupt, nodes.sites)
    for at, place in enumerate(nodes.places):
        _, error2 = nodes.parts(at, other)
        part = parts[place]
        assert part.error.grad is not None
        expected = ((part.error.detach() - error2.flatten(0, 1)) * part.error.grad).sum(1).view(len(group), -1).sum(1)
        torch.testing.assert_close(values[:, nodes.errors[at]], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("transcoded", [False, True])
def test_estimates_agree_with_patching_one_node_at_a_time(transcoded: bool) -> None:
    model = family_model("llama")
    prompts = letters(model)
    metric = metric_of(prompts, model)
    nodes = FeatureNodes(model, random_transcoders(model) if transcoded else autoencoders(model))
    scores = feature_scores(nodes, prompts, metric, steps=8)
    some = scores.order()[:20].tolist()
    with pass_memory(1e-6):
        exact = exact_effects(nodes, prompts, metric, some)
    torch.testing.assert_close(exact, exact_effects(nodes, prompts, metric, some), rtol=1e-4, atol=1e-5)
    assert agreement(scores.values[some], exact.mean(0)).pearson > 0.9


def test_neurons_are_nodes_and_have_no_error() -> None:
    model = family_model("llama")
    prompts = letters(model)
    metric = metric_of(prompts, model)
    nodes = FeatureNodes(model, {"1.mlp.post": Neurons(32)})
    scores = feature_scores(nodes, prompts, metric)
    assert float(scores.values[nodes.errors].abs().max()) == 0
    assert nodes[0].name == "1.mlp.post#0"
    assert nodes[64].name == "1.mlp.post#error"


def test_a_curve_ends_at_the_whole_and_errors_can_be_left_out() -> None:
    model = family_model("llama")
    prompts = letters(model)
    metric = metric_of(prompts, model)
    scores = feature_scores(FeatureNodes(model, autoencoders(model)), prompts, metric)
    ranked = feature_curve(scores, prompts, metric, sizes=(1, 5))
    assert ranked.curve[-1].faithfulness.value == pytest.approx(1, abs=1e-3)
    dropped = feature_curve(scores, prompts, metric, sizes=(1, 5), errors="dropped")
    assert dropped.curve[-1].faithfulness.value != pytest.approx(1, abs=1e-3)


def test_no_dictionary_is_an_error() -> None:
    with pytest.raises(ConfigError, match="No dictionary"):
        FeatureNodes(family_model("llama"), {})
