"""A feature circuit from a task to a verdict: nodes scored on some prompts, tried on others, beside chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from monosema.circuits.contrast import Contrasts
from monosema.circuits.feature_circuits import (
    FeatureNodes,
    FeatureScores,
    FeatureTrial,
    exact_effects,
    feature_curve,
    feature_scores,
)
from monosema.circuits.finding import FindConfig, prompts_of
from monosema.circuits.judging import Said, require_skill, say
from monosema.circuits.metrics import metric_of
from monosema.circuits.scores import Agreement, agreement
from monosema.circuits.shown import ShownEdge, ShownGraph, ShownNode
from monosema.core import Estimate, Site, bootstrap_mean, torch_generator
from monosema.dictionaries import Dictionary
from monosema.models import Transformer

STEPS = 3
"""Points at which gradients are taken between clean and corrupted activations."""
MEASURED, SHOWN = 20, 100
"""Nodes of the largest scores that are patched one at a time, with as many at random; and those that a page shows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureFound:
    """A feature circuit with its verdict.

    Attributes:
        config: how it was found.
        contrasts: the prompts that it was tried on.
        accuracy: share of them that the model answers rightly.
        trial: circuits by size, errors ranked as all other nodes.
        dropped: the same without any error.
        measured: what the metric lost, on these prompts, when a node alone was patched.
        agreement: of scores with what was measured, the random nodes included; None where either are all equal.
    """

    config: FindConfig
    contrasts: Contrasts
    accuracy: Estimate
    trial: FeatureTrial
    dropped: FeatureTrial
    measured: Mapping[int, Estimate]
    agreement: Agreement | None

    @property
    def scores(self) -> FeatureScores:
        """Scores of the nodes, found on other prompts."""
        return self.trial.scores

    @property
    def sentences(self) -> list[str]:
        """The verdict."""
        size, most = self.trial.smallest(self.config.threshold), self.trial.curve[-1]
        nodes, errors = self.scores.nodes, {*self.scores.nodes.errors}
        first = self.scores.order()[: size or most.size].tolist()
        n = sum(one in errors for one in first)
        reached = (
            f"{size:,} of {len(nodes):,} nodes, {n} of them errors, do {self.config.threshold:.0%} of the task."
            if size is not None
            else f"No number of nodes does {self.config.threshold:.0%} of the task; all with a score do "
            f"{say(most.faithfulness)}."
        )
        said = [reached, f"Without errors all latents together do {say(self.dropped.curve[-1].faithfulness)} of it."]
        if self.agreement is not None:
            said.append(
                f"Scores correlate with what {self.agreement.n} nodes do, patched one at a time, by "
                f"{self.agreement.pearson:.3f}."
            )
        return said

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        nodes, values = self.scores.nodes, self.scores.values
        return {
            "task": self.contrasts.task,
            "n": len(self.contrasts),
            "dropped": dict(self.contrasts.dropped),
            "accuracy": self.accuracy.to_dict(),
            "scores": asdict(self.scores.about),
            "nodes": len(nodes),
            "curve": [asdict(one) for one in self.trial.curve],
            "without errors": [asdict(one) for one in self.dropped.curve],
            "agreement": None if self.agreement is None else asdict(self.agreement),
            "first": [
                {"node": nodes[one].name, "score": float(values[one]), "measured": self.measured[one].to_dict()}
                for one in self.scores.order()[:MEASURED].tolist()
            ],
            "sentences": self.sentences,
        }

    def shown(
        self, labels: Mapping[tuple[Site, int], str] | None = None, runs: Mapping[Site, str] | None = None
    ) -> ShownGraph:
        """Return the graph to look at: nodes by importance; an edge to the logits is a node's whole effect.

        Args:
            labels: what latents mean, by the site that they write.
            runs: names of the runs whose features they are; None for the run that the graph lies in.
        """
        model, values = self.scores.nodes.model, self.scores.values
        first = self.scores.order()[:SHOWN].tolist()
        made = list[ShownNode]()
        for one in first:
            node = self.scores.nodes[one]
            made.append(
                ShownNode(
                    name=node.name,
                    kind="error" if node.latent is None else "latent",
                    layer=-1 if node.site.layer is None else node.site.layer,
                    label="" if node.latent is None else (labels or {}).get((node.site, node.latent), ""),
                    latent=node.latent,
                    run=(runs or {}).get(node.site),
                    predicted=float(values[one]),
                    measured=self.measured.get(one),
                )
            )
        end = ShownNode(name="logits", kind="logits", layer=model.n_layers)
        return ShownGraph(
            title=f"{self.contrasts.task}, {model.name}, features",
            unit="nodes",
            n_layers=model.n_layers,
            nodes=(*made, end),
            edges=tuple(
                ShownEdge(source=row, target=len(made), weight=float(values[one])) for row, one in enumerate(first)
            ),
            total=len(self.scores.nodes),
            curve=tuple(one for one in self.trial.curve if one.size <= SHOWN),
            about={**asdict(self.scores.about), "n": len(self.contrasts), "split": "test"},
            notes=tuple(self.sentences),
        )


def find_features(
    model: Transformer,
    task: str,
    dictionaries: Mapping[Site | str, Dictionary],
    config: FindConfig,
    said: Said = lambda _: None,
) -> FeatureFound:
    """Find the feature circuit of a task, and try it on held-out prompts.

    Args:
        task: name of a task, or a file of prompts.
        dictionaries: by the site that each reads.
        config: its prompts, metric, threshold and seed count.
        said: told what is being done.

    Raises:
        InputError: a task that there is not or that the model can't do, or sites that play no part in it.
    """
    finding, judging = prompts_of(task, model, config)
    accuracy, metric = require_skill(model, judging), metric_of(judging, model, config.metric)
    nodes = FeatureNodes(model, dictionaries)
    said("scores of all latents and errors")
    scores = feature_scores(nodes, finding, metric, STEPS)
    said("circuits by size")
    trial = feature_curve(scores, judging, metric, seed=config.seed)
    dropped = feature_curve(scores, judging, metric, errors="dropped", seed=config.seed)
    order = scores.order()
    rest = order[MEASURED:]
    drawn = rest[torch.randperm(len(rest), generator=torch_generator(config.seed, "measured nodes"))][:MEASURED]
    some = [*order[:MEASURED].tolist(), *drawn.tolist()]
    said("single nodes patched")
    effects = exact_effects(nodes, judging, metric, some).cpu()
    return FeatureFound(
        config=config,
        contrasts=judging,
        accuracy=accuracy,
        trial=trial,
        dropped=dropped,
        measured={one: bootstrap_mean(column.numpy()) for one, column in zip(some, effects.T, strict=True)},
        agreement=agreement(scores.values[some].cpu(), effects.mean(0)) if len(some) > 2 else None,
    )
