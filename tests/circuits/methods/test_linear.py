"""On a linear model nothing is estimated: every fast method gives the exact scores, and they sum to the difference."""

from __future__ import annotations

import pytest
import torch

from monosema.circuits import LogitDifference, Method, ablation_named, end_metrics
from monosema.circuits.methods import METHODS, Problem, Relevance
from monosema.circuits.planted.planted import planted, prompt
from monosema.circuits.planted.wiring import LETTERS, Wiring
from monosema.models.decoder import Block


def linear_problem(ablation: str = "resample") -> Problem:
    """A model whose heads take the mean of all positions, and whose neurons are never off: no norm, no product."""
    wiring, seed = Wiring("linear", 3), torch.Generator().manual_seed(0)
    for block in wiring.model.blocks:
        assert isinstance(block, Block)
        q, k, v = block.attn.qkv.weight.split(block.attn.sizes)
        q.zero_()
        k.zero_()
        for weight in (v, block.attn.o.weight, block.mlp.inner.weight, block.mlp.out.weight):
            weight.copy_(0.3 * torch.randn(weight.shape, generator=seed) * weight.shape[1] ** -0.5)
        assert block.mlp.inner.bias is not None
        block.mlp.inner.bias.fill_(10.0)
    triples = zip(LETTERS[:4], LETTERS[4:8], LETTERS[8:], strict=True)
    pairs = [prompt([one + two, two + three], one, two) for one, two, three in triples]
    subject = planted(wiring.model, "linear", pairs, ablation, ["embed->logits"])
    return Problem(subject.model, subject.contrasts, ablation_named(ablation), LogitDifference())


PROBLEM = linear_problem()
EXACT = METHODS["exact"](PROBLEM)
# Of a path that exchanges all edges at once, scores are shares of what they do together, by design.
FAST: dict[str, Method] = {
    **{name: METHODS[name] for name in ("eap", "eap-ig-inputs", "eap-ig-activations")},
    "relp": Relevance(pattern="constant"),
}


@pytest.mark.parametrize("name", FAST)
def test_fast_scores_are_exact(name: str) -> None:
    scores = FAST[name](PROBLEM).by_prompt
    assert float(EXACT.by_prompt.abs().max()) > 0.05
    torch.testing.assert_close(scores, EXACT.by_prompt, atol=2e-4, rtol=1e-4)


def test_edges_into_the_logits_sum_to_the_difference() -> None:
    clean, corrupt = end_metrics(PROBLEM.model, PROBLEM.contrasts, PROBLEM.metric)
    torch.testing.assert_close(EXACT.by_prompt[:, :, -1].sum(1), clean - corrupt, atol=2e-4, rtol=1e-4)


def test_edges_that_no_later_layer_reads_are_exact_without_any_layer() -> None:
    scores = METHODS["atp-star"](PROBLEM)
    last = [reader.node.layer >= PROBLEM.model.n_layers - 1 for reader in scores.graph.readers]
    torch.testing.assert_close(scores.by_prompt[:, :, last], EXACT.by_prompt[:, :, last], atol=2e-4, rtol=1e-4)
