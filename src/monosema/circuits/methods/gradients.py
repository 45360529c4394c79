"""Gradients of a metric with respect to the input of every reader, by one plain pass forward and back.

Readers of one layer share their input, so a gradient of each alone would need a copy of the residual stream for each of
them. Instead gradients are taken at queries, keys and values, and carried back to the input of one head by its own
weights and the norm's Jacobian: the same numbers, without a copy in the model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.circuits.contrast import Contrast
from monosema.circuits.contributions import reader_sites
from monosema.circuits.graph import Graph
from monosema.circuits.metrics import Metric, last_logits
from monosema.core import Site
from monosema.models import Action, ForwardContext, Transformer
from monosema.models.decoder import Block, Norm

_OUTPUT_OF = {"q_input": "q", "k_input": "k", "v_input": "v"}


@dataclass(frozen=True, eq=False)
class ReaderGradient:
    """Gradients with respect to the inputs of the readers at one site.

    Attributes:
        site: where they read.
        columns: theirs in the graph.
        writers: the first ones, which they see.
        values: one for each reader.
    """

    site: Site
    columns: slice
    writers: int
    values: Float[Tensor, "n r pos d_model"]


def reader_gradients(
    model: Transformer,
    graph: Graph,
    contrast: Contrast,
    metric: Metric,
    run: Callable[[], Float[Tensor, "n vocab"]] | None = None,
    *,
    frozen_norms: bool = False,
) -> Iterator[ReaderGradient]:
    """Give the gradients of the metric, site by site; sites that nothing reaches are left out.

    Args:
        run: makes the pass and returns the logits after the last token; None is the clean prompt's.
        frozen_norms: take the scales of the norms before attention as constants.
    """
    nodes, streams, sites = dict[Site, Tensor](), dict[Site, Tensor](), reader_sites(model, graph)
    with torch.enable_grad(), contextlib.ExitStack() as stack:
        for site, _, _ in sites:
            if site.component == "q_input" and model.config.norm_inputs:
                place = Site(site.layer, "resid_pre")
                stack.enter_context(_optional(model, place, _kept(streams, place)))
            stack.enter_context(_optional(model, _taken_at(site), _node(nodes, site)))
        logits = last_logits(model, contrast.clean) if run is None else run()
        figures = metric(logits, contrast).sum()
    reached = [(site, columns, seen) for site, columns, seen in sites if site in nodes]
    found = torch.autograd.grad(figures, [nodes[site] for site, _, _ in reached], allow_unused=True)
    for (site, columns, seen), gradient in zip(reached, found, strict=True):
        if gradient is None:
            continue
        if site.component in _OUTPUT_OF:
            assert site.layer is not None
            block = model.blocks[site.layer]
            assert isinstance(block, Block)
            values = through_weights(block, site.component, gradient)
            if block.ln1 is not None:
                stream = streams[Site(site.layer, "resid_pre")]
                values = through_norm(block.ln1, stream[:, None], values, frozen=frozen_norms)
        else:
            values = gradient[:, None]
        yield ReaderGradient(site, columns, seen, values)


def through_weights(
    block: Block, port: str, gradient: Float[Tensor, "n pos head d_head"]
) -> Float[Tensor, "n head pos d_model"]:
    """Return W_hᵀ g for each head of queries, keys or values: the gradient with respect to its normalised input."""
    index = [*_OUTPUT_OF].index(port)
    weights = block.attn.qkv.weight.split(block.attn.sizes)[index].detach().unflatten(0, (-1, block.attn.d_head))
    return torch.einsum("nphk,hkd->nhpd", gradient, weights)


def through_norm(
    norm: Norm, x: Float[Tensor, "*#batch d_model"], gradient: Float[Tensor, "*batch d_model"], *, frozen: bool = False
) -> Float[Tensor, "*batch d_model"]:
    """Return Jᵀ g, where J is the Jacobian of the norm at x; of one whose scale is a constant, where it is `frozen`."""
    centred = x - x.mean(-1, keepdim=True) if norm.kind == "layer" else x
    scale = (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt()
    carried = gradient * norm.gain().detach()
    if not frozen:
        normed = centred / scale
        carried = carried - normed * (carried * normed).mean(-1, keepdim=True)
    if norm.kind == "layer":
        carried = carried - carried.mean(-1, keepdim=True)
    return carried / scale


def edge_products(
    gaps: Float[Tensor, "w n pos d_model"], gradients: Float[Tensor, "n r pos d_model"]
) -> Float[Tensor, "n w r"]:
    """Return the inner products of all gaps with all gradients, over positions and dimensions."""
    return gaps.flatten(2).transpose(0, 1) @ gradients.flatten(2).transpose(1, 2)


def _taken_at(site: Site) -> Site:
    return Site(site.layer, _OUTPUT_OF.get(site.component, site.component))


def _optional(model: Transformer, site: Site, action: Action) -> contextlib.AbstractContextManager[None]:
    # A pass that goes on from a later site doesn't come to all of them.
    return model.hooks.attach(site, action)


def _kept(streams: dict[Site, Tensor], site: Site) -> Action:
    def action(x: Tensor, _: ForwardContext) -> Tensor:
        streams[site] = x.detach()
        return x

    return action


def _node(nodes: dict[Site, Tensor], site: Site) -> Action:
    def action(x: Tensor, _: ForwardContext) -> Tensor:
        # A node of its own: at `mlp_in` the stream itself goes on beside it.
        nodes[site] = x.view_as(x) if x.requires_grad else x.detach().requires_grad_()
        return nodes[site]

    return action
