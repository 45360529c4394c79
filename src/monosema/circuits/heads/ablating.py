"""Heads and layers ablated, singly or together: the figure of every text with their outputs replaced.

    z_h ← z̃_h  for the heads of a set,     mlp_out ← its stand-in  for its MLPs

All else follows freely. Sets whose first component lies in the same block share the blocks before it: they go on from
one fork as a batch. Stand-ins come from other texts of the same form (resample, mean), or are zeros.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.circuits.graph import Kind, Node
from monosema.circuits.memory import forward_bytes, rows_within
from monosema.core import Site
from monosema.models import Action, ForwardContext, Transformer
from monosema.models.forking import Fork

StandIns = Mapping[Site, Tensor]
"""Values at `z` and `mlp_out` of every layer, [n, pos, …]; a first dimension of 1 serves all texts."""
Read = Callable[[Tensor], Tensor]
"""From the normalised final residual stream, [n, pos, d_model], to a figure for each text, [n]."""


def component_outputs(model: Transformer, tokens: Int[Tensor, "n pos"]) -> StandIns:
    """Return what all heads and MLPs give on a text, to stand in elsewhere."""
    return model.activations(
        tokens, [Site(layer, name) for layer in range(model.n_layers) for name in ("z", "mlp_out")]
    )


def means(outputs: StandIns) -> StandIns:
    """Return the means over texts, position by position."""
    return {site: values.mean(0, keepdim=True) for site, values in outputs.items()}


def all_heads(model: Transformer) -> tuple[Node, ...]:
    """Return all heads, layer by layer."""
    config = model.config
    return tuple(Node(layer, Kind.HEAD, head) for layer in range(config.n_layers) for head in range(config.n_heads))


def layer_sets(model: Transformer) -> tuple[tuple[Node, ...], ...]:
    """Return the heads and the MLP of each layer."""
    heads, n = all_heads(model), model.n_heads
    return tuple((*heads[n * layer : n * (layer + 1)], Node(layer, Kind.MLP)) for layer in range(model.n_layers))


@torch.no_grad()
def ablated(
    model: Transformer,
    tokens: Int[Tensor, "n pos"],
    sets: Sequence[Sequence[Node]],
    stand_ins: StandIns,
    read: Read,
) -> Float[Tensor, "sets n"]:
    """Return the figure of each text with each set of components ablated; an empty set is the untouched model."""
    at_once = max(rows_within(forward_bytes(model, tokens.shape[1])) // len(tokens), 1)
    figures: dict[int, Tensor] = {}
    for layer in range(model.n_layers):
        here = [number for number, nodes in enumerate(sets) if min((n.layer for n in nodes), default=0) == layer]
        if not here:
            continue
        fork = Fork(model, Site(layer, "resid_pre"), tokens)
        for start in range(0, len(here), at_once):
            chunk = here[start : start + at_once]
            with replaced(model, [sets[number] for number in chunk], stand_ins):
                for number, x in zip(chunk, fork.run([None] * len(chunk)), strict=True):
                    figures[number] = read(x)
    return torch.stack([figures[number] for number in range(len(sets))])


@contextlib.contextmanager
def replaced(model: Transformer, versions: Sequence[Sequence[Node]], stand_ins: StandIns) -> Iterator[None]:
    """Replace the outputs of a set of components in each version; the batch holds one version below another."""
    by_site = dict[Site, list[tuple[int, Node]]]()
    for number, nodes in enumerate(versions):
        for node in nodes:
            by_site.setdefault(Site(node.layer, "z" if node.kind is Kind.HEAD else "mlp_out"), []).append(
                (number, node)
            )
    with contextlib.ExitStack() as stack:
        for site, cells in by_site.items():
            stack.enter_context(model.attach(site, _placing(cells, len(versions), stand_ins[site])))
        yield


def _placing(cells: Sequence[tuple[int, Node]], versions: int, values: Tensor) -> Action:
    def action(x: Tensor, _: ForwardContext) -> Tensor:
        changed = x.unflatten(0, (versions, -1)).clone()
        for number, node in cells:
            if node.kind is Kind.HEAD:
                changed[number, :, :, node.head] = values[:, :, node.head].to(x.dtype)
            else:
                changed[number] = values.to(x.dtype)
        return changed.flatten(0, 1)

    return action
