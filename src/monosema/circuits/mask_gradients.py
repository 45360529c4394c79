"""Mask gradients: the score of every edge at once, by the gradient of the metric with respect to its exchange.

    score_e = − mean over α of ∂m / ∂exchange_e, at exchange = α for all edges together

With one step at α = 0 it is edge attribution patching (Syed et al. 2023, arXiv:2310.10348); with the midpoints of more
steps the scores sum to m(M) − m(∅), the error falling with their number (the integral of Sundararajan et al. 2017,
arXiv:1703.01365, over masks). It passes whole copies of each head's input through the model: the plain, slow twin of
faster methods.
"""

from __future__ import annotations

import time

import torch

from monosema.circuits.ablations import Ablation
from monosema.circuits.contrast import Contrasts
from monosema.circuits.contributions import exchanged
from monosema.circuits.graph import component_graph
from monosema.circuits.metrics import Metric, last_logits
from monosema.circuits.running import ROW_BYTES
from monosema.circuits.scores import EdgeScores, Provenance
from monosema.models import Transformer


def mask_gradients(
    model: Transformer,
    contrasts: Contrasts,
    ablation: Ablation,
    metric: Metric,
    steps: int = 5,
    row_bytes: int = ROW_BYTES,
) -> EdgeScores:
    """Score all edges; `steps` = 1 takes the gradient at the clean run alone."""
    begun, graph, parts = time.perf_counter(), component_graph(model), []
    alphas = [0.0] if steps == 1 else [(step + 0.5) / steps for step in range(steps)]
    for group in contrasts:
        whole = ablation.stand_ins(model, group)
        rows = max(row_bytes // (6 * len(graph.writers) * group.clean.shape[1] * model.d_model * 4), 1)
        for start in range(0, len(group), rows):
            part, values = group[start : start + rows], whole[:, start : start + rows]
            total = torch.zeros(len(part), *graph.allowed.shape)
            for alpha in alphas:
                # One version for each prompt, so that each has a gradient of its own.
                exchange = (alpha * graph.allowed.float()).repeat(len(part), 1, 1).to(model.device).requires_grad_()
                with torch.enable_grad(), exchanged(model, graph, exchange, values):
                    metric(last_logits(model, part.clean), part).sum().backward()
                assert exchange.grad is not None
                total -= exchange.grad.cpu() / len(alphas)
            parts.append(total * graph.allowed)
    about = Provenance(
        method="eap" if steps == 1 else "eap-ig-masks",
        ablation=ablation.name,
        metric=metric.name,
        task=contrasts.task,
        model=model.name,
        n=len(contrasts),
        forward=float(len(alphas) + 1),
        backward=float(len(alphas)),
        seconds=time.perf_counter() - begun,
    )
    return EdgeScores(graph=graph, by_prompt=torch.cat(parts), about=about)
