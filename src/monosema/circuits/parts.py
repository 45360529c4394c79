"""A part of a shown circuit, put to the test: what it keeps by itself, and what is lost without chosen nodes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from monosema.circuits.ablations import ablation_named
from monosema.circuits.circuit import Circuit
from monosema.circuits.contrast import contrasts
from monosema.circuits.faithfulness import trial_of
from monosema.circuits.graph import Kind, Node
from monosema.circuits.metrics import metric_of
from monosema.circuits.shown import ShownGraph
from monosema.core import Estimate, InputError, bootstrap_mean, nearest
from monosema.data.tasks import ALL_TASKS, Split
from monosema.models import LanguageModel, require_decoder

PROMPTS = 32
"""Prompts of a test at most, so that a page needn't wait."""
DRAWS = 3
"""Random circuits, and random choices of nodes, that the controls are the means of."""


@dataclass(frozen=True, kw_only=True)
class PartFigures:
    """Figures of a part of a circuit.

    Attributes:
        size: edges that were kept.
        n: prompts.
        faithfulness, random: of these edges, and of as many at random.
        predicted: sum of the nodes' effects by the method.
        measured: what the metric lost when all that these nodes write was exchanged.
        control: the same of as many nodes of the same kinds, drawn at random.
        absent: why nothing was measured; "" where it was.
    """

    size: int
    n: int = 0
    faithfulness: Estimate | None = None
    random: Estimate | None = None
    predicted: float | None = None
    measured: Estimate | None = None
    control: Estimate | None = None
    absent: str = ""


class PartTrial:
    """Prompts, model and graph of a shown circuit, ready for tests.

    Attributes:
        shown: the circuit.
    """

    def __init__(self, model: LanguageModel, shown: ShownGraph) -> None:
        """Read the prompts again that the circuit is about.

        Raises:
            InputError: the file doesn't say which, they can't be made again, or the circuit is another model's.
        """
        decoder, about = require_decoder(model), shown.about
        missing = [name for name in ("task", "ablation", "metric", "n", "seed", "split") if name not in about]
        if missing or shown.unit != "edges" or about["task"] not in ALL_TASKS:
            raise InputError("This circuit’s file doesn’t say which prompts and edges it can be tested with.")
        if about.get("model") not in (None, model.name):
            raise InputError(f"The circuit is one of {about['model']!r}, and the run’s model is {model.name!r}.")
        make = ALL_TASKS[str(about["task"])].prompts
        # The first prompts of a task are the same whatever their number.
        task = make(random.Random(int(about["seed"])), min(PROMPTS, int(about["n"])), _split(about["split"]))
        read = contrasts(task, model)
        metric = metric_of(read, model, str(about["metric"]))
        self.shown = shown
        self._trial = trial_of(decoder, read, ablation_named(str(about["ablation"])), metric)
        self._nodes = {node.name: node for node in self._trial.graph.writers}

    def test(self, size: int, nodes: Sequence[str] = ()) -> PartFigures:
        """Measure the first `size` edges by themselves, or, where nodes are given, the whole model without these.

        Raises:
            InputError: no such node writes, or the circuit shows fewer edges.
        """
        return self._without(size, nodes) if nodes else self._alone(size)

    def _alone(self, size: int) -> PartFigures:
        edges, graph, trial = self.shown.edges, self._trial.graph, self._trial
        if size > len(edges):
            raise InputError(f"The file holds {len(edges)} edges of the circuit; {size} can’t be tested.")
        circuits = [Circuit.of_edges(graph, [edge.name for edge in edges[:size]])]
        circuits += [Circuit.random(graph, size, seed) for seed in range(DRAWS)]
        own, *others = trial.run(circuits)
        return PartFigures(
            size=size,
            n=len(trial.contrasts),
            faithfulness=trial.faithfulness(own),
            random=trial.faithfulness(torch.stack(others).mean(0)),
        )

    def _without(self, size: int, names: Sequence[str]) -> PartFigures:
        for name in names:
            if name not in self._nodes:
                raise InputError(f"No node {name!r} writes in this graph.{nearest(name, self._nodes)}")
        chosen, trial = [self._nodes[name] for name in names], self._trial
        drawn = [_alike(chosen, trial.graph.writers, seed) for seed in range(DRAWS)]
        own, *others = trial.run([Circuit(trial.graph, self._keep(part)) for part in (chosen, *drawn)])
        predicted = [node.predicted for node in self.shown.nodes if node.name in {*names}]
        return PartFigures(
            size=size,
            n=len(trial.contrasts),
            predicted=sum(one for one in predicted if one is not None),
            measured=bootstrap_mean((trial.whole - own).numpy()),
            control=bootstrap_mean((trial.whole - torch.stack(others).mean(0)).numpy()),
        )

    def _keep(self, without: Sequence[Node]) -> Bool[Tensor, "w r"]:
        keep = self._trial.graph.allowed.clone()
        keep[[self._trial.graph.writer_index[node] for node in without]] = False
        return keep


def _split(name: object) -> Split:
    if name == "train" or name == "test":
        return name
    raise InputError(f"The circuit’s file names the split {name!r}; there are train and test.")


def _alike(chosen: Sequence[Node], nodes: Sequence[Node], seed: int) -> list[Node]:
    """Return as many other nodes of the same kinds, drawn at random; fewer where there are no more."""
    rng, drawn = random.Random(seed), list[Node]()
    for kind in Kind:
        wanted = sum(node.kind is kind for node in chosen)
        others = [node for node in nodes if node.kind is kind and node not in chosen]
        drawn += rng.sample(others, min(wanted, len(others)))
    return drawn
