"""Contributions of writers to the residual stream, and the reading of it with some of that exchanged."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.circuits.graph import Graph, Kind
from monosema.core import Site
from monosema.models import Action, ForwardContext, Transformer, each_contribution


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

    def added(layer: int, _: str, x: Tensor) -> None:
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
