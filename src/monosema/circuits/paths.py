"""Paths: how much of an effect goes straight to the logits, through what comes later, or along one named path.

    total       m(clean) − m(clean, w exchanged)                          as in patching
    direct      … with w exchanged for the logits alone                   the edge w->logits
    indirect    … with w exchanged for all but the logits                 through later components

(Pearl 2001; Vig et al. 2020.) Total less both others is their interaction: the final norm and later components are no
sums. Along a path w -> r -> … each component is run again with what comes from the one before it alone exchanged, and
only its own contribution goes on (Wang et al. 2022, arXiv:2211.00593; Goldowsky-Dill et al. 2023, arXiv:2304.05969).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.circuits.ablations import Ablation, Resample
from monosema.circuits.contrast import Contrast, Contrasts
from monosema.circuits.contributions import contributions, exchanged
from monosema.circuits.graph import Graph, Kind, Node, component_graph
from monosema.circuits.memory import contribution_bytes, forward_bytes, rows_within
from monosema.circuits.metrics import Metric, last_logits
from monosema.circuits.patching import (
    Ends,
    Exchanged,
    Patching,
    Said,
    require_difference,
    versions_within,
)
from monosema.circuits.scores import provenance
from monosema.core import InputError, Site, nearest
from monosema.interventions import Part, patch, side_by_side, within
from monosema.models import Fork, Transformer

EFFECTS = ("total", "direct", "indirect", "interaction")


@torch.no_grad()
def mediation(
    model: Transformer,
    contrasts: Contrasts,
    metric: Metric,
    *,
    ablation: Ablation | None = None,
    said: Said = lambda _: None,
) -> Patching:
    """Return total, direct and indirect effect of every head and MLP at all positions, and their interaction."""
    ablation, began = Resample() if ablation is None else ablation, time.perf_counter()
    groups, gaps, names = list[Tensor](), list[Tensor](), list[str]()
    for group in contrasts:
        ends = Ends.of(model, group, metric, ablation, "noising")
        cells, names = list[Tensor](), list[str]()
        for layer in range(model.n_layers):
            said(f"block {layer}")
            heads = [Part(heads=[head]) for head in range(model.n_heads)]
            cells += [_effects(model, group, Site(layer, "z"), heads, ends, metric)]
            cells += [_effects(model, group, Site(layer, "mlp_out"), [Part()], ends, metric)]
            names += [*(Node(layer, Kind.HEAD, head).name for head in range(model.n_heads)), Node(layer, Kind.MLP).name]
        groups.append(torch.cat(cells))
        gaps.append(ends.gap)
    moved, gap = torch.cat(groups, -1).cpu(), torch.cat(gaps).cpu()
    require_difference(contrasts, moved, gap)
    about = provenance(model, contrasts, metric, ablation, "mediation", 4 + len(names), began)
    return Patching(
        what="effects", direction="noising", rows=tuple(names), columns=EFFECTS, moved=moved, gap=gap, about=about
    )


def _effects(
    model: Transformer, group: Contrast, site: Site, parts: Sequence[Part], ends: Ends, metric: Metric
) -> Float[Tensor, "parts effects n"]:
    """Return the effects of parts of a site, from one run of each.

    What the site adds at the last position is put into, or taken back out of, what the final norm reads.
    """
    added = Site(site.layer, "attn_out" if site.component == "z" else "mlp_out")
    final = Site(model.n_layers - 1, "resid_post")
    values = Exchanged.of(model, group, [site], ends)
    clean = model.activations(group.clean, [added, final])
    start = Site(site.layer, "resid_pre")
    fork, found = Fork(model, start, group.clean), list[Tensor]()
    actions = [within(site, part, patch(values.put[site])) for part in parts]
    at_once = versions_within(model, group)

    def lost(residual: Tensor) -> Tensor:
        return ends.clean - metric(model.logits(model.ln_final(residual)), group)

    for first in range(0, len(actions), at_once):
        chunk = actions[first : first + at_once]
        with model.attach(site, side_by_side(chunk)), model.capture(added, final) as got:
            list(fork.run([None] * len(chunk)))
        own, whole = (got[at][:, -1].unflatten(0, (len(chunk), -1)) for at in (added, final))
        change = own - clean[added][:, -1]
        total, direct, indirect = lost(whole), lost(clean[final][:, -1] + change), lost(whole - change)
        found.append(torch.stack([total, direct, indirect, total - direct - indirect], 1))
    return torch.cat(found)


@dataclass(frozen=True, eq=False)
class Path:
    """A path through the graph.

    Attributes:
        graph: the structure.
        hops: writer and the inputs that read it, one after the other; the last may be the logits.
        name: as it was written.
    """

    graph: Graph
    hops: tuple[tuple[int, tuple[int, ...]], ...]
    name: str

    @classmethod
    def parse(cls, text: str, graph: Graph) -> Path:
        """Read `a0.h1->a3.h5<q>->logits`: nodes, each with the input that reads the one before it, or all of its own.

        A path that ends at a component instead of the logits goes on from there by all ways.

        Raises:
            InputError: fewer than two nodes, a node that there is not, or one that does not come later.
        """
        names = [part.strip() for part in text.split("->")]
        if len(names) < 2:
            raise InputError(f"{text!r} is no path: give two nodes or more, as in a0.h1->a3.h5<q>->logits.")
        writers = {node.name: row for row, node in enumerate(graph.writers)}
        hops = []
        for before, after in itertools.pairwise(names):
            row = _named(before.partition("<")[0], writers, text)
            columns = _inputs(after, graph, writers, text)
            if not all(bool(graph.allowed[row, column]) for column in columns):
                raise InputError(f"{text!r} is no path: {after} does not read {before}, which comes no earlier.")
            hops.append((row, columns))
        return cls(graph, tuple(hops), text)


def _named(name: str, known: dict[str, int], path: str) -> int:
    if name not in known:
        raise InputError(f"{path!r} is no path: there is no component {name!r} that adds.{nearest(name, known)}")
    return known[name]


def _inputs(name: str, graph: Graph, writers: dict[str, int], path: str) -> tuple[int, ...]:
    """Return the columns of a node's inputs: one where a port is named, all of its own else."""
    node, _, port = name.removesuffix(">").partition("<")
    if node == Kind.LOGITS:
        return (len(graph.readers) - 1,)
    columns = graph.inputs_of(graph.writers[_named(node, writers, path)])
    if not port:
        return tuple(columns)
    chosen = [column for column in columns if graph.readers[column].port == port]
    if not chosen:
        raise InputError(f"{path!r} is no path: {node} has no input {port!r}; heads have q, k and v.")
    return tuple(chosen)


