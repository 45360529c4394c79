"""Verification: estimated scores held against exact ones, of edges at random and of those ranked first.

Edges drawn at random say how well a method ranks the graph; most of their effects are near 0. The first ones are what a
circuit is made of, and chosen for being large, so they say nothing about the method's correlation; they are measured
one by one (Kramár et al. 2024, AtP*, arXiv:2403.00745, verify what a fast method proposes in the same way).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monosema.circuits.circuit import Circuit, Ranking
from monosema.circuits.methods import EXACT, Problem, exact_edges
from monosema.circuits.scores import EdgeScores
from monosema.core import Estimate, bootstrap_correlation, bootstrap_mean

EDGES = 128
"""Edges that are drawn and exchanged; of a graph with no more edges, all."""
PROMPTS = 16
"""Prompts that they are exchanged on, of all lengths alike."""


@dataclass(frozen=True, kw_only=True)
class VerifiedEdge:
    """An edge that the method ranks among the first.

    Attributes:
        name: the edge's.
        estimated: its score.
        exact: what the metric loses when it is exchanged alone.
    """

    name: str
    estimated: float
    exact: Estimate

    @property
    def confirmed(self) -> bool:
        """True where the measured effect is told apart from 0 and has the estimate's sign."""
        end = self.exact.low if self.estimated > 0 else -self.exact.high
        return end > 0


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Estimated scores beside exact ones.

    Attributes:
        method: name of the method that estimated.
        pearson, spearman: correlations over the drawn edges; None where one of both scores is the same of all edges.
        drawn, total: edges drawn, of the whole graph.
        prompts: prompts that these were exchanged on.
        first: edges that the method ranks first, exchanged on all prompts.
    """

    method: str
    pearson: Estimate | None
    spearman: Estimate | None
    drawn: int
    total: int
    prompts: int
    first: tuple[VerifiedEdge, ...]

    @property
    def sentences(self) -> list[str]:
        """The findings."""
        said = list[str]()
        if self.drawn:
            edges = "all edges" if self.drawn == self.total else f"{self.drawn:,} edges drawn at random"
            agrees = (
                "no correlation, since one of both scores is the same of all"
                if self.pearson is None or self.spearman is None
                else f"Pearson {_say(self.pearson)}, Spearman {_say(self.spearman)}"
            )
            said.append(f"Scores of {self.method} beside exact ones, {edges}, {self.prompts} prompts: {agrees}.")
        if self.first:
            right = sum(one.confirmed for one in self.first)
            said.append(
                f"Of the {len(self.first)} edges that it ranks first, {right} have an effect of that sign when "
                "exchanged alone."
            )
        return said


def verify(
    problem: Problem,
    scores: EdgeScores,
    ranking: Ranking = "size",
    *,
    edges: int = EDGES,
    first: int = 0,
    seed: int = 0,
) -> Verification | None:
    """Measure some edges exactly; return None for scores that are exact themselves, or where none is asked for.

    Args:
        scores: of the problem's own prompts.
        edges: number of edges drawn at random.
        first: number of edges that come first by the ranking.

    Raises:
        InputError: more first edges than the graph has.
    """
    graph, about = scores.graph, scores.about
    if about.method == EXACT or not edges + first:
        return None
    drawn = Circuit.random(graph, min(edges, graph.n_edges), seed).keep
    estimated, exact = _both(problem, scores, drawn, PROMPTS)
    pearson, spearman = _correlations(estimated.mean(0)[drawn], exact.mean(0)[drawn])
    return Verification(
        method=about.method,
        pearson=pearson,
        spearman=spearman,
        drawn=int(drawn.sum()),
        total=graph.n_edges,
        prompts=len(exact),
        first=_first(problem, scores, Circuit.top(scores, first, ranking), ranking) if first else (),
    )


def _first(problem: Problem, scores: EdgeScores, best: Circuit, ranking: Ranking) -> tuple[VerifiedEdge, ...]:
    """Measure the first edges on all prompts."""
    graph, (_, exact) = scores.graph, _both(problem, scores, best.keep)
    ranks = scores.values.abs() if ranking == "size" else scores.values
    return tuple(
        VerifiedEdge(
            name=graph.edge_name(w, r),
            estimated=float(scores.values[w, r]),
            exact=bootstrap_mean(exact[:, w, r].numpy()),
        )
        for w, r in sorted(best.keep.nonzero().tolist(), key=lambda at: -float(ranks[at[0], at[1]]))
    )


def _both(
    problem: Problem, scores: EdgeScores, edges: Bool[Tensor, "w r"], at_most: int | None = None
) -> tuple[Float[Tensor, "n w r"], Float[Tensor, "n w r"]]:
    """Return estimated and exact scores of some edges on the same prompts."""
    estimated, exact = list[Tensor](), list[Tensor]()
    for part in problem.parts(at_most):
        estimated.append(scores.by_prompt[part.rows])
        exact.append(exact_edges(part, edges).cpu())
    return torch.cat(estimated), torch.cat(exact)


def _correlations(x: Float[Tensor, " edges"], y: Float[Tensor, " edges"]) -> Sequence[Estimate | None]:
    if len(x) < 3 or x.unique().numel() == 1 or y.unique().numel() == 1:
        return None, None
    from scipy.stats import rankdata

    return bootstrap_correlation(x, y), bootstrap_correlation(rankdata(x), rankdata(y))


def _say(figure: Estimate) -> str:
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"
