"""Tests of an attribution graph by interventions: what it says beside what happens when latents are taken out.

With attention, norms and other MLPs' outputs held, edges must be right but for rounding. With the whole model running
free they are a claim about the model, and can be wrong: attention moves, latents begin and cease to be active.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from monosema.circuits.attribution_graph import PromptGraph
from monosema.circuits.replacement import Replacement, Source
from monosema.circuits.scores import Agreement, agreement
from monosema.core import torch_generator

ROWS = 16
"""Interventions in a pass."""


@dataclass(frozen=True, kw_only=True)
class GraphChecks:
    """Agreement of a graph with interventions.

    Attributes:
        constrained: edges from latents that were taken out with all else held, with the change of what they lead to.
        free: their total effects on logits, with the change of the logits as the whole model runs on.
        latents: latents that were taken out, one at a time.
    """

    constrained: Agreement
    free: Agreement
    latents: int


def check_graph(replacement: Replacement, graph: PromptGraph, latents: int = 64, seed: int = 0) -> GraphChecks:
    """Take latents out that are drawn at random, and compare."""
    n = graph.n_latents
    drawn = torch.randperm(n, generator=torch_generator(seed, "graph checks"))[:latents].sort().values
    parts = [_changes(replacement, graph, some) for some in drawn.split(ROWS)]
    held, free = (torch.cat(values) for values in zip(*parts, strict=True))
    layer, position = graph.latents[:, 0], graph.latents[:, 1]
    reached = (layer[None] > layer[drawn, None]) & (position[None] >= position[drawn, None])
    reached = torch.cat([reached, reached.new_ones(len(drawn), len(graph.logits))], dim=1)
    return GraphChecks(
        constrained=agreement(graph.weights[:, drawn].T[reached], held[reached]),
        free=agreement(graph.total_effects[:, drawn].T.flatten(), free.flatten()),
        latents=len(drawn),
    )


def _changes(replacement: Replacement, graph: PromptGraph, some: Int[Tensor, " n"]) -> tuple[Tensor, Tensor]:
    """Return how much each target loses with all else held, [n, targets], and each logit in a free run."""
    model = replacement.model
    sources = list[Source]()
    for index in some.tolist():
        layer, position, latent = graph.latents[index].tolist()
        vector = graph.activations[index] * replacement.coders[layer].directions[latent]
        sources.append(Source(layer=layer, position=position, vector=vector))
    # A source of nothing gives the values without any intervention, by the same arithmetic.
    nothing = [Source(layer=0, position=0, vector=torch.zeros_like(sources[0].vector))]
    reads, held = replacement.without([*nothing, *sources], held=True)
    _, free = replacement.without([*nothing, *sources], held=False)
    weight = model.unembed_weight.detach()
    vectors = weight[graph.logits] - weight.mean(0)
    changes = held.new_zeros(len(some), graph.n_latents + len(graph.logits))
    for layer, (coder, read) in enumerate(zip(replacement.coders, reads, strict=True)):
        index = (graph.latents[:, 0] == layer).nonzero()[:, 0]
        lost = (read[:1] - read[1:])[:, graph.latents[index, 1]]
        changes[:, index] = (lost * coder.W_enc.detach()[graph.latents[index, 2]]).sum(-1)
    changes[:, graph.n_latents :] = (held[:1] - held[1:]) @ vectors.T
    return changes, (free[:1] - free[1:]) @ vectors.T
