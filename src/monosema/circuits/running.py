"""A circuit at work: the model on clean prompts with all edges outside of the circuit exchanged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monosema.circuits.ablations import Ablation
from monosema.circuits.contrast import Contrast, Contrasts
from monosema.circuits.contributions import exchanged
from monosema.circuits.graph import Graph
from monosema.circuits.metrics import Metric, last_logits
from monosema.models import Transformer

ROW_BYTES = 256 << 20
"""Memory that one pass takes for contributions, where nothing else is said."""


@torch.no_grad()
def circuit_logits(
    model: Transformer,
    contrast: Contrast,
    graph: Graph,
    keep: Bool[Tensor, "versions w r"],
    stand_ins: Float[Tensor, "w n pos d_model"],
) -> Float[Tensor, "versions n vocab"]:
    """Return the logits after the last token under each of several circuits, computed as one batch.

    With all edges kept they are the clean model's; with none, those of the stand-ins alone.
    """
    exchange = (graph.allowed & ~keep).to(model.device, torch.float32)
    with exchanged(model, graph, exchange, stand_ins):
        logits = last_logits(model, contrast.clean.repeat(len(keep), 1))
    return logits.unflatten(0, (len(keep), -1))


@torch.no_grad()
def circuit_metrics(
    model: Transformer,
    contrasts: Contrasts,
    graph: Graph,
    keeps: Sequence[Bool[Tensor, "w r"]],
    ablation: Ablation,
    metric: Metric,
    row_bytes: int = ROW_BYTES,
) -> Float[Tensor, "versions n"]:
    """Return the metric of each prompt under each circuit.

    Args:
        keeps: edges that stay, one matrix a circuit.
        row_bytes: bytes of contributions that one pass may hold; rows and circuits are taken in parts that fit.
    """
    groups = []
    for group in contrasts:
        row = len(graph.writers) * group.clean.shape[1] * model.d_model * 4 * 3
        rows = max(row_bytes // row, 1)
        parts = []
        # A mean is one of the whole group, whatever part of it a pass takes.
        whole = ablation.stand_ins(model, group)
        for start in range(0, len(group), rows):
            part, values = group[start : start + rows], whole[:, start : start + rows]
            at_once = max(rows // len(part), 1)
            figures = [
                metric(circuit_logits(model, part, graph, torch.stack(list(chunk)), values), part)
                for chunk in (keeps[first : first + at_once] for first in range(0, len(keeps), at_once))
            ]
            parts.append(torch.cat(figures))
        groups.append(torch.cat(parts, dim=1))
    return torch.cat(groups, dim=1)


@torch.no_grad()
def end_metrics(
    model: Transformer, contrasts: Contrasts, metric: Metric
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return the metric of each prompt with clean and with corrupted text, of the untouched model."""
    both = [[metric(last_logits(model, ids), group) for ids in (group.clean, group.corrupt)] for group in contrasts]
    clean, corrupt = zip(*both, strict=True)
    return torch.cat(clean), torch.cat(corrupt)
