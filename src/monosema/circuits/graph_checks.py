"""Tests of an attribution graph by interventions: what it says beside what happens when latents are taken out.

With attention, norms and other MLPs' outputs held, edges must be right but for rounding. As more of the model runs free
they become a claim about it, which can be wrong: MLPs are not their transcoders, heads look elsewhere, and norms divide
by another length. So whole effects are tested with one part after another left free, and the figure that falls says
which part the graph is wrong about. The last norm's scale stretches all logits by one factor, which a graph holds and
which says nothing of which token comes next; so logits are compared with one another too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.circuits.attribution_graph import PromptGraph
from monosema.circuits.influence import Pruned
from monosema.circuits.replacement import EVERY_PART, Part, Replacement, Source
from monosema.circuits.scores import Agreement, agreement
from monosema.core import Estimate, bootstrap_correlation, torch_generator

ROWS = 16
"""Interventions in a pass."""
LIKELIEST = 10
"""Tokens whose logits are compared with one another."""
STEPS: Mapping[str, tuple[Part, ...]] = {
    "MLPs free": EVERY_PART[:1],
    "and attention": EVERY_PART[:2],
    "and norms, but the last": EVERY_PART[:3],
    "and the last norm: all free": EVERY_PART,
}
"""Parts that are left free, one more at a time, by the names that a reader sees."""
*_, NORM_HELD, ALL_FREE = STEPS
BETWEEN = "all free, logits beside one another"


@dataclass(frozen=True, kw_only=True)
class Freed:
    """Agreement of whole effects on the logits with what happens, with some parts of the model left free.

    Attributes:
        name: what was left free.
        shown: Spearman's ρ over latents that pruning leaves, with an interval over latents; None where too few differ.
        drawn: likewise over latents drawn at random from the whole graph.
    """

    name: str
    shown: Estimate | None
    drawn: Estimate | None


@dataclass(frozen=True, kw_only=True)
class GraphChecks:
    """Agreement of a graph with interventions.

    Attributes:
        constrained: edges from latents that were taken out with all else held, with the change of what they lead to.
        freed: whole effects on the logits, step by step freer, then with logits beside one another.
        shown, drawn: latents that were taken out, one at a time.
    """

    constrained: Agreement
    freed: tuple[Freed, ...]
    shown: int
    drawn: int

    @property
    def sentences(self) -> list[str]:
        """The findings."""
        by_name = {row.name: row.shown for row in self.freed}
        free, between = by_name[ALL_FREE], by_name[BETWEEN]
        held = by_name[NORM_HELD]
        said = [
            f"{self.drawn} latents taken out one at a time, all else held: Spearman's ρ of edges with what happens is "
            f"{self.constrained.spearman:.3f}."
        ]
        if free is not None and held is not None and between is not None:
            said.append(
                f"Of {self.shown} latents that are shown, whole effects on the logits agree with what happens in the "
                f"model as it runs free by a ρ of {say(free)}; with the last norm's scale held, which stretches all "
                f"logits alike, by {say(held)}; of logits beside one another, by {say(between)}."
            )
        return said


def check_graph(
    replacement: Replacement, graph: PromptGraph, pruned: Pruned, latents: int = 64, seed: int = 0
) -> GraphChecks:
    """Take latents out, one at a time, that are drawn at random: of those that pruning leaves, and of all.

    Args:
        latents: of each kind, at most.
    """
    generator = torch_generator(seed, "graph checks")
    drawn, shown = (
        some[torch.randperm(len(some), generator=generator)[:latents]].sort().values
        for some in (torch.arange(graph.n_latents), pruned.sources[: graph.n_latents].nonzero()[:, 0].cpu())
    )
    tested = _Tested(replacement, graph)
    pairs = [tested.freed(some) for some in (shown, drawn)]
    return GraphChecks(
        constrained=tested.constrained(drawn),
        freed=tuple(Freed(name=name, shown=pairs[0][name], drawn=pairs[1][name]) for name in pairs[0]),
        shown=len(shown),
        drawn=len(drawn),
    )


def say(figure: Estimate | None) -> str:
    """Write a correlation with its interval."""
    return "–" if figure is None else f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"


class _Tested:
    """A graph with what reads its logits, and those of the likeliest tokens beside one another."""

    def __init__(self, replacement: Replacement, graph: PromptGraph) -> None:
        self.replacement, self.graph, model = replacement, graph, replacement.model
        weight = model.unembed_weight.detach()
        likeliest = weight[model.logits(replacement.final).topk(min(LIKELIEST, model.vocab)).indices]
        self.vectors, self.between = weight[graph.logits] - weight.mean(0), likeliest - likeliest.mean(0)
        columns = {place: at for at, place in enumerate(map(tuple, replacement.active().tolist()))}
        chosen = [columns[place] for place in map(tuple, graph.latents.tolist())]
        self.effects_between = replacement.total_effects(self.between)[:, chosen]

    def constrained(self, some: Int[Tensor, " n"]) -> Agreement:
        """Return the agreement of edges from latents with what each target loses, all else held."""
        graph = self.graph
        layer, position = graph.latents[:, 0], graph.latents[:, 1]
        reached = (layer[None] > layer[some, None]) & (position[None] >= position[some, None])
        reached = torch.cat([reached, reached.new_ones(len(some), len(graph.logits))], dim=1)
        lost = torch.cat([self._lost(part) for part in some.split(ROWS)])
        return agreement(graph.weights[:, some].T[reached], lost[reached])

    def freed(self, some: Int[Tensor, " n"]) -> dict[str, Estimate | None]:
        """Return the agreement of latents' whole effects with what logits lose, by what is left free."""
        found, gone = dict[str, Estimate | None](), torch.zeros(0)
        for name, free in STEPS.items():
            gone = torch.cat([self._final(part, free) for part in some.split(ROWS)])
            found[name] = _ranks_agree(self.graph.total_effects[:, some].T, gone @ self.vectors.T)
        found[BETWEEN] = _ranks_agree(self.effects_between[:, some].T, gone @ self.between.T)
        return found

    def _sources(self, some: Int[Tensor, " n"]) -> list[Source]:
        """Return sources that are taken out; the first is of nothing, for the values without any intervention."""
        sources, graph = list[Source](), self.graph
        for index in some.tolist():
            layer, position, latent = graph.latents[index].tolist()
            vector = graph.activations[index] * self.replacement.coders[layer].directions[latent]
            sources.append(Source(layer=layer, position=position, vector=vector))
        return [Source(layer=0, position=0, vector=torch.zeros_like(sources[0].vector)), *sources]

    def _final(self, some: Int[Tensor, " n"], free: Sequence[Part]) -> Float[Tensor, "n d_model"]:
        """Return what the normalised stream at the end loses."""
        _, final = self.replacement.without(self._sources(some), free)
        return final[:1] - final[1:]

    def _lost(self, some: Int[Tensor, " n"]) -> Float[Tensor, "n targets"]:
        """Return how much each target loses with all else held."""
        graph = self.graph
        reads, final = self.replacement.without(self._sources(some))
        changes = final.new_zeros(len(some), graph.n_latents + len(graph.logits))
        for layer, (coder, read) in enumerate(zip(self.replacement.coders, reads, strict=True)):
            index = (graph.latents[:, 0] == layer).nonzero()[:, 0]
            lost = (read[:1] - read[1:])[:, graph.latents[index, 1]]
            changes[:, index] = (lost * coder.W_enc.detach()[graph.latents[index, 2]]).sum(-1)
        changes[:, graph.n_latents :] = (final[:1] - final[1:]) @ self.vectors.T
        return changes


def _ranks_agree(predicted: Float[Tensor, "n logits"], measured: Float[Tensor, "n logits"]) -> Estimate | None:
    """Return Spearman's ρ over all pairs of latent and logit, with an interval over latents."""
    from scipy.stats import rankdata

    x, y = (one.detach().double().cpu().numpy() for one in (predicted, measured))
    if len(x) < 3 or len({*x.ravel()}) == 1 or len({*y.ravel()}) == 1:
        return None
    return bootstrap_correlation(*(rankdata(one).reshape(one.shape) for one in (x, y)))
