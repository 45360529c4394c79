"""Exact scores: every edge, or node, exchanged alone, and the rest of the model run again.

The layers before a reader are the clean run's for all of its edges, so they are run once; versions go on from there
below each other as one batch. Of the reader's own layer only that reader is computed anew.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monosema.circuits.contributions import reader_sites
from monosema.circuits.graph import Kind
from monosema.circuits.memory import forward_bytes, rows_within
from monosema.circuits.methods.gaps import Gaps
from monosema.circuits.methods.method import Part, Problem, Said, register_method, silent
from monosema.circuits.scores import EdgeScores, NodeScores
from monosema.core import Site
from monosema.models import each_contribution
from monosema.models.context import DecoderContext
from monosema.models.decoder import Block

EXACT = "exact"
"""Name of the method that others are verified by."""


@dataclass(frozen=True)
class Exact:
    """Every edge exchanged alone.

    Attributes:
        name, about: see `Method`.
    """

    name: str = EXACT
    about: str = "every edge exchanged alone"

    def __call__(self, problem: Problem, said: Said = silent) -> EdgeScores:
        """Measure all edges."""
        graph = problem.graph

        def score(part: Part) -> Tensor:
            return exact_edges(part, graph.allowed, said)

        return problem.scored(self.name, score, graph.n_edges + 2)


@torch.no_grad()
def exact_edges(part: Part, edges: Bool[Tensor, "w r"], said: Said = silent) -> Float[Tensor, "n w r"]:
    """Return the exact scores of some edges; those of others are 0."""
    clean = CleanRun(part)
    scores = torch.zeros(len(part.contrast), *edges.shape, device=part.model.device)
    done, total = 0, int(edges.sum())
    for site, columns, seen in reader_sites(part.model, part.graph):
        for reader, column in enumerate(range(columns.start, columns.stop)):
            rows = edges[:seen, column].nonzero()[:, 0]
            for some in rows.split(clean.at_once) if len(rows) else ():
                moved = clean.gaps[some.to(clean.gaps.device)]
                scores[:, some, column] = (clean.metric - clean.read(site, reader, moved)).T
            done += len(rows)
        length = part.contrast.clean.shape[1]
        said(f"{done:,} of {total:,} edges exchanged, on {len(part.contrast)} prompts of {length} tokens")
    return scores


def exact_nodes(problem: Problem) -> NodeScores:
    """Return the exact score of every writer: its contribution exchanged for all that read it."""
    began, graph, found = time.perf_counter(), problem.graph, list[Tensor]()
    for part in problem.parts():
        clean = CleanRun(part)
        scores = torch.zeros(len(part.contrast), len(graph.writers), device=part.model.device)
        for row, node in enumerate(graph.writers):
            scores[:, row] = (clean.metric - clean.write(node.layer, node.kind, clean.gaps[row : row + 1]))[0]
        found.append(scores.cpu())
    about = problem.about("exact", began, len(graph.writers) + 2)
    return NodeScores(nodes=graph.writers, by_prompt=torch.cat(found), about=about)


class CleanRun:
    """The clean run of some prompts, from which versions go on.

    Attributes:
        gaps: stand-ins less contributions, one for each writer.
        metric: of each prompt.
    """

    @torch.no_grad()
    def __init__(self, part: Part) -> None:
        self._part, model, gaps = part, part.model, Gaps(part.stand_ins)
        layers = range(model.n_layers)
        names = ("resid_pre", "q", "k", "v", "z", "mlp_in", "mlp_out", "attn_out", "resid_post")
        with (
            each_contribution(model, gaps.add),
            model.capture(*(Site(layer, name) for layer in layers for name in names)) as seen,
        ):
            logits = model(part.contrast.clean, last=True)[:, -1]
        self._seen, self.gaps = seen, gaps.whole()
        self.metric = part.metric(logits, part.contrast)

    @property
    def at_once(self) -> int:
        """Number of versions that run as one batch."""
        n, length = self._part.contrast.clean.shape
        return max(rows_within(forward_bytes(self._part.model, length)) // n, 1)

    @torch.no_grad()
    def read(self, site: Site, reader: int, moved: Float[Tensor, "v n pos d_model"]) -> Float[Tensor, "v n"]:
        """Return the metric of each prompt where one reader at a site sees its input moved.

        Args:
            reader: its index among those at the site.
            moved: what is added to the input, for each version.
        """
        model, layer = self._part.model, site.layer
        assert layer is not None
        block = cast(Block, model.blocks[layer])
        if site.component == "resid_post":
            return self._finished(model.ln_final((self._seen[site] + moved)[:, :, -1]))
        if site.component == "mlp_in":
            read = self._clean(layer, "mlp_in") + moved[:, :, self._needed(layer)]
            out = block.mlp((read if block.ln2 is None else block.ln2(read)).flatten(0, 1))
            out = (out if block.ln2_post is None else block.ln2_post(out)).unflatten(0, (len(moved), -1))
            return self._resumed(layer, "resid_post", out - self._clean(layer, "mlp_out"))
        attended = self._attended(block, site, reader, moved)
        after = "resid_post" if block.parallel else "mlp_in"
        return self._resumed(layer, after, attended - self._clean(layer, "attn_out"))

    @torch.no_grad()
    def write(self, layer: int, kind: str, moved: Float[Tensor, "v n pos d_model"]) -> Float[Tensor, "v n"]:
        """Return the metric of each prompt where what a writer adds to the stream is moved."""
        if kind == Kind.EMBED:
            return self._resumed(0, "resid_pre", moved)
        parallel = self._part.model.config.parallel
        return self._resumed(layer, "mlp_in" if kind == Kind.HEAD and not parallel else "resid_post", moved)

    def mixed(
        self, site: Site, reader: int, moved: Float[Tensor, "v n pos d_model"]
    ) -> tuple[slice, Float[Tensor, "v n needed head d_head"]]:
        """Return the heads that read by a query, key or value input, and their z where that input is moved."""
        layer = site.layer
        assert layer is not None
        attn, ln1 = cast(Block, self._part.model.blocks[layer]).attn, cast(Block, self._part.model.blocks[layer]).ln1
        stream = self._seen[Site(layer, "resid_pre")] + moved
        index, width, versions = "qkv".index(site.component[0]), attn.d_head, len(moved)
        first = sum(attn.sizes[:index]) + reader * width
        weight, bias = attn.qkv.weight[first : first + width], attn.qkv.bias
        changed = torch.nn.functional.linear(
            stream if ln1 is None else ln1(stream), weight, None if bias is None else bias[first : first + width]
        )
        shared = attn.n_heads // attn.n_kv_heads
        group = reader if index else reader // shared
        # Norms across heads need them all.
        kv = slice(None) if attn.across else slice(group, group + 1)
        heads = slice(None) if attn.across else slice(group * shared, (group + 1) * shared)
        values = [
            self._seen[Site(layer, name)][:, :, some].repeat(versions, 1, 1, 1)
            for name, some in zip("qkv", (heads, kv, kv), strict=True)
        ]
        own = reader if attn.across else 0 if index else reader % shared
        values[index][:, :, own] = changed.flatten(0, 1)
        q, k, v = values
        z = attn.mixed(q[:, self._needed(layer)], k, v, DecoderContext(self._tokens(versions)))
        return heads, z.unflatten(0, (versions, -1))

    def clean_z(self, layer: int) -> Float[Tensor, "n needed head d_head"]:
        """Return what all heads of a layer take on the clean prompt, at the positions that are read."""
        return self._clean(layer, "z")

    def _attended(self, block: Block, site: Site, reader: int, moved: Tensor) -> Tensor:
        assert site.layer is not None
        heads, changed = self.mixed(site, reader, moved)
        z = self.clean_z(site.layer).repeat(len(moved), 1, 1, 1)
        z[:, :, heads] = changed.flatten(0, 1)
        out = block.attn.o(z.flatten(-2))
        return (out if block.ln1_post is None else block.ln1_post(out)).unflatten(0, (len(moved), -1))

    def _needed(self, layer: int) -> slice:
        # Of what the last block adds, the last position alone is read.
        return slice(-1 if layer == self._part.model.n_layers - 1 else 0, None)

    def _clean(self, layer: int, component: str) -> Float[Tensor, "n needed *width"]:
        return self._seen[Site(layer, component)][:, self._needed(layer)]

    def _tokens(self, versions: int) -> Tensor:
        return self._part.contrast.clean.repeat(versions, 1)

    def _resumed(self, layer: int, component: str, moved: Float[Tensor, "v n _ d_model"]) -> Tensor:
        x = (self._seen[Site(layer, component)][:, -moved.shape[2] :] + moved).flatten(0, 1)
        site = Site(layer, "resid_mid" if component == "mlp_in" else component)
        tokens = self._tokens(len(moved))[:, -moved.shape[2] :]
        final = self._part.model.resume(site, x, tokens, last=True)
        return self._finished(final[:, -1].unflatten(0, (len(moved), -1)))

    def _finished(self, final: Float[Tensor, "v n d_model"]) -> Float[Tensor, "v n"]:
        return self._part.metric(self._part.model.logits(final), self._part.contrast)


register_method(Exact())
