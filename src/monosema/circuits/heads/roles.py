"""Roles of heads: scores with intervals, beside the same model with weights drawn anew, and what ablation does."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.circuits.contrast import Contrast, Contrasts, contrasts
from monosema.circuits.graph import Node
from monosema.circuits.heads.ablating import Read, ablated, all_heads, component_outputs, means
from monosema.circuits.heads.paths import PathKind, effects_along
from monosema.circuits.heads.scores import HEAD_SCORES, HeadScore, LayerReading, TextKind
from monosema.circuits.heads.texts import Repeated, repeated_tokens
from monosema.circuits.metrics import LogitDifference, Metric
from monosema.core import Estimate, InputError, Site, bootstrap_mean, derive_seed, numpy_generator
from monosema.data.tasks import ALL_TASKS, Split
from monosema.models import LanguageModel, Transformer, require_decoder
from monosema.models.randomised import randomised

PER_ROLE = 6
"""Heads that look most like each role, whose effects are measured."""
OTHERS = 8
"""Heads that look like none, whose effects stand beside those."""


@dataclass(frozen=True, eq=False, kw_only=True)
class HeadTexts:
    """The texts that heads are read on.

    Attributes:
        repeated: random tokens twice.
        ioi: prompts of indirect object identification; None where there are none.
        absent: reason why there are none.
        accuracy: share of these prompts where the model prefers the indirect object.
    """

    repeated: Repeated
    ioi: Contrasts | None
    absent: str = ""
    accuracy: Estimate | None = None

    def of_kind(self, kind: TextKind) -> tuple[Repeated | Contrast, ...]:
        """Return the texts of a kind, each of one length."""
        if kind == "repeated":
            return (self.repeated,)
        return () if self.ioi is None else self.ioi.groups


def head_texts(model: Transformer, n: int = 32, seed: int = 0, split: Split = "test") -> HeadTexts:
    """Draw n texts of each kind.

    The prompts are left out, with the reason, where the model's tokenizer splits names, or where it prefers the
    indirect object in less than two of three: heads can't do what the model doesn't.
    """
    repeated = repeated_tokens(model, n, seed=seed)
    task = ALL_TASKS["ioi"].prompts(random.Random(derive_seed(seed, "heads", "ioi")), n, split)
    try:
        ioi = contrasts(task, model)
    except InputError as error:
        return HeadTexts(repeated=repeated, ioi=None, absent=str(error))
    metric = LogitDifference()
    with torch.no_grad():
        right = torch.cat([metric(model.next_logits(group.clean), group) > 0 for group in ioi])
    accuracy = bootstrap_mean(right.float().cpu().numpy())
    if accuracy.value < 2 / 3:
        reason = f"{model.name} prefers the indirect object in {accuracy.value:.0%} of {accuracy.n} prompts only."
        return HeadTexts(repeated=repeated, ioi=None, absent=reason, accuracy=accuracy)
    return HeadTexts(repeated=repeated, ioi=ioi, accuracy=accuracy)


@torch.no_grad()
def score_heads(model: Transformer, texts: HeadTexts) -> dict[str, Float[Tensor, "head n"]]:
    """Return every score of `HEAD_SCORES` of every head on every text."""
    found = dict[str, list[Tensor]]()
    for kind in get_args(TextKind):
        chosen = [score for score in HEAD_SCORES.values() if score.text == kind]
        for text in texts.of_kind(kind) if chosen else ():
            tokens = text.tokens if isinstance(text, Repeated) else text.clean
            sites = [Site(layer, "pattern") for layer in range(model.n_layers)]
            first = Site(0, "resid_post")
            got = model.activations(tokens, [*sites, first])
            for score in chosen:
                by_layer = [
                    score.score(
                        LayerReading(model=model, layer=layer, pattern=got[site].float(), text=text, early=got[first])
                    )
                    for layer, site in enumerate(sites)
                ]
                found.setdefault(score.name, []).append(torch.cat(by_layer, dim=1).T)  # head × n
    return {name: torch.cat(parts, dim=1) for name, parts in found.items()}


@dataclass(frozen=True, eq=False, kw_only=True)
class HeadRoles:
    """Heads of a model, with their scores.

    Attributes:
        model: its name.
        heads: all heads, layer by layer.
        scores: by role, of each head on each text.
        control: by role, the highest head of the model with weights drawn anew.
        effects: by kind of text, of the heads that were ablated, what it took: nats a token of the second block, or
            nats of logit difference.
        paths: nats of logit difference along a path, of the heads that look most like a role that acts along it.
        others: heads that look like none, drawn at random.
        texts: what they were read on.
    """

    model: str
    heads: tuple[Node, ...]
    scores: Mapping[str, Float[Tensor, "head n"]]
    control: Mapping[str, float]
    effects: Mapping[TextKind, Mapping[Node, Estimate]]
    paths: Mapping[PathKind, Mapping[Node, Estimate]]
    others: tuple[Node, ...]
    texts: HeadTexts

    def looks(self, head: Node) -> list[str]:
        """Return the roles that it looks like: a score of `enough`, its interval above every head of the control."""
        row = self.heads.index(head)
        high = [name for name, values in self.scores.items() if float(values[row].mean()) >= HEAD_SCORES[name].enough]
        return [name for name in high if self.estimate(name, head).low > self.control[name]]

    def roles(self, head: Node) -> list[str]:
        """Return the roles of a head: those it looks like, and acts as where they are ones of doing.

        Where its effect along a role's path was not measured, it doesn't have that role.
        """
        return [name for name in self.looks(head) if self._acts(HEAD_SCORES[name], head)]

    def _acts(self, score: HeadScore, head: Node) -> bool:
        if score.acts is None:
            return True
        effect = self.paths.get(score.acts, {}).get(head)
        return effect is not None and (effect.low if score.sign > 0 else -effect.high) > 0

    def estimate(self, role: str, head: Node) -> Estimate:
        """Return the mean score of a head over texts."""
        return bootstrap_mean(self.scores[role][self.heads.index(head)].cpu().numpy())

    def looking(self, role: str) -> list[Node]:
        """Return the heads that look like a role, the highest score first."""
        order = self.scores[role].mean(1).argsort(descending=True, stable=True).tolist()
        return [self.heads[row] for row in order if role in self.looks(self.heads[row])]

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: of each head its scores, roles and effects, and the control."""
        return {
            "model": self.model,
            "texts": {"repeated": len(self.texts.repeated), "ioi": len(self.texts.ioi or ())},
            "absent": self.texts.absent or None,
            "accuracy": None if self.texts.accuracy is None else self.texts.accuracy.to_dict(),
            "control": dict(self.control),
            "heads": [
                {
                    "head": head.name,
                    "roles": self.roles(head),
                    "scores": {name: self.estimate(name, head).to_dict() for name in self.scores},
                    "effects": {
                        kind: figures[head].to_dict() for kind, figures in self.effects.items() if head in figures
                    },
                    "paths": {path: figures[head].to_dict() for path, figures in self.paths.items() if head in figures},
                    "drawn": head in self.others,
                }
                for head in self.heads
            ],
        }


