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

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.circuits.methods.gaps import Gaps
from monosema.circuits.methods.gradients import edge_products, reader_gradients
from monosema.circuits.methods.method import Part, Problem, Said, register_method, silent
from monosema.circuits.metrics import last_logits
from monosema.circuits.scores import EdgeScores
from monosema.core import Site
from monosema.models import Action, ForwardContext, Transformer, each_contribution
from monosema.models.decoder import Block

Pattern = Literal["half", "constant"]


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


@contextlib.contextmanager
def relevance_rules(model: Transformer, pattern: Pattern = "half") -> Iterator[None]:
    """Let gradients go back by the rules in the block; values stay as they are."""
    sites = model.sites()
    with contextlib.ExitStack() as stack:
        for site in sites:
            if site.component.endswith(".scale"):
                stack.enter_context(model.attach(site, _action(Tensor.detach)))
        for layer, block in enumerate(model.blocks):
            stack.enter_context(model.attach(Site(layer, "pattern"), _action(_HALVES[pattern])))
            if pattern == "half":
                stack.enter_context(model.attach(Site(layer, "v"), _action(_half)))
            rule = _MlpRule(cast(Block, block))
            stack.enter_context(model.attach(Site(layer, "mlp.pre"), _action(rule.take_pre)))
            if model.config.gated:
                stack.enter_context(model.attach(Site(layer, "mlp.pre_linear"), _action(rule.take_linear)))
            stack.enter_context(model.attach(Site(layer, "mlp.post"), _action(rule.give)))
        yield


class _MlpRule:
    """The rules for the activation, and the gate, of one MLP."""

    def __init__(self, block: Block) -> None:
        self._act = block.mlp.activation
        self._pre = self._linear = torch.empty(0)
        self._gated = block.mlp.gated

    def take_pre(self, x: Tensor) -> Tensor:
        self._pre = x
        return x

    def take_linear(self, x: Tensor) -> Tensor:
        self._linear = x
        return x

    def give(self, post: Tensor) -> Tensor:
        pre = self._pre
        with torch.no_grad():
            # At 0 the limit of act(x) / x; of relu, whose two sides differ, their mean.
            slope = torch.where(pre.abs() < 1e-6, 0.5, self._act(pre) / pre)
        carried = pre * slope
        if self._gated:
            carried = (carried * self._linear.detach() + carried.detach() * self._linear) / 2
        return post.detach() + carried - carried.detach()


def _half(x: Tensor) -> Tensor:
    return (x + x.detach()) / 2


_HALVES: dict[Pattern, Callable[[Tensor], Tensor]] = {"half": _half, "constant": Tensor.detach}


def _action(change: Callable[[Tensor], Tensor]) -> Action:
    def action(x: Tensor, _: ForwardContext) -> Tensor:
        return change(x)

    return action


register_method(Relevance())
