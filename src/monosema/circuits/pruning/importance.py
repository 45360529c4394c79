"""Importance of layers, heads and neurons: what pruning keeps. An open list, `IMPORTANCES`.

effect      loss of the text with the part put to zero, less that of the whole model: measured, a pass for each part
gradient    |Σ a · ∂loss/∂a| over a window, mean over windows: one backward pass for all (Michel et al. 2019,
            arXiv:1905.10650, for heads; Molchanov et al. 2019, arXiv:1906.10771)
magnitude   size of the weights alone
random      chance
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.circuits.graph import Kind, Node
from monosema.circuits.heads.ablating import ablated
from monosema.core import InputError, Site, nearest, torch_generator
from monosema.models import Transformer
from monosema.models.decoder import Block
from monosema.models.forking import Fork

Unit = Literal["heads", "neurons", "layers"]
"""A kind of part that is removed; heads that share keys and values are one."""
Tokens = Int[Tensor, "n pos"]
Importance = Callable[[Transformer, Sequence[Tokens], Unit, int], Float[Tensor, "layer part"]]
"""From a model, batches of text, the unit and a seed to a figure for each part, higher for what matters more; a layer
is one part."""


def text_loss(model: Transformer, tokens: Tokens) -> Callable[[Tensor], Float[Tensor, " n"]]:
    """Return the reading of each window's mean loss from the final residual stream, in nats a token."""

    def read(x: Tensor) -> Tensor:
        logits = model.logits(x[:, :-1]).float()
        return -logits.log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0].mean(-1)

    return read


@torch.no_grad()
def by_effect(model: Transformer, batches: Sequence[Tokens], unit: Unit, seed: int) -> Float[Tensor, "layer part"]:
    """Return the loss that each part's removal adds, in nats a token. Raises InputError for neurons: they are many."""
    config = model.config
    if unit == "neurons":
        raise InputError("An effect takes a pass for each part, and neurons are many: choose gradient for them.")
    total = torch.zeros(config.n_layers, 1 if unit == "layers" else config.n_kv_heads)
    for tokens in batches:
        read = text_loss(model, tokens)
        if unit == "heads":
            shared = config.n_heads // config.n_kv_heads
            pairs = [(layer, pair) for layer in range(config.n_layers) for pair in range(config.n_kv_heads)]
            sets = [
                tuple(Node(layer, Kind.HEAD, pair * shared + query) for query in range(shared)) for layer, pair in pairs
            ]
            zero = torch.zeros(1, 1, config.n_heads, config.d_head, device=model.device)
            zeros = {Site(layer, "z"): zero for layer in range(config.n_layers)}
            losses = ablated(model, tokens, [(), *sets], zeros, read).mean(1)
            total += (losses[1:] - losses[0]).view_as(total).cpu()
        else:
            for layer in range(config.n_layers):
                before = Fork(model, Site(layer, "resid_pre"), tokens)
                (whole,) = before.run([None])
                last = layer == config.n_layers - 1
                x = (
                    model.ln_final(before.activation)
                    if last
                    else model.resume(Site(layer + 1, "resid_pre"), before.activation, tokens)
                )
                total[layer] += (read(x) - read(whole)).mean().cpu()
    return total / len(batches)


def by_gradient(model: Transformer, batches: Sequence[Tokens], unit: Unit, seed: int) -> Float[Tensor, "layer part"]:
    """Return the first-order estimate of what each part's removal changes in the loss, its sign left out."""
    config = model.config
    names = {"heads": ("z",), "neurons": ("mlp.post",), "layers": ("attn_out", "mlp_out")}[unit]
    sites = [[Site(layer, name) for name in names] for layer in range(config.n_layers)]
    total = torch.zeros(0)
    for tokens in batches:
        with contextlib.ExitStack() as stack, torch.enable_grad():
            got = stack.enter_context(model.capture(*(site for layer in sites for site in layer), gradients=True))
            loss = text_loss(model, tokens)(model.final_residual(tokens)).sum()
        flat = [got[site] for layer in sites for site in layer]
        parts = []
        for value, gradient in zip(flat, torch.autograd.grad(loss, flat), strict=True):
            product = (value * gradient).detach().sum(1)  # n × part, or n × head × d_head, or n × d_model
            if unit == "heads":
                product = product.unflatten(1, (config.n_kv_heads, -1)).sum((2, 3))
            parts.append(product.sum(-1, keepdim=True) if unit == "layers" else product)
        by_layer = torch.stack(parts).unflatten(0, (config.n_layers, len(names))).sum(1)
        batch = by_layer.abs().mean(1).cpu()
        total = batch if not len(total) else total + batch
    return total / len(batches)


def by_magnitude(model: Transformer, batches: Sequence[Tokens], unit: Unit, seed: int) -> Float[Tensor, "layer part"]:
    """Return the root of the sum of squares of all weights of each part."""
    config = model.config
    rows = []
    for block in model.blocks:
        assert isinstance(block, Block)
        q, k, v = (part.float().square().sum(1) for part in block.attn.qkv.weight.split(block.attn.sizes))
        o = block.attn.o.weight.float().square().sum(0)
        heads = torch.stack([one.unflatten(0, (config.n_kv_heads, -1)).sum(1) for one in (q, k, v, o)]).sum(0)
        inner = block.mlp.inner.weight.float().square().sum(1).view(-1, config.d_mlp).sum(0)
        neurons = inner + block.mlp.out.weight.float().square().sum(0)
        rows.append({"heads": heads, "neurons": neurons, "layers": (heads.sum() + neurons.sum())[None]}[unit].sqrt())
    return torch.stack(rows).cpu()


def by_chance(model: Transformer, batches: Sequence[Tokens], unit: Unit, seed: int) -> Float[Tensor, "layer part"]:
    """Return numbers drawn at random."""
    config = model.config
    parts = {"heads": config.n_kv_heads, "neurons": config.d_mlp, "layers": 1}[unit]
    return torch.rand(config.n_layers, parts, generator=torch_generator(seed, "pruned at random", unit))


IMPORTANCES: dict[str, Importance] = {
    "effect": by_effect,
    "gradient": by_gradient,
    "magnitude": by_magnitude,
    "random": by_chance,
}
"""Importances by name."""


def register_importance(name: str, importance: Importance) -> None:
    """Add an importance to the open list."""
    IMPORTANCES[name] = importance


def importance_named(name: str) -> Importance:
    """Return an importance by its name. Raises InputError where there is none."""
    if name not in IMPORTANCES:
        names = ", ".join(IMPORTANCES)
        raise InputError(f"There is no importance {name!r}.{nearest(name, IMPORTANCES)} Importances: {names}.")
    return IMPORTANCES[name]
