"""Rules of relevance propagation: some derivatives are replaced in the backward pass, values stay as they are.

    norms         the scale is a constant;
    activations   act(x) goes back as x · const, const = act(x) / x;
    gates         a product goes back half to each factor;
    attention     the pattern is a constant, or, as a gate, half goes to it and half to the values;
    scores        likewise half goes to queries and half to keys.

Input × gradient under these rules is layer-wise relevance propagation (LRP; Bach et al. 2015) as AttnLRP has it
(Achtibat et al. 2024, arXiv:2402.05602). LRP is patented; see docs/attribution.md before you use it in a product.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Literal, cast

import torch
from torch import Tensor

from monosema.core import Site
from monosema.models import Action, ForwardContext, Transformer
from monosema.models.decoder import Block

Pattern = Literal["half", "constant"]


@contextlib.contextmanager
def relevance_rules(model: Transformer, pattern: Pattern = "half", *, halve_queries: bool = False) -> Iterator[None]:
    """Let gradients go back by the rules in the block; values stay as they are.

    Args:
        pattern: the rule for attention.
        halve_queries: the product of queries and keys goes back half to each, as AttnLRP has it. Without it both have
            all of it, as RelP has it, so that relevance is not conserved where patterns matter.
    """
    sites = model.sites()
    turned = {site.layer for site in sites if site.component == "rot_q"}
    with contextlib.ExitStack() as stack:
        for site in sites:
            if site.component.endswith(".scale"):
                stack.enter_context(model.attach(site, _action(Tensor.detach)))
        for layer, block in enumerate(model.blocks):
            stack.enter_context(model.attach(Site(layer, "pattern"), _action(_HALVES[pattern])))
            if pattern == "half":
                stack.enter_context(model.attach(Site(layer, "v"), _action(half)))
            if halve_queries:
                for name in ("rot_q", "rot_k") if layer in turned else ("q", "k"):
                    stack.enter_context(model.attach(Site(layer, name), _action(half)))
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
        pre, linear = self._pre, self._linear
        self._pre = self._linear = torch.empty(0)  # else the graph of what a block computes again would stay
        with torch.no_grad():
            # At 0 the limit of act(x) / x; of relu, whose two sides differ, their mean.
            slope = torch.where(pre.abs() < 1e-6, 0.5, self._act(pre) / pre)
        carried = pre * slope
        if self._gated:
            carried = (carried * linear.detach() + carried.detach() * linear) / 2
        return passed_back(post, carried)


def passed_back(value: Tensor, carried: Tensor) -> Tensor:
    """Return the value, whose gradient goes back through `carried`."""
    return value.detach() + carried - carried.detach()


def half(x: Tensor) -> Tensor:
    """Return x with half of its gradient."""
    return (x + x.detach()) / 2


_HALVES: dict[Pattern, Callable[[Tensor], Tensor]] = {"half": half, "constant": Tensor.detach}


def _action(change: Callable[[Tensor], Tensor]) -> Action:
    def action(x: Tensor, _: ForwardContext) -> Tensor:
        return change(x)

    return action
