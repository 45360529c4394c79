"""Self-repair: what the rest of the model makes up for when heads fall silent.

    single   metric lost when one head is ablated          straight   what its output does to the logits alone
    joint    metric lost when all of them are ablated      repaired   (joint − Σ single) / joint

Heads are chosen one after the other, on other prompts than those that they are measured on: next comes the head that
does most straight to the logits while those before it are ablated, so that a backup that is silent else is found.

Source: Wang et al. 2022, arXiv:2211.00593 (backup heads); McGrath et al. 2023, arXiv:2307.15771.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.circuits.ablations import ablation_named
from monosema.circuits.contrast import Contrast, Contrasts
from monosema.circuits.contributions import contributions
from monosema.circuits.graph import Node, component_graph
from monosema.circuits.heads.ablating import StandIns, ablated, all_heads, component_outputs, replaced
from monosema.circuits.heads.roles import last_metric
from monosema.circuits.metrics import Metric, metric_of
from monosema.core import Estimate, InputError, Site, bootstrap_mean, bootstrap_ratio, numpy_generator
from monosema.models import LanguageModel, Transformer, require_decoder


@dataclass(frozen=True, kw_only=True)
class SelfRepair:
    """Heads silenced singly and together.

    Attributes:
        heads: the heads.
        single, straight: of each, the metric that its ablation takes, and what it does straight to the logits.
        joint: the metric that ablating all of them takes.
        repaired: share of that which the others make up for when one alone is ablated.
        random_joint: the metric that as many heads drawn at random take.
        clean: the metric of the untouched model.
    """

    heads: tuple[Node, ...]
    single: tuple[Estimate, ...]
    straight: tuple[Estimate, ...]
    joint: Estimate
    repaired: Estimate
    random_joint: Estimate
    clean: Estimate

    @property
    def sentence(self) -> str:
        """The verdict."""
        names = ", ".join(head.name for head in self.heads)
        if self.repaired.low > 0:
            says = "each is stood in for by the others"
        else:
            says = "each stops the others" if self.repaired.high < 0 else "no self-repair is seen"
        return f"Of what {names} take together, {self.repaired} is not seen when they are ablated one by one: {says}."

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "heads": [
                {"head": head.name, "single": one.to_dict(), "straight": path.to_dict()}
                for head, one, path in zip(self.heads, self.single, self.straight, strict=True)
            ],
            **{name: getattr(self, name).to_dict() for name in ("joint", "repaired", "random_joint", "clean")},
            "sentence": self.sentence,
        }


def self_repair(
    model: LanguageModel,
    contrasts: Contrasts,
    n: int = 4,
    seed: int = 0,
    ablation: Literal["resample", "zero"] = "resample",
) -> SelfRepair:
    """Measure self-repair of n heads that answer, straight to the logits.

    Args:
        ablation: what stands in for a head's output: the one on the corrupted prompt, or nothing.

    Raises InputError where there are not two prompts of a length: half of them choose the heads.
    """
    decoder, metric = require_decoder(model), metric_of(contrasts, model)
    heads = all_heads(decoder)
    halves = [(group[: len(group) // 2], group[len(group) // 2 :]) for group in contrasts if len(group) > 1]
    if not halves:
        raise InputError(f"Self-repair needs two prompts of one length at least; there are {len(contrasts)}.")
    top = list[Node]()
    while len(top) < n:
        straight = torch.cat([_straight(decoder, first, top, metric, ablation) for first, _ in halves], dim=1).mean(1)
        straight[[heads.index(head) for head in top]] = float("-inf")
        top.append(heads[int(straight.argmax())])
    rest = [head for head in heads if head not in top]
    drawn = tuple(rest[i] for i in numpy_generator(seed, "self-repair").permutation(len(rest))[:n])
    sets: list[Sequence[Node]] = [(), top, drawn, *((head,) for head in top)]
    parts = [
        ablated(decoder, part.clean, sets, _stand_ins(decoder, part, ablation), last_metric(decoder, part, metric))
        for _, part in halves
    ]
    figures: Float[Tensor, "sets n"] = torch.cat(parts, dim=1).double().cpu()
    alone = torch.cat([_straight(decoder, part, (), metric, ablation) for _, part in halves], dim=1)
    alone = alone[[heads.index(head) for head in top]]
    lost = (figures[0] - figures[1:]).numpy()
    return SelfRepair(
        heads=tuple(top),
        single=tuple(map(bootstrap_mean, lost[2:])),
        straight=tuple(map(bootstrap_mean, alone.cpu().numpy())),
        joint=bootstrap_mean(lost[0]),
        repaired=bootstrap_ratio(lost[0] - lost[2:].sum(0), lost[0]),
        random_joint=bootstrap_mean(lost[1]),
        clean=bootstrap_mean(figures[0].numpy()),
    )


def _stand_ins(model: Transformer, part: Contrast, ablation: str) -> StandIns:
    outputs = component_outputs(model, part.corrupt)
    return outputs if ablation == "resample" else {site: torch.zeros_like(one) for site, one in outputs.items()}


@torch.no_grad()
def _straight(
    model: Transformer, part: Contrast, ablated_heads: Sequence[Node], metric: Metric, ablation: str
) -> Float[Tensor, "head n"]:
    """Return what each head does straight to the logits while some are ablated."""
    graph, final = component_graph(model), Site(model.n_layers - 1, "resid_post")
    rows = [graph.writer_index[head] for head in all_heads(model)]
    others = ablation_named(ablation).stand_ins(model, part)(part)[rows, :, -1]
    with replaced(model, [ablated_heads], _stand_ins(model, part, ablation)):
        own = contributions(model, part.clean)[rows, :, -1]
        whole = model.activations(part.clean, [final])[final][:, -1]
    clean, changed = (metric(model.logits(model.ln_final(x)), part) for x in (whole, whole + others - own))
    return clean - changed
