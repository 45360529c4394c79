"""Influence of nodes and edges of an attribution graph on its logits: scores, and pruning by them.

    N = |A|, rows summing to 1 ;   influence = p N (I + N + N² + …)

p are the logits' probabilities. Formulae as in circuit-tracer (Hanna et al. 2025): a graph's replacement score is the
tokens' share of the influence of tokens and errors together; its completeness score is the share of influence that
nodes receive from other sources than errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monosema.circuits.attribution_graph import PromptGraph

FLOOR = 1e-10
"""Sum of a row below which it is no longer divided by its sum."""


@dataclass(frozen=True, kw_only=True)
class GraphScores:
    """The explained part of a graph.

    Attributes:
        replacement: share of influence that begins at tokens, not at errors.
        completeness: share of influence that does not come from errors at its last step.
    """

    replacement: float
    completeness: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Pruned:
    """The part that pruning leaves of a graph.

    Attributes:
        sources: sources that stay; all tokens do.
        edges: edges that stay.
        cumulative: for each source, the share of all influence that those with at least as much have together.
    """

    sources: Bool[Tensor, " sources"]
    edges: Bool[Tensor, "targets sources"]
    cumulative: Float[Tensor, " sources"]


def normalised(weights: Float[Tensor, "targets sources"]) -> Float[Tensor, "targets sources"]:
    """Return absolute edges, each target's summing to 1."""
    sizes = weights.abs()
    return sizes / sizes.sum(1, keepdim=True).clamp_min(FLOOR)


def influence_of(weights: Float[Tensor, "targets sources"], probabilities: Float[Tensor, " logits"]) -> Tensor:
    """Return the influence of each source along all ways."""
    shares, latents = normalised(weights), len(weights) - len(probabilities)
    current = probabilities @ shares[latents:]
    influence = current.clone()
    while bool(current[:latents].any()):
        current = current[:latents] @ shares[:latents]
        influence += current
    return influence


def score_graph(graph: PromptGraph) -> GraphScores:
    """Return the graph's scores."""
    influence = influence_of(graph.weights, graph.probabilities)
    tokens, errors = influence[graph.embeddings].sum(), influence[graph.errors].sum()
    explained = 1 - normalised(graph.weights)[:, graph.errors].sum(1)
    # Errors and tokens have no inputs: nothing of theirs comes from an error.
    received = torch.cat([influence[: graph.n_latents], graph.probabilities])
    rest = influence[graph.n_latents :].sum()
    complete = ((explained * received).sum() + rest) / (received.sum() + rest)
    return GraphScores(replacement=float(tokens / (tokens + errors)), completeness=float(complete))


def prune(graph: PromptGraph, nodes: float = 0.8, edges: float = 0.98) -> Pruned:
    """Return the smallest part of a graph that has these shares of the influence, without loose ends.

    Args:
        nodes: share of the influence of all sources.
        edges: share of the influence of the edges among those.
    """
    n, weights = graph.n_latents, graph.weights
    influence = influence_of(weights, graph.probabilities)
    keep = influence >= _threshold(influence, nodes)
    keep[graph.embeddings] = True
    reduced = weights * keep
    reduced[:n] *= keep[:n, None]
    own = torch.cat([influence_of(reduced, graph.probabilities)[:n], graph.probabilities])
    scores = normalised(reduced) * own[:, None]
    kept = scores >= max(_threshold(scores.flatten(), edges), torch.finfo(scores.dtype).tiny)
    while True:
        before = keep.clone()
        keep[: graph.errors.stop] &= kept[:, : graph.errors.stop].any(0)
        keep[:n] &= kept[:n].any(1)
        kept[:n] &= keep[:n, None]
        kept &= keep
        if bool((keep == before).all()):
            break
    order = influence.argsort(descending=True)
    cumulative = torch.empty_like(influence)
    cumulative[order] = influence[order].cumsum(0) / influence.sum()
    return Pruned(sources=keep, edges=kept, cumulative=cumulative)


def _threshold(scores: Float[Tensor, " n"], share: float) -> float:
    """Return the score of the last that is needed for a share of the sum."""
    ordered = scores.sort(descending=True).values
    shares = ordered.cumsum(0) / ordered.sum()
    return float(ordered[min(int(torch.searchsorted(shares, share)), len(ordered) - 1)])
