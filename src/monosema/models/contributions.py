"""Contributions of a decoder's parts to the residual stream, as they are computed.

    resid = Σ_w contribution_w + biases of the attention outputs

A head's contribution is z_h W_O,h. Where the attention's or the MLP's output is normalised before it is added (Gemma,
OLMo 2), the norm's scale is that of the pass itself and its gain is applied, so that contributions still sum to it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from monosema.core import Site
from monosema.models.context import ForwardContext
from monosema.models.decoder import Block
from monosema.models.hooks import Action
from monosema.models.transformer import Transformer

Added = Callable[[int, str, Tensor], None]
"""Told the layer (−1 for the embedding), the kind ("embed", "head" or "mlp") and the contributions of its writers,
[writers, batch, pos, d_model]."""


@contextlib.contextmanager
def each_contribution(model: Transformer, added: Added) -> Iterator[None]:
    """Tell the contributions of writers in every forward pass of the block, in the order of computation."""
    with contextlib.ExitStack() as stack:
        last = "pos_embed" if model.config.learned_positions else "embed"
        token = list[Tensor]()

        def embedded(x: Tensor, _: ForwardContext) -> Tensor:
            token[:] = [x]
            if last == "embed":
                added(-1, "embed", x[None])
            return x

        def placed(x: Tensor, _: ForwardContext) -> Tensor:
            added(-1, "embed", (token[0] + x)[None])
            return x

        stack.enter_context(model.attach("embed", embedded))
        if last == "pos_embed":
            stack.enter_context(model.attach("pos_embed", placed))
        for layer, block in enumerate(model.blocks):
            assert isinstance(block, Block)
            stack.enter_context(model.attach(Site(layer, "z"), _heads(layer, block, added)))
            stack.enter_context(model.attach(Site(layer, "mlp_out"), _mlp(layer, added)))
        yield


def _heads(layer: int, block: Block, added: Added) -> Action:
    norm, out = block.ln1_post, block.attn.o
    weights = out.weight.unflatten(1, (block.n_heads, -1))  # d_model × head × d_head

    def action(z: Tensor, _: ForwardContext) -> Tensor:
        parts = torch.einsum("bphk,dhk->hbpd", z, weights)
        if norm is not None:
            whole = parts.float().sum(0) if out.bias is None else parts.float().sum(0) + out.bias.float()
            scale = (whole.square().mean(-1, keepdim=True) + norm.eps).sqrt()
            parts = (parts / scale * norm.gain()).to(z.dtype)
        added(layer, "head", parts)
        return z

    return action


def _mlp(layer: int, added: Added) -> Action:
    def action(out: Tensor, _: ForwardContext) -> Tensor:
        added(layer, "mlp", out[None])
        return out

    return action
