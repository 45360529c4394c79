"""The slow twin of attribution: gradients with respect to masks, through a copy of the stream for every head."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.circuits.ablations import Ablation
from monosema.circuits.contrast import Contrasts
from monosema.circuits.contributions import exchanged
from monosema.circuits.graph import component_graph
from monosema.circuits.memory import contribution_bytes, rows_within
from monosema.circuits.metrics import Metric, last_logits
from monosema.models import Transformer


def mask_gradients(
    model: Transformer,
    contrasts: Contrasts,
    ablation: Ablation,
    metric: Metric,
    share: float = 0.0,
) -> Float[Tensor, "n w r"]:
    """Score all edges of each prompt by the gradient where all of them are exchanged by a share."""
    graph, parts = component_graph(model), list[Tensor]()
    for group in contrasts:
        stand_ins = ablation.stand_ins(model, group)
        for part in group.chunks(rows_within(6 * contribution_bytes(model, group.clean.shape[1]))):
            values = stand_ins(part)
            # One version for each prompt, so that each has a gradient of its own.
            exchange = (share * graph.allowed.float()).repeat(len(part), 1, 1).to(model.device).requires_grad_()
            with torch.enable_grad(), exchanged(model, graph, exchange, values):
                metric(last_logits(model, part.clean), part).sum().backward()
            assert exchange.grad is not None
            parts.append(-exchange.grad.cpu() * graph.allowed)
    return torch.cat(parts)
