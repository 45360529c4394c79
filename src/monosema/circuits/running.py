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
from monosema.circuits.memory import contribution_bytes, forward_bytes, rows_within
from monosema.circuits.metrics import Metric, last_logits
from monosema.models import Transformer


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
) -> Float[Tensor, "versions n"]:
    """Return the metric of each prompt under each circuit; rows and circuits are taken in parts that fit memory.

    Args:
        keeps: edges that stay, one matrix a circuit.
    """
    groups = []
    for group in contrasts:
        length = group.clean.shape[1]
        rows = rows_within(3 * contribution_bytes(model, length) + forward_bytes(model, length))
        parts = []
        stand_ins = ablation.stand_ins(model, group)
        for part in group.chunks(rows):
            values = stand_ins(part)
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