@torch.no_grad()
def path_effects(
    model: Transformer,
    contrasts: Contrasts,
    paths: Sequence[str],
    metric: Metric,
    *,
    ablation: Ablation | None = None,
    said: Said = lambda _: None,
) -> Patching:
    """Return the effect along each path: m(clean) − m(clean, the path alone exchanged)."""
    ablation, began = Resample() if ablation is None else ablation, time.perf_counter()
    graph = component_graph(model)
    parsed = [Path.parse(path, graph) for path in paths]
    groups, gaps = list[Tensor](), list[Tensor]()
    for group in contrasts:
        ends = Ends.of(model, group, metric, ablation, "noising")
        stand_ins, length = ablation.stand_ins(model, group), group.clean.shape[1]
        rows = rows_within(4 * contribution_bytes(model, length) + forward_bytes(model, length))
        cells = []
        for path in parsed:
            said(path.name)
            parts = [metric(_along(model, part.clean, path, stand_ins(part)), part) for part in group.chunks(rows)]
            cells.append(ends.moved(torch.cat(parts)))
        groups.append(torch.stack(cells)[:, None])
        gaps.append(ends.gap)
    moved, gap = torch.cat(groups, -1).cpu(), torch.cat(gaps).cpu()
    require_difference(contrasts, moved, gap)
    passes = 4 + sum(len(path.hops) for path in parsed)
    about = provenance(model, contrasts, metric, ablation, "paths", passes, began)
    names = tuple(path.name for path in parsed)
    return Patching(
        what="paths", direction="noising", rows=names, columns=("effect",), moved=moved, gap=gap, about=about
    )


def _along(
    model: Transformer, tokens: Int[Tensor, "n pos"], path: Path, stand_ins: Float[Tensor, "w n pos d_model"]
) -> Float[Tensor, "n vocab"]:
    """Return the logits where a path alone is exchanged: the first node's contribution by its stand-in."""
    carried = stand_ins
    for hop, (row, columns) in enumerate(path.hops):
        exchange = torch.zeros(1, len(path.graph.writers), len(path.graph.readers), device=model.device)
        exchange[0, row, list(columns)] = 1
        with exchanged(model, path.graph, exchange, carried):
            if hop == len(path.hops) - 1:
                return last_logits(model, tokens)
            # The next node's own contribution, with the one before it exchanged in its inputs.
            carried = contributions(model, tokens)
    raise AssertionError("a path has a hop")
