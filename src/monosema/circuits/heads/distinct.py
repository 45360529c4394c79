"""Are roles distinct? Over how many skills the costs of ablating a head, or a layer, are spread, beside chance.

    cost[h, t]   what ablating h takes of task t, as a share of clean − corrupted
    spread(h) = exp(−Σ_t p log p),   p = |cost[h, t]| / Σ_t |cost[h, t]|     1: one skill alone; T: all T alike

The figure is the mean of the spread, weighted by Σ_t |cost|, so that parts that cost nothing don't count. The control
deals each task's costs to the parts anew: as much is lost of each task, by whichever part. Intervals draw prompts.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from monosema.circuits.contrast import Contrasts, contrasts
from monosema.circuits.graph import Kind, Node
from monosema.circuits.heads.ablating import Read, StandIns, ablated, all_heads, component_outputs, layer_sets
from monosema.circuits.heads.roles import last_metric
from monosema.circuits.metrics import metric_of
from monosema.circuits.scores import Agreement, agreement
from monosema.core import Estimate, InputError, derive_seed, numpy_generator
from monosema.data.tasks import ALL_TASKS
from monosema.models import LanguageModel, Transformer, require_decoder

DRAWS = 200
EXACT = 100
"""Parts up to which all are ablated; costs of more are estimated by gradients."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Distinct:
    """Costs of ablation by part and task.

    Attributes:
        unit: "heads" or "layers".
        parts: names.
        tasks: tasks that the model can do.
        absent: tasks that it can't do, with the reason.
        costs: shares of each task.
        spread: effective number of tasks of a part.
        chance: the same with costs dealt anew.
        agreement: of gradient estimates with measured costs; None where costs are the estimates.
    """

    unit: str
    parts: tuple[str, ...]
    tasks: tuple[str, ...]
    absent: dict[str, str]
    costs: Float[np.ndarray, "part task"]
    spread: Estimate
    chance: Estimate
    agreement: Agreement | None

    @property
    def sentence(self) -> str:
        """The verdict."""
        if self.spread.high < self.chance.low:
            says = "distinct"
        else:
            says = "shared" if self.spread.low > self.chance.high else "as distinct as chance makes them"
        return (
            f"Roles of {self.unit} are {says}: what ablating one costs is spread over {self.spread} of "
            f"{len(self.tasks)} skills, and over {self.chance} where each skill's costs are dealt at random."
        )

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "unit": self.unit,
            "tasks": list(self.tasks),
            "absent": self.absent,
            "costs": dict(zip(self.parts, self.costs.tolist(), strict=True)),
            "spread": self.spread.to_dict(),
            "chance": self.chance.to_dict(),
            "agreement": None if self.agreement is None else vars(self.agreement),
            "sentence": self.sentence,
        }


def distinct_roles(model: LanguageModel, n: int = 16, seed: int = 0) -> tuple[Distinct, Distinct]:
    """Say whether roles of heads, and of layers, are distinct, over all tasks that the model can do.

    Args:
        n: prompts of each task.

    Raises:
        InputError: fewer than two tasks that the model can do.
    """
    decoder = require_decoder(model)
    heads, layers = [(head,) for head in all_heads(decoder)], layer_sets(decoder)
    sets = [*heads, *layers]
    measured, guessed, absent = dict[str, Tensor](), dict[str, Tensor](), dict[str, str]()
    for name, family in ALL_TASKS.items():
        task = family.prompts(random.Random(derive_seed(seed, "distinct", name)), n, "test")
        try:
            asked = contrasts(task, model)
        except InputError as error:
            absent[name] = str(error)
            continue
        costs = _costs(decoder, asked, sets)
        if costs is None:
            absent[name] = f"{model.name} does not do it."
        else:
            measured[name], guessed[name] = costs
    if len(measured) < 2:
        raise InputError(f"{model.name!r} does {len(measured)} of {len(ALL_TASKS)} tasks; roles need two to differ in.")
    both = []
    names = [head.name for (head,) in heads]
    for unit, rows, parts in (
        ("heads", slice(0, len(heads)), names),
        ("layers", slice(len(heads), None), [f"layer {layer}" for layer in range(decoder.n_layers)]),
    ):
        of_part = [one[rows].cpu().numpy() for one in measured.values()]
        exact = len(heads) <= EXACT
        agreed = agreement(_mean(guessed, rows).flatten(), _mean(measured, rows).flatten()) if exact else None
        both.append(_distinct(unit, parts, tuple(measured), absent, of_part, agreed, seed))
    return both[0], both[1]


