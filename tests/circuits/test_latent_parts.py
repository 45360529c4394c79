"""Latents of a shown graph are taken out as the figures say, and what can't be tested is said."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.helpers.families import family_model
from tests.helpers.transcoding import random_transcoders

from monosema.circuits import LatentTrial, Replacement, ShownGraph, graph_of, prune, show_graph
from monosema.core import InputError
from monosema.models import Transformer

PROMPT = "a cat sat"


@pytest.fixture(scope="module")
def model() -> Transformer:
    return family_model("llama")


@pytest.fixture(scope="module")
def shown(model: Transformer) -> ShownGraph:
    tokens = torch.tensor(model.tokenizer.encode_batch([PROMPT]))
    traced = graph_of(Replacement(model, tokens, random_transcoders(model)))
    about = {"prompt": PROMPT, "right": int(traced.logits[0])}
    return show_graph(traced, prune(traced, 1.0, 1.0), title=PROMPT, about=about)


def test_what_is_measured_is_the_model_without_the_latent(model: Transformer, shown: ShownGraph) -> None:
    coders = random_transcoders(model)
    node = next(one for one in shown.nodes if one.latent is not None)
    found = LatentTrial(model, shown, coders).test(0, [node.name])
    tokens = torch.tensor(model.tokenizer.encode_batch([PROMPT]))
    read = next(site for site in coders if model.find(site).layer == node.layer)
    coder = coders[read]
    code = coder.encode(model.activations(tokens, [read])[model.find(read)]).dense()[0, node.column, node.latent]

    def without(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[0, node.column] -= code * coder.directions[node.latent]
        return x

    with model.edit(f"{node.layer}.mlp_out", without):
        logits = model(tokens)[0, -1]
    plain, right = model(tokens)[0, -1], int(shown.about["right"])
    lost = plain[right] - plain.mean() - (logits[right] - logits.mean())
    assert found.measured is not None
    assert found.measured.value == pytest.approx(float(lost.detach()), abs=1e-5)
    assert found.predicted == node.predicted
    assert found.control is not None
    assert found.control.n == 10


def test_all_latents_keep_everything_and_none_nothing(model: Transformer, shown: ShownGraph) -> None:
    trial = LatentTrial(model, shown, random_transcoders(model))
    none, everything = trial.test(0), trial.test(len(shown.nodes))
    assert none.faithfulness is not None
    assert everything.faithfulness is not None
    assert (none.faithfulness.value, everything.faithfulness.value) == pytest.approx((0, 1), abs=1e-5)


def test_what_can_not_be_tested_is_said(model: Transformer, shown: ShownGraph) -> None:
    coders = random_transcoders(model)
    with pytest.raises(InputError, match="which prompt"):
        LatentTrial(model, replace(shown, about={}), coders)
    with pytest.raises(InputError, match="'gpt2'"):
        LatentTrial(model, replace(shown, about={**shown.about, "model": "gpt2"}), coders)
    with pytest.raises(InputError, match="other tokens"):
        LatentTrial(model, replace(shown, about={**shown.about, "prompt": "a dog"}), coders)
    trial = LatentTrial(model, shown, coders)
    with pytest.raises(InputError, match="no node"):
        trial.test(0, ["0_0_99"])
    token = next(one.name for one in shown.nodes if one.kind == "token")
    with pytest.raises(InputError, match="Only latents"):
        trial.test(0, [token])