def head_looks(model: LanguageModel, n: int = 32, seed: int = 0) -> HeadRoles:
    """Find the roles that a model's heads look like; nothing is ablated, so no head has a role of doing.

    Args:
        n: texts of each kind.

    Raises:
        UnsupportedModelError: a model that another library runs.
    """
    decoder = require_decoder(model)
    texts = head_texts(decoder, n, seed)
    control = randomised(decoder, seed)
    assert isinstance(control, Transformer)
    drawn = score_heads(control, texts)
    return HeadRoles(
        model=model.name,
        heads=all_heads(decoder),
        scores=score_heads(decoder, texts),
        control={name: float(values.mean(1).max()) for name, values in drawn.items()},
        effects={},
        paths={},
        others=(),
        texts=texts,
    )


def head_roles(model: LanguageModel, n: int = 32, seed: int = 0) -> HeadRoles:
    """Find the roles of a model's heads; arguments and errors as for `head_looks`."""
    decoder, found = require_decoder(model), head_looks(model, n, seed)
    scores, texts = found.scores, found.texts
    most = {role: found.looking(role)[:PER_ROLE] for role in scores}
    named = sorted({head for heads in most.values() for head in heads})
    rest = [head for head in found.heads if not found.looks(head)]
    picked = numpy_generator(seed, "heads without a role").permutation(len(rest))[:OTHERS]
    others = tuple(sorted(rest[index] for index in picked))
    effects: dict[TextKind, dict[Node, Estimate]] = {
        kind: ablation_effects(decoder, texts, kind, [*named, *others]) for kind in get_args(TextKind)
    }
    acting = {
        path: sorted({head for role, heads in most.items() if HEAD_SCORES[role].acts == path for head in heads})
        for path in get_args(PathKind)
    }
    paths = {path: _path_estimates(decoder, texts, heads, path) for path, heads in acting.items() if heads}
    measured = {kind: values for kind, values in effects.items() if values}
    return dataclasses.replace(found, effects=measured, paths=paths, others=others)


def _path_estimates(
    model: Transformer, texts: HeadTexts, heads: Sequence[Node], path: PathKind
) -> dict[Node, Estimate]:
    metric = LogitDifference()
    parts = [effects_along(model, group, heads, path, metric) for group in texts.ioi or ()]
    return dict(zip(heads, map(bootstrap_mean, torch.cat(parts, dim=1).cpu().numpy()), strict=True))


def ablation_effects(model: Transformer, texts: HeadTexts, kind: TextKind, heads: list[Node]) -> dict[Node, Estimate]:
    """Return what ablating each head takes: loss on the second block that it adds, or logit difference that it costs.

    On repeated tokens the mean over texts stands in, at the same position; in prompts, the output on the corrupted one.
    """
    parts = []
    for text in texts.of_kind(kind):
        if isinstance(text, Repeated):
            tokens, read = text.tokens, second_loss(model, text)
            stand_ins = means(component_outputs(model, tokens))
        else:
            tokens, read = text.clean, last_metric(model, text, LogitDifference())
            stand_ins = component_outputs(model, text.corrupt)
        figures = ablated(model, tokens, [(), *((head,) for head in heads)], stand_ins, read)
        parts.append(figures[0] - figures[1:])
    if not parts:
        return {}
    effects = torch.cat(parts, dim=1).cpu().numpy()
    return {head: bootstrap_mean(values) for head, values in zip(heads, effects, strict=True)}


def second_loss(model: Transformer, text: Repeated) -> Read:
    """Return the reading of −loss on the second block but for its first token, in nats a token."""
    targets: Int[Tensor, "n late"] = text.tokens[:, -text.period + 1 :]

    def read(x: Tensor) -> Tensor:
        logits = model.logits(x[:, -text.period : -1]).float()
        return logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0].mean(-1)

    return read


def last_metric(model: Transformer, contrast: Contrast, metric: Metric) -> Read:
    """Return the reading of a metric after the last token."""
    return lambda x: metric(model.logits(x[:, -1]), contrast)
