"""Truthful heads and inference-time intervention (Li et al. 2023, arXiv:2306.03341).

    z_h ← z_h + α σ_h θ_h                          shift: as published
    z_h ← z_h + α ⟨z_h − μ_h, θ_h⟩ θ_h             gain: what the head says, said louder

θ is the unit difference of means of the classes in a head's part of z at the last token, σ the deviation of ⟨z, θ⟩, μ
the mean, all of the texts that are fitted on; heads are those whose probe does best there in cross-validation. A shift
moves every answer to one side; a gain moves each to its own. Number and strength are chosen fold by fold on the other
texts of the test, with a bound on what the change costs on other text, since a model may make no mistake on the texts
that it was trained on. The controls are as many random heads, and random directions in the chosen ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.core import Estimate, InputError, Site, bootstrap_mean, derive_seed, numpy_generator, torch_generator
from monosema.models import Action, ForwardContext, Transformer
from monosema.models.context import padded
from monosema.probing.examples import Examples
from monosema.probing.features import last_activations
from monosema.probing.judge import fold_masks, mean_by_group, validation
from monosema.probing.probes import MassMean
from monosema.steering import Add, Edit, Head, Scale, Steering

Kind = Literal["shift", "gain"]
KINDS: tuple[Kind, ...] = ("shift", "gain")
COUNTS, STRENGTHS = (4, 8, 16), (-1.0, -0.5, 0.5, 1.0)
FOLDS = 5
BOUND = 0.1
"""Nats a token that the intervention may cost on other text."""
DRAWS = 3


@dataclass(frozen=True, eq=False)
class HeadDirection:
    """A head with its direction.

    Attributes:
        validated: accuracy of its mass-mean probe in cross-validation.
        theta: unit vector.
        z: its output on the texts that are fitted on.
    """

    layer: int
    head: int
    validated: float
    theta: Float[Tensor, " d_head"]
    z: Float[Tensor, "n d_head"]

    @property
    def mean(self) -> float:
        """Mean of ⟨z, θ⟩."""
        return float((self.z @ self.theta).mean())

    @property
    def deviation(self) -> float:
        """Deviation of ⟨z, θ⟩."""
        return float((self.z @ self.theta).std(correction=0))

    @property
    def name(self) -> str:
        """The name of the field: `a3.h5`."""
        return f"a{self.layer}.h{self.head}"

    def edits(self, kind: Kind, alpha: float) -> list[Edit]:
        """Return the intervention as edits, which a steering file holds."""
        if kind == "shift":
            at = Head(self.layer, self.head, self.theta * self.deviation, self.name)
            return [Edit(at, Add(alpha), unit="raw")]
        at = Head(self.layer, self.head, self.theta, self.name)
        return [Edit(at, Scale(1 + alpha)), Edit(at, Add(-alpha * self.mean), unit="raw")]


@dataclass(frozen=True, eq=False, kw_only=True)
class Intervention:
    """Effects of an intervention on answers that were not seen, and on other text.

    Attributes:
        name: of the row.
        heads, alpha: number and strength; of chosen ones, those that do best on all texts of the test, which answers of
            the row are not by: each text's is by the choice of the other folds.
        accuracy: share of right answers with it.
        gained: with it less without, paired over texts.
        cost: rise of the loss on other text, nats a token.
    """

    name: str
    heads: int
    alpha: float
    accuracy: Estimate
    gained: Estimate
    cost: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        figures = {name: getattr(self, name).to_dict() for name in ("accuracy", "gained", "cost")}
        return {"name": self.name, "heads": self.heads, "alpha": self.alpha, **figures}


def truthful_heads(model: Transformer, examples: Examples, seed: int = 0) -> list[HeadDirection]:
    """Return all heads, those first whose probe does best in cross-validation."""
    sites = [Site(layer, "z") for layer in range(model.n_layers)]
    rows = last_activations(model, sites, examples.texts)
    fit, y = ~examples.test, examples.labels[~examples.test]
    groups, found = np.asarray(examples.groups)[fit], []
    for site in sites:
        for head, part in enumerate(rows[site][torch.from_numpy(fit)].unflatten(1, (model.n_heads, -1)).unbind(1)):
            x = part.double().numpy()
            theta = x[y == 1].mean(0) - x[y == 0].mean(0)
            theta /= max(float(np.linalg.norm(theta)), 1e-12)
            score = validation(MassMean(), x, y, groups, 0.0, seed)
            unit = torch.from_numpy(theta.astype(np.float32))
            assert site.layer is not None
            found.append(HeadDirection(site.layer, head, score, unit, part))
    return sorted(found, key=lambda one: -one.validated)


class Trial:
    """Answers to texts and the loss on other text, under any intervention."""

    def __init__(self, model: Transformer, examples: Examples, other: Sequence[Tensor]) -> None:
        """Read the answers from the examples' classes, which must be tokens of the model.

        Args:
            other: windows of other text.
        """
        self.model, self.examples, self.other = model, examples, list(other)
        try:
            self._answers = [model.tokenizer.id(f" {name}") for name in examples.classes]
        except InputError as error:
            raise InputError(f"Interventions change answers, and the classes are no tokens: {error}") from None
        self._losses = self._loss()

    @torch.no_grad()
    def right(self, which: Int[np.ndarray, " some"]) -> np.ndarray:
        """Return True for those of these texts that get the right answer rather than the other one."""
        texts = [self.examples.texts[index] for index in which]
        labels, found = self.examples.labels[which], list[Tensor]()
        rows = self.model.tokenizer.encode_batch(texts)
        for first in range(0, len(rows), 64):
            part = rows[first : first + 64]
            ids = padded(part, 0).to(self.model.device)
            last = torch.tensor([len(row) - 1 for row in part], device=ids.device)
            final = self.model.final_residual(ids)[torch.arange(len(part), device=ids.device), last]
            found.append(self.model.logits(final)[:, self._answers].argmax(1).cpu())
        return torch.cat(found).numpy() == labels

    @torch.no_grad()
    def _loss(self) -> np.ndarray:
        found = []
        for rows in self.other:
            logs = self.model(rows)[:, :-1].float().log_softmax(-1)
            found.append(-logs.gather(2, rows[:, 1:, None])[..., 0].mean(1).cpu().numpy())
        return np.concatenate(found)

    def cost(self) -> Estimate:
        """Return the rise of the loss on other text under what is attached to the model now."""
        return bootstrap_mean(self._loss() - self._losses)


@contextlib.contextmanager
def intervened(model: Transformer, heads: Sequence[HeadDirection], kind: Kind, alpha: float) -> Iterator[None]:
    """Hold an intervention in every forward pass of the block, at all positions."""
    with contextlib.ExitStack() as stack:
        for layer in sorted({one.layer for one in heads}):
            part = [one for one in heads if one.layer == layer]
            stack.enter_context(model.attach(Site(layer, "z"), _action(part, kind, alpha)))
        yield


def _action(heads: Sequence[HeadDirection], kind: Kind, alpha: float) -> Action:
    index = torch.tensor([one.head for one in heads])
    theta = torch.stack([one.theta for one in heads])
    mean, deviation = (torch.tensor([getattr(one, name) for one in heads]) for name in ("mean", "deviation"))

    def act(z: Tensor, _: ForwardContext) -> Tensor:
        along, z = theta.to(z), z.clone()
        part = z[:, :, index]
        read = torch.einsum("bphd,hd->bph", part, along) - mean.to(z)
        size = alpha * (read if kind == "gain" else deviation.to(z).expand_as(read))
        z[:, :, index] = part + size[..., None] * along
        return z

    return act


def intervene_at_inference(
    model: Transformer,
    examples: Examples,
    other: Sequence[Tensor],
    seed: int = 0,
    said: Callable[[str], None] = lambda _: None,
) -> tuple[list[HeadDirection], list[Intervention], dict[Kind, Steering]]:
    """Choose heads, number and strength on the texts to fit on, and measure on the test beside controls.

    Args:
        other: windows of other text, half of which the choice is bounded by; costs are of the other half.

    Returns:
        All heads, the rows of the table, and the chosen interventions as steerings.
    """
    heads = truthful_heads(model, examples, seed)
    half = max(len(other) // 2, 1)
    chooser, trial = Trial(model, examples, other[:half]), Trial(model, examples, other[half:] or other)
    held = np.flatnonzero(examples.test)
    before = trial.right(held)
    rows, kept = [_row(trial, "untouched", [], "shift", 0.0, before)], dict[Kind, Steering]()
    for kind in KINDS:
        said(kind)
        tried = _tried(chooser, heads, kind, held)
        count, alpha = max(tried, key=lambda key: tried[key].mean())
        chosen, groups = heads[:count], np.asarray(examples.groups)[held]
        nested = _nested(tried, fold_masks(groups, FOLDS, seed))
        rows.append(_row(trial, kind, chosen, kind, alpha, before, nested))
        for draw in range(DRAWS if chosen else 0):
            order = numpy_generator(derive_seed(seed, "random heads", draw)).permutation(len(heads))[:count]
            rows.append(_row(trial, f"{kind}, random heads", [heads[one] for one in order], kind, alpha, before))
            rows.append(_row(trial, f"{kind}, random directions", _turned(chosen, seed + draw), kind, alpha, before))
        kept[kind] = Steering(edit for one in chosen for edit in one.edits(kind, alpha))
    return heads, rows, kept


Choice = tuple[int, float]
"""Number of heads, and strength."""


def _tried(
    trial: Trial, heads: Sequence[HeadDirection], kind: Kind, held: Int[np.ndarray, " n"]
) -> dict[Choice, np.ndarray]:
    """Return which texts get the right answer by each choice that stays within the bound; by none where none does."""
    found = {(0, 0.0): trial.right(held)}
    for count in COUNTS:
        for alpha in STRENGTHS:
            with intervened(trial.model, heads[:count], kind, alpha):
                if trial.cost().value <= BOUND:
                    found[count, alpha] = trial.right(held)
    return found


def _nested(tried: Mapping[Choice, np.ndarray], folds: Sequence[np.ndarray]) -> np.ndarray:
    """Return which texts get the right answer, each by the choice that does best on the other folds."""
    right = np.zeros(len(folds[0]), dtype=bool)
    for aside in folds:
        best = max(tried, key=lambda key: tried[key][~aside].mean())
        right[aside] = tried[best][aside]
    return right


def _turned(heads: Sequence[HeadDirection], seed: int) -> list[HeadDirection]:
    drawn = torch.randn(len(heads), len(heads[0].theta), generator=torch_generator(seed, "random directions"))
    return [
        HeadDirection(one.layer, one.head, one.validated, row / row.norm(), one.z)
        for one, row in zip(heads, drawn, strict=True)
    ]


def _row(
    trial: Trial,
    name: str,
    heads: Sequence[HeadDirection],
    kind: Kind,
    alpha: float,
    before: np.ndarray,
    right: np.ndarray | None = None,
) -> Intervention:
    """Measure an intervention; answers are those given, or those with it in place."""
    held = np.flatnonzero(trial.examples.test)
    with intervened(trial.model, heads, kind, alpha):
        right, cost = trial.right(held) if right is None else right, trial.cost()
    groups = np.asarray(trial.examples.groups)[held]
    return Intervention(
        name=name,
        heads=len(heads),
        alpha=alpha,
        accuracy=mean_by_group(right, groups),
        gained=mean_by_group(right.astype(float) - before, groups),
        cost=cost,
    )
