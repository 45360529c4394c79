"""Attribution patching of edges: what an edge carries otherwise, times the gradient at the reader's input.

    score[w, r] = − Σ_pos ⟨stand_in_w − contribution_w, mean over α of ∂metric / ∂input_r⟩

Where α is 0 alone, the clean run, this is edge attribution patching (EAP; Syed et al. 2023, arXiv:2310.10348). With
integrated gradients (Hanna et al. 2024, arXiv:2403.17806) the gradient is averaged along a path of runs in which some
writers' outputs are moved the share α of the way to their stand-ins:

    inputs        the embedding alone, which moves all that follows from it;
    activations   one sublayer after another, each of which gives the scores of its own writers' edges, as in MIB
                  (Mueller et al. 2025, arXiv:2504.13151): a path for each sublayer;
    masks         every writer at once, which is to exchange all edges by the share α.

Scores of the writers that move sum, over all readers, to the metric's difference between the two ends of their path:
exactly with enough steps (completeness; Sundararajan et al. 2017, arXiv:1703.01365). Departure: α are Gauss–Legendre
points, whose error falls faster than that of a left Riemann sum, which never comes to the far end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from monosema.circuits.methods.gaps import Gaps
from monosema.circuits.methods.gradients import edge_products, reader_gradients
from monosema.circuits.methods.method import Part, Problem, Said, register_method, silent
from monosema.circuits.metrics import last_logits
from monosema.circuits.scores import EdgeScores
from monosema.core import Site
from monosema.models import Action, Captured, ForwardContext, each_contribution

Along = Literal["clean", "inputs", "activations", "masks"]


@dataclass(frozen=True)
class Attribution:
    """Attribution patching.

    Attributes:
        name, about: see `Method`.
        along: the path; "clean" is none, the clean run alone.
        steps: points on it.
    """

    name: str = "eap"
    about: str = "gradient at the clean run"
    along: Along = "clean"
    steps: int = 5

    def __call__(self, problem: Problem, said: Said = silent) -> EdgeScores:
        """Score all edges."""
        n = {"clean": 1, "activations": (2 * problem.model.n_layers + 1) * self.steps}.get(self.along, self.steps)
        return problem.scored(self.name, self._score, n + 1 + (self.along in ("inputs", "activations")), n)

    def _score(self, part: Part) -> Float[Tensor, "n w r"]:
        if self.along == "clean":
            return _Run(part).scores()
        groups, clean = writer_groups(part), None if self.along == "masks" else _clean_run(part)
        total = torch.zeros(len(part.contrast), *part.graph.allowed.shape, device=part.model.device)
        points, weights = np.polynomial.legendre.leggauss(self.steps)
        for group in groups if self.along == "activations" else groups[:1]:
            moved = groups if self.along == "masks" else [group]
            rows = group.rows if self.along == "activations" else slice(None)
            for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
                total[:, rows] += float(weight) * _Run(part, moved, float(point), clean).scores(rows)
        return total


@dataclass(frozen=True)
class WriterGroup:
    """Writers whose outputs are added to the stream together.

    Attributes:
        site: where their sum can be moved.
        rows: theirs in the graph.
    """

    site: Site
    rows: slice


def writer_groups(part: Part) -> list[WriterGroup]:
    """Return the embedding, then attention and MLP of each layer."""
    config, found, start = part.model.config, list[WriterGroup](), 1
    found.append(WriterGroup(Site(None, "pos_embed" if config.learned_positions else "embed"), slice(0, 1)))
    for layer in range(config.n_layers):
        for component, n in (("attn_out", config.n_heads), ("mlp_out", 1)):
            found.append(WriterGroup(Site(layer, component), slice(start, start + n)))
            start += n
    return found


@dataclass(frozen=True, eq=False)
class _Clean:
    """The clean run: gaps, and the stream after each layer."""

    gaps: Float[Tensor, "w n pos d_model"]
    streams: Captured


@torch.no_grad()
def _clean_run(part: Part) -> _Clean:
    model, gaps = part.model, Gaps(part.stand_ins)
    sites = [Site(layer, "resid_post") for layer in range(model.n_layers)]
    with each_contribution(model, gaps.add), model.capture(*sites) as streams:
        model.final_residual(part.contrast.clean, last=True)
    return _Clean(gaps.whole(), streams)


@dataclass(frozen=True, eq=False)
class _Run:
    """A run with the outputs of some groups moved a share of the way.

    Attributes:
        part: the prompts.
        moved: the groups.
        share: α.
        clean: the run whose gaps it is moved and scored by; None takes those of the run itself.
    """

    part: Part
    moved: Sequence[WriterGroup] = ()
    share: float = 0.0
    clean: _Clean | None = None

    def scores(self, rows: slice = slice(None)) -> Float[Tensor, "n some r"]:
        """Score the edges of some writers by the gradients of the run."""
        part, own = self.part, Gaps(self.part.stand_ins)
        scores = torch.zeros(len(part.contrast), *part.graph.allowed[rows].shape, device=part.model.device)
        gaps = None if self.clean is None else self.clean.gaps
        for found in reader_gradients(part.model, part.graph, part.contrast, part.metric, lambda: self._logits(own)):
            gaps = own.whole() if gaps is None else gaps
            some = gaps[: found.writers][rows]
            if len(some):
                scores[:, : len(some), found.columns] = -edge_products(some, found.values)
        return scores

    def _logits(self, own: Gaps) -> Float[Tensor, "n vocab"]:
        model, clean, tokens = self.part.model, self.clean, self.part.contrast.clean
        with contextlib.ExitStack() as stack:
            if clean is None:
                stack.enter_context(each_contribution(model, own.add))
            for group in self.moved:
                stack.enter_context(model.attach(group.site, self._moving(own, group.rows)))
            layer = self.moved[0].site.layer if self.moved else None
            if clean is None or not layer:
                return last_logits(model, tokens)
            before = Site(layer - 1, "resid_post")
            return model.logits(model.resume(before, clean.streams[before], tokens, last=True))[:, -1]

    def _moving(self, own: Gaps, rows: slice) -> Action:
        def action(x: Tensor, _: ForwardContext) -> Tensor:
            gap = own.latest() if self.clean is None else self.clean.gaps[rows].sum(0)
            # The value is x + share · gap; of what came before, the share that isn't exchanged has a gradient.
            return x + self.share * (gap + x.detach() - x)

        return action


register_method(Attribution())
register_method(Attribution("eap-ig-inputs", "gradients along a path of embeddings", "inputs"))
register_method(Attribution("eap-ig-activations", "gradients along a path of each sublayer's outputs", "activations"))
register_method(Attribution("eap-ig-masks", "gradients along the path that exchanges all edges", "masks"))
