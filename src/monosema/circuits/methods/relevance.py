"""Relevance patching: attribution patching with rules in the place of some derivatives.

Rules after RelP (Rezaei Jafari et al. 2025, arXiv:2508.21258), which carries layer-wise relevance propagation (LRP;
Bach et al. 2015) over to patching:

    norms         the scale is a constant;
    activations   act(x) goes back as x · const, const = act(x) / x;
    gates         a product goes back half to each factor;
    attention     the pattern is a constant, or, as a gate, half goes to it and half to the values.

Departure: the published rule is a constant pattern, which gives no edge into queries and keys a score; the default here
is half (as in AttnLRP, Achtibat et al. 2024, arXiv:2402.05602). LRP is patented; see docs/circuits.md before you use it
in a product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.attribution.rules import Pattern, relevance_rules
from monosema.circuits.methods.gaps import Gaps
from monosema.circuits.methods.gradients import edge_products, reader_gradients
from monosema.circuits.methods.method import Part, Problem, Said, register_method, silent
from monosema.circuits.metrics import last_logits
from monosema.circuits.scores import EdgeScores
from monosema.models import each_contribution


@dataclass(frozen=True)
class Relevance:
    """Relevance patching.

    Attributes:
        name, about: see `Method`.
        pattern: the rule for attention.
    """

    name: str = "relp"
    about: str = "gradient by the rules of relevance propagation"
    pattern: Pattern = "half"

    def __call__(self, problem: Problem, said: Said = silent) -> EdgeScores:
        """Score all edges."""
        return problem.scored(self.name, self._score, 2, 1)

    def _score(self, part: Part) -> Float[Tensor, "n w r"]:
        model, gaps = part.model, Gaps(part.stand_ins)

        def run() -> Tensor:
            with each_contribution(model, gaps.add), relevance_rules(model, self.pattern):
                return last_logits(model, part.contrast.clean)

        scores = torch.zeros(len(part.contrast), *part.graph.allowed.shape, device=model.device)
        found = reader_gradients(model, part.graph, part.contrast, part.metric, run, frozen_norms=True)
        for one in found:
            scores[:, : one.writers, one.columns] = -edge_products(gaps.whole()[: one.writers], one.values)
        return scores


register_method(Relevance())
