"""Contributions of writers to the residual stream, and the reading of it with some of that exchanged.

    resid = Σ_w contribution_w + biases of the attention outputs

A head's contribution is z_h W_O,h. Where the attention's or the MLP's output is normalised before it is added (Gemma,
OLMo 2), the norm's scale is that of the pass itself and its gain is applied, so that contributions still sum to it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.circuits.graph import Graph, Kind
from monosema.core import Site
from monosema.models import Action, ForwardContext, Transformer
from monosema.models.decoder import Block

Added = Callable[[int, Kind, Tensor], None]
"""Told the layer, the kind, and the contributions of its writers, [writers, batch, pos, d_model]."""


@contextlib.contextmanager
def each_contribution(model: Transformer, added: Added) -> Iterator[None]:
    """Tell the contributions of writers in every forward pass of the block, in the order of computation."""
    with contextlib.ExitStack() as stack:
        last = "pos_embed" if model.config.learned_positions else "embed"
        token = list[Tensor]()

        def embedded(x: Tensor, _: ForwardContext) -> Tensor:
            token[:] = [x]
            if last == "embed":
                added(-1, Kind.EMBED, x[None])
            return x

        def placed(x: Tensor, _: ForwardContext) -> Tensor:
            added(-1, Kind.EMBED, (token[0] + x)[None])
            return x

        stack.enter_context(model.attach("embed", embedded))
        if last == "pos_embed":
            stack.enter_context(model.attach("pos_embed", placed))
        for layer, block in enumerate(model.blocks):
            assert isinstance(block, Block)
            stack.enter_context(model.attach(Site(layer, "z"), _heads(layer, block, added)))
            stack.enter_context(model.attach(Site(layer, "mlp_out"), _mlp(layer, added)))
        yield


@torch.no_grad()
def contributions(model: Transformer, tokens: Int[Tensor, "n pos"]) -> Float[Tensor, "w n pos d_model"]:
    """Return what each writer adds to the residual stream on a text, in the order of `component_graph`."""
    parts = list[Tensor]()
    with each_contribution(model, lambda layer, kind, x: parts.append(x)):
        model.final_residual(tokens, last=True)
    return torch.cat(parts)


@contextlib.contextmanager
def exchanged(
    model: Transformer,
    graph: Graph,
    exchange: Float[Tensor, "versions w r"],
    stand_ins: Float[Tensor, "w rows pos d_model"],
) -> Iterator[None]:
    """Let readers see the stand-ins of some writers in the place of what these add in the same pass.

        input_r = resid + Σ_w exchange[w, r] · (stand_in_w − contribution_w)

    Gradients reach `exchange`: at 0 they are the scores of edge attribution patching (Syed et al. 2023,
    arXiv:2310.10348).

    Args:
        exchange: 0 where the edge stays, 1 where it is exchanged, between them a share of it; one matrix for each
            version. The batch of the pass holds the rows of all versions, one version below another.
        stand_ins: what stands in for each writer, for the rows of one version, or for all rows of the batch.
    """
    gaps, versions = list[Tensor](), len(exchange)

    def added(layer: int, kind: Kind, x: Tensor) -> None:
        if layer < 0:
            gaps.clear()
        first = sum(map(len, gaps))
        own = x.unflatten(1, (versions, -1))  # w × versions × n × pos × d_model
        values = stand_ins[first : first + len(x)]
        values = values.unflatten(1, (versions, -1)) if values.shape[1] == x.shape[1] else values[:, None]
        gaps.append((values - own).to(x.dtype))

    def seen(columns: slice, writers: int) -> Callable[[Tensor], Tensor]:
        def change(x: Tensor) -> Tensor:
            shares = exchange[:, :writers, columns]
            if not (shares.requires_grad or bool(shares.any())):
                return x
            # One product over all writers: a sum writer by writer would go through the whole of x each time.
            gaps[:] = [torch.cat(gaps)] if len(gaps) > 1 else gaps
            moved = torch.einsum("vwr,wvnpd->vnprd", shares.to(x.dtype), gaps[0][:writers]).flatten(0, 1)
            return x + (moved if x.ndim == 4 else moved[:, :, 0])

        return change

    with contextlib.ExitStack() as stack:
        stack.enter_context(each_contribution(model, added))
        for site, columns, writers in reader_sites(model, graph):
            stack.enter_context(model.attach(site, _reading(seen(columns, writers))))
        yield


def reader_sites(model: Transformer, graph: Graph) -> list[tuple[Site, slice, int]]:
    """Return the sites of all readers: the site, the columns of the readers there, and the writers that they see.

    Of a head's inputs the value there is [batch, pos, head, d_model]; of others [batch, pos, d_model]. The logits read
    what the last block leaves.
    """
    config, found, start = model.config, list[tuple[Site, slice, int]](), 0
    for layer in range(config.n_layers):
        seen = graph.writers_before(layer, Kind.HEAD)
        for name, n in (("q_input", config.n_heads), ("k_input", config.n_kv_heads), ("v_input", config.n_kv_heads)):
            found.append((Site(layer, name), slice(start, start + n), seen))
            start += n
        found.append((Site(layer, "mlp_in"), slice(start, start + 1), graph.writers_before(layer, Kind.MLP)))
        start += 1
    final = Site(config.n_layers - 1, "resid_post")
    return [*found, (final, slice(start, start + 1), len(graph.writers))]


def _reading(change: Callable[[Tensor], Tensor]) -> Action:
    def action(x: Tensor, _: ForwardContext) -> Tensor:
        return change(x)

    return action


def _heads(layer: int, block: Block, added: Added) -> Action:
    norm, out = block.ln1_post, block.attn.o
    weights = out.weight.unflatten(1, (block.n_heads, -1))  # d_model × head × d_head

    def action(z: Tensor, _: ForwardContext) -> Tensor:
        parts = torch.einsum("bphk,dhk->hbpd", z, weights)
        if norm is not None:
            whole = parts.float().sum(0) if out.bias is None else parts.float().sum(0) + out.bias.float()
            scale = (whole.square().mean(-1, keepdim=True) + norm.eps).sqrt()
            parts = (parts / scale * norm.gain()).to(z.dtype)
        added(layer, Kind.HEAD, parts)
        return z

    return action


def _mlp(layer: int, added: Added) -> Action:
    def action(out: Tensor, _: ForwardContext) -> Tensor:
        added(layer, Kind.MLP, out[None])
        return out

    return action
