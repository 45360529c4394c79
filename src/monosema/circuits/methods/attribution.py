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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from monosema.circuits.ablations import Ablation
from monosema.circuits.contrast import Contrasts
from monosema.circuits.contributions import each_contribution
from monosema.circuits.graph import Kind
from monosema.circuits.methods.gradients import reader_gradients
from monosema.circuits.methods.method import Part, Passes, Said, register_method, score_parts
from monosema.circuits.metrics import Metric, last_logits
from monosema.circuits.running import ROW_BYTES
from monosema.circuits.scores import EdgeScores
from monosema.core import Site
from monosema.models import Action, ForwardContext, Transformer

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

    def __call__(
        self,
        model: Transformer,
        contrasts: Contrasts,
        ablation: Ablation,
        metric: Metric,
        *,
        row_bytes: int = ROW_BYTES,
        said: Said = lambda _: None,
    ) -> EdgeScores:
        """Score all edges."""
        return score_parts(self.name, self._score, self._passes, model, contrasts, ablation, metric, row_bytes)

    def _passes(self, model: Transformer) -> Passes:
        n = {"clean": 1, "activations": (2 * model.n_layers + 1) * self.steps}.get(self.along, self.steps)
        return Passes(forward=float(n + 1 + (self.along in ("inputs", "activations"))), backward=float(n))

    def _score(self, part: Part) -> Float[Tensor, "n w r"]:
        if self.along == "clean":
            return _scored(part, (), 0.0)
        groups = writer_groups(part)
        paths = [[group] for group in groups] if self.along == "activations" else [groups]
        if self.along == "inputs":
            paths = [groups[:1]]
        points, weights = np.polynomial.legendre.leggauss(self.steps)
        total = torch.zeros(len(part.contrast), *part.graph.allowed.shape, device=part.model.device)
        clean = None if self.along == "masks" else gaps_of(part)
        for path in paths:
            rows = path[0].rows if self.along == "activations" else slice(None)
            for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
                total[:, rows] += float(weight) * _scored(part, path, float(point), clean)[:, rows]
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


@torch.no_grad()
def gaps_of(part: Part) -> Float[Tensor, "w n pos d_model"]:
    """Return the stand-ins less the contributions of the clean run."""
    gaps = _Gaps(part.stand_ins)
    with each_contribution(part.model, gaps.add):
        part.model.final_residual(part.contrast.clean, last=True)
    return gaps.whole()


class _Gaps:
    """Stand-ins less what the writers of a pass add, gathered while it runs."""

    def __init__(self, stand_ins: Float[Tensor, "w n pos d_model"]) -> None:
        self._stand_ins, self._parts = stand_ins, list[Tensor]()

    @torch.no_grad()
    def add(self, layer: int, kind: Kind, x: Tensor) -> None:
        """Take the contributions of the next writers."""
        first = sum(map(len, self._parts))
        self._parts.append(self._stand_ins[first : first + len(x)] - x.detach())

    def latest(self, _: slice) -> Float[Tensor, "n pos d_model"]:
        """Return the sum over the writers that were added last."""
        return self._parts[-1].sum(0)

    def whole(self) -> Float[Tensor, "w n pos d_model"]:
        """Return those of all writers."""
        return torch.cat(self._parts)


def _scored(
    part: Part, moved: Sequence[WriterGroup], share: float, clean: Float[Tensor, "w n pos d_model"] | None = None
) -> Float[Tensor, "n w r"]:
    """Score edges by the gradients of one run, with some groups moved a share of the way.

    Args:
        clean: gaps to score with; None takes those of the run itself.
    """
    model, own = part.model, _Gaps(part.stand_ins)

    def run() -> Tensor:
        with contextlib.ExitStack() as stack:
            if clean is None:
                stack.enter_context(each_contribution(model, own.add))
            for group in moved:
                gap = own.latest if clean is None else lambda rows: clean[rows].sum(0)
                stack.enter_context(model.attach(group.site, _moving(gap, group.rows, share)))
            return last_logits(model, part.contrast.clean)

    scores = torch.zeros(len(part.contrast), *part.graph.allowed.shape, device=model.device)
    gaps = clean
    for found in reader_gradients(model, part.graph, part.contrast, part.metric, run):
        gaps = own.whole() if gaps is None else gaps
        scores[:, : found.writers, found.columns] = -edge_products(gaps[: found.writers], found.values)
    return scores


def edge_products(
    gaps: Float[Tensor, "w n pos d_model"], gradients: Float[Tensor, "n r pos d_model"]
) -> Float[Tensor, "n w r"]:
    """Return the inner products of all gaps with all gradients, over positions and dimensions."""
    return gaps.flatten(2).transpose(0, 1) @ gradients.flatten(2).transpose(1, 2)


def _moving(gap: Callable[[slice], Tensor], rows: slice, share: float) -> Action:
    def action(x: Tensor, _: ForwardContext) -> Tensor:
        # The value is x + share · gap; of what came before, the share that isn't exchanged has a gradient.
        return x + share * (gap(rows) + x.detach() - x)

    return action


register_method(Attribution())
register_method(Attribution("eap-ig-inputs", "gradients along a path of embeddings", "inputs"))
register_method(Attribution("eap-ig-activations", "gradients along a path of each sublayer's outputs", "activations"))
register_method(Attribution("eap-ig-masks", "gradients along the path that exchanges all edges", "masks"))
