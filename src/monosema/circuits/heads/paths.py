"""Paths from heads: what a head's output does straight to the logits, or through what later heads ask for.

    straight    the final residual stream with the head's contribution exchanged, nothing else recomputed
    queries     the query inputs of all later heads read the exchanged contribution, everything else the own one

Effects are metric(clean) − metric(exchanged), with the corrupted prompt's contribution in place: the edges `h->logits`
and `h->…<q>` of the graph, all at once. Source: path patching, Wang et al. 2022, arXiv:2211.00593.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.circuits.contrast import Contrast
from monosema.circuits.contributions import contributions
from monosema.circuits.graph import Node, component_graph
from monosema.circuits.memory import contribution_bytes, forward_bytes, rows_within
from monosema.circuits.metrics import Metric
from monosema.core import Site
from monosema.models import Action, ForwardContext, Transformer
from monosema.models.forking import Fork

PathKind = Literal["straight", "queries"]
"""Where the exchanged contribution is read."""


@torch.no_grad()
def effects_along(
    model: Transformer,
    contrast: Contrast,
    heads: Sequence[Node],
    path: PathKind,
    metric: Metric,
) -> Float[Tensor, "head n"]:
    """Return what each head does along a path, on each prompt."""
    graph = component_graph(model)
    rows = [graph.writer_index[head] for head in heads]
    length, parts = contrast.clean.shape[1], []
    for part in contrast.chunks(rows_within(3 * contribution_bytes(model, length) + forward_bytes(model, length))):
        gaps = contributions(model, part.corrupt)[rows] - contributions(model, part.clean)[rows]
        parts.append((_straight if path == "straight" else _queries)(model, part, heads, gaps, metric))
    return torch.cat(parts, dim=1)


def _straight(
    model: Transformer, part: Contrast, heads: Sequence[Node], gaps: Float[Tensor, "head n pos d_model"], metric: Metric
) -> Float[Tensor, "head n"]:
    final = Site(model.n_layers - 1, "resid_post")
    whole = model.activations(part.clean, [final])[final][:, -1]
    clean, changed = (metric(model.logits(model.ln_final(x)), part) for x in (whole, whole + gaps[:, :, -1]))
    return clean - changed


def _queries(
    model: Transformer, part: Contrast, heads: Sequence[Node], gaps: Float[Tensor, "head n pos d_model"], metric: Metric
) -> Float[Tensor, "head n"]:
    effects = torch.zeros(gaps.shape[:2], device=gaps.device)
    clean = metric(model.next_logits(part.clean), part)
    for layer in range(model.n_layers - 1):
        here = [number for number, head in enumerate(heads) if head.layer == layer]
        if not here:
            continue
        fork = Fork(model, Site(layer + 1, "resid_pre"), part.clean)
        with contextlib.ExitStack() as stack:
            for later in range(layer + 1, model.n_layers):
                stack.enter_context(model.attach(Site(later, "q_input"), _adding(gaps[here])))
            for number, x in zip(here, fork.run([None] * len(here)), strict=True):
                effects[number] = clean - metric(model.logits(x[:, -1]), part)
    return effects


def _adding(gaps: Float[Tensor, "versions n pos d_model"]) -> Action:
    def action(x: Tensor, _: ForwardContext) -> Tensor:
        return x + gaps.flatten(0, 1)[:, :, None].to(x.dtype)

    return action