def _mean(costs: dict[str, Tensor], rows: slice) -> Float[Tensor, "part task"]:
    return torch.stack([one[rows].mean(1) for one in costs.values()], dim=1)


def _costs(model: Transformer, asked: Contrasts, sets: Sequence[Sequence[Node]]) -> tuple[Tensor, Tensor] | None:
    """Return the costs of each set on each prompt, measured and estimated; None for a task that the model can't do."""
    metric, lost, guessed, gaps, right = metric_of(asked, model), [], [], [], []
    for group in asked:
        with torch.no_grad():
            clean, corrupt = (metric(model.next_logits(ids), group) for ids in (group.clean, group.corrupt))
        gaps.append(clean - corrupt)
        right.append((clean > 0).float())
        read = last_metric(model, group, metric)
        guessed.append(first_order(model, group.clean, component_outputs(model, group.corrupt), sets, read))
        if sum(len(one) == 1 for one in sets) <= EXACT:
            stand_ins = component_outputs(model, group.corrupt)
            figures = ablated(model, group.clean, [(), *sets], stand_ins, read)
            lost.append(figures[0] - figures[1:])
    gap = torch.cat(gaps).mean()
    if torch.cat(right).mean() < 2 / 3 or gap <= 0:
        return None
    estimated = torch.cat(guessed, dim=1) / gap
    return (torch.cat(lost, dim=1) / gap if lost else estimated), estimated


def first_order(
    model: Transformer, tokens: Tensor, other: StandIns, sets: Sequence[Sequence[Node]], read: Read
) -> Float[Tensor, "sets n"]:
    """Return Σ (own − stand-in) · gradient for each set: the first-order cost of its ablation."""
    with torch.enable_grad(), model.capture(*other, gradients=True) as got:
        total = read(model.final_residual(tokens)).sum()
    gradients = dict(zip(other, torch.autograd.grad(total, [got[site] for site in other]), strict=True))
    by_node = dict[Node, Tensor]()
    for site, values in other.items():
        product = ((got[site] - values) * gradients[site]).detach().sum((1, -1))  # n × head, or n
        layer = site.layer if site.layer is not None else 0
        if product.ndim == 2:
            by_node |= {Node(layer, Kind.HEAD, head): one for head, one in enumerate(product.T)}
        else:
            by_node[Node(layer, Kind.MLP)] = product
    return torch.stack([torch.stack([by_node[node] for node in nodes]).sum(0) for nodes in sets])


def spread(costs: Float[np.ndarray, "part task"]) -> float:
    """Return the effective number of tasks of a part, weighted by its costs."""
    size = np.abs(costs)
    weight = size.sum(1)
    share = size / np.maximum(weight, 1e-12)[:, None]
    each = np.exp(-(share * np.log(np.maximum(share, 1e-12))).sum(1))
    return float((each * weight).sum() / weight.sum())


def _distinct(
    unit: str,
    parts: Sequence[str],
    tasks: tuple[str, ...],
    absent: dict[str, str],
    costs: Sequence[Float[np.ndarray, "part n"]],
    agreed: Agreement | None,
    seed: int,
) -> Distinct:
    rng = numpy_generator(seed, "distinct roles", unit)
    means = np.stack([one.mean(1) for one in costs], axis=1)
    drawn = [
        spread(np.stack([one[:, rng.integers(0, one.shape[1], one.shape[1])].mean(1) for one in costs], axis=1))
        for _ in range(DRAWS)
    ]
    dealt = [spread(np.stack([rng.permutation(column) for column in means.T], axis=1)) for _ in range(DRAWS)]
    n = sum(one.shape[1] for one in costs)
    return Distinct(
        unit=unit,
        parts=tuple(parts),
        tasks=tasks,
        absent=absent,
        costs=means,
        spread=_estimate(spread(means), drawn, n, "bootstrap"),
        chance=_estimate(float(np.mean(dealt)), dealt, DRAWS, "permutation"),
        agreement=agreed,
    )


def _estimate(value: float, draws: Sequence[float], n: int, method: str) -> Estimate:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value, float(low), float(high), n, method)
