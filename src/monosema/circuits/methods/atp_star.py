"""AtP*: attribution patching with two mends for what a gradient misses (Kramár et al. 2024, arXiv:2403.00745).

    attention (QK fix)   an edge into a query or a key: the head's pattern is computed anew with the edge exchanged, and
                         what the head then takes, z̃ − z, is multiplied by ∂metric/∂z, so a saturated softmax shows
    cancellation         gradients are taken L times more, each time with what one layer adds held constant (GradDrop);
    (GradDrop)           |score| is the mean of the absolute scores:  1/(L − 1) Σ_ℓ |score without layer ℓ|

A direct effect and one through a later layer that cancel at the clean prompt no longer do. The reader's own layer gives
0 to the sum, hence L − 1; the logits are in none, hence L. An edge all of whose ways go through one layer loses that
term of the sum: with two layers, edges into the first keep only what goes around the second. Departures: edges in the
place of nodes, so that a pattern is computed for each edge; and the score has the sign of the one with no layer held,
where the published one has none.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.circuits.contributions import reader_sites
from monosema.circuits.methods.exact import CleanRun
from monosema.circuits.methods.gradients import edge_products, reader_gradients
from monosema.circuits.methods.method import Part, Problem, Said, register_method, silent
from monosema.circuits.metrics import last_logits
from monosema.circuits.scores import EdgeScores
from monosema.core import Site
from monosema.models import Action, ForwardContext


@dataclass(frozen=True)
class AtpStar:
    """AtP*."""

    name: str = "atp-star"
    about: str = "gradients without one layer after another, and attention computed anew"

    def __call__(self, problem: Problem, said: Said = silent) -> EdgeScores:
        """Score all edges."""
        n = problem.model.n_layers + 1
        return problem.scored(self.name, _score, n + 2, n)


@torch.no_grad()
def _score(part: Part) -> Float[Tensor, "n w r"]:
    clean, layers = CleanRun(part), part.model.n_layers
    own, *dropped = (_Run.of(part, clean, layer) for layer in (None, *range(layers)))
    sums = sum((one.scores.abs() for one in dropped), torch.zeros_like(own.scores))
    for site, columns, seen in reader_sites(part.model, part.graph):
        if site.component not in ("q_input", "k_input"):
            continue
        for reader, column in enumerate(range(columns.start, columns.stop)):
            for rows in torch.arange(seen).split(clean.at_once):
                lost = _attended_otherwise(clean, site, reader, rows, [own, *dropped])
                own.scores[:, rows, column] = lost[0]
                sums[:, rows, column] = lost[1:].abs().sum(0)
    others = [max(layers - 1, 1)] * (len(part.graph.readers) - 1) + [layers]
    return own.scores.sign() * sums / torch.tensor(others, device=sums.device) if layers > 1 else own.scores


def _attended_otherwise(
    clean: CleanRun, site: Site, reader: int, rows: Tensor, runs: list[_Run]
) -> Float[Tensor, "runs n some"]:
    """Return the scores of edges into a query or a key by what its heads take with each of them exchanged."""
    assert site.layer is not None
    heads, z = clean.mixed(site, reader, clean.gaps[rows.to(clean.gaps.device)])
    change = (z - clean.clean_z(site.layer)[:, :, heads]).flatten(2)
    found = [
        torch.einsum("vnz,nz->nv", change, run.z[site.layer][:, -z.shape[2] :, heads].flatten(1))
        if site.layer in run.z
        else change.new_zeros(change.shape[1], len(rows))
        for run in runs
    ]
    return -torch.stack(found)


@dataclass(frozen=True, eq=False)
class _Run:
    """Gradients of one pass, with what a layer adds held constant, or none.

    Attributes:
        scores: attribution patching by these gradients, of edges into all but queries and keys.
        z: gradient of each layer's z; none of a layer that is held.
    """

    scores: Float[Tensor, "n w r"]
    z: dict[int, Float[Tensor, "n pos head d_head"]] = field(default_factory=dict)

    @classmethod
    def of(cls, part: Part, clean: CleanRun, held: int | None) -> _Run:
        """Take the gradients."""
        run = cls(torch.zeros(len(part.contrast), *part.graph.allowed.shape, device=part.model.device))

        def logits() -> Tensor:
            with contextlib.ExitStack() as stack:
                for layer in range(part.model.n_layers):
                    stack.enter_context(part.model.attach(Site(layer, "z"), run._keeping(layer)))
                for component in ("attn_out", "mlp_out") if held is not None else ():
                    stack.enter_context(part.model.attach(Site(held, component), _constant))
                return last_logits(part.model, part.contrast.clean)

        for found in reader_gradients(part.model, part.graph, part.contrast, part.metric, logits):
            if found.site.component not in ("q_input", "k_input"):
                gaps = clean.gaps[: found.writers]
                run.scores[:, : found.writers, found.columns] = -edge_products(gaps, found.values)
        return run

    def _keeping(self, layer: int) -> Action:
        def action(x: Tensor, _: ForwardContext) -> Tensor:
            x.register_hook(lambda gradient: self.z.update({layer: gradient}))
            return x

        return action


def _constant(x: Tensor, _: ForwardContext) -> Tensor:
    return x.detach()


register_method(AtpStar())
