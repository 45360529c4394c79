"""Completeness and minimality: nothing that does the task is left outside, and nothing inside is idle.

Source: Wang et al. 2022, arXiv:2211.00593, § 4. A node is knocked out by exchanging all that it writes. With F as the
metric's mean and K a set of the circuit's nodes,

    incompleteness(K) = |F(C \\ K) − F(M \\ K)| / (F(M) − F(∅))
    idle(v):            F(C) − F(C \\ v)  is not told apart from 0

A circuit whose work something outside of it would take over is faithful, but not complete: without all of its nodes the
model still does the task.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from monosema.circuits.circuit import Circuit
from monosema.circuits.faithfulness import Trial
from monosema.circuits.graph import Node
from monosema.core import Estimate, bootstrap_ratio, numpy_generator

_DRAWS = 8


@dataclass(frozen=True, kw_only=True)
class Completeness:
    """The task without parts of a circuit.

    Attributes:
        without: faithfulness of the model without the circuit's edges: near 0 where nothing else does the task.
        worst: the largest incompleteness of all sets tried.
        nodes: the set that it was found with.
        mean: mean over the sets that were tried.
        sets: sets that were tried: all nodes of the circuit, and random halves of them.
    """

    without: Estimate
    worst: Estimate
    nodes: tuple[str, ...]
    mean: float
    sets: int


@dataclass(frozen=True, kw_only=True)
class NodeTest:
    """A node of a circuit, knocked out.

    Attributes:
        node: which.
        inside: what faithfulness loses when it is knocked out of the circuit.
        whole: what it loses when it is knocked out of the model.
    """

    node: Node
    inside: Estimate
    whole: Estimate

    @property
    def idle(self) -> bool:
        """True where what the circuit loses isn't told apart from nothing."""
        return self.inside.low <= 0 <= self.inside.high


def without(circuit: Circuit, nodes: Iterable[Node]) -> Circuit:
    """Return a circuit less all that some nodes write."""
    keep = circuit.keep.clone()
    keep[[circuit.graph.writer_index[node] for node in nodes]] = False
    return Circuit(circuit.graph, keep)


def completeness(trial: Trial, circuit: Circuit, draws: int = _DRAWS, seed: int = 0) -> Completeness:
    """Compare circuit and model, both without the same nodes of the circuit."""
    whole, nodes = Circuit(trial.graph, trial.graph.allowed), circuit.nodes
    rng = numpy_generator(seed, "completeness")
    sets: list[Sequence[Node]] = [nodes]
    for _ in range(draws if len(nodes) > 1 else 0):
        picked = rng.permutation(len(nodes))[: (len(nodes) + 1) // 2]
        sets.append([nodes[index] for index in sorted(picked)])
    circuits = [circuit.complement(), *(without(one, some) for some in sets for one in (circuit, whole))]
    left, *pairs = trial.run(circuits)
    gaps = [_share(trial, inside, outside) for inside, outside in zip(pairs[::2], pairs[1::2], strict=True)]
    worst = max(range(len(sets)), key=lambda index: gaps[index].value)
    return Completeness(
        without=trial.faithfulness(left),
        worst=gaps[worst],
        nodes=tuple(node.name for node in sets[worst]),
        mean=sum(gap.value for gap in gaps) / len(gaps),
        sets=len(sets),
    )


def minimality(trial: Trial, circuit: Circuit) -> list[NodeTest]:
    """Knock out each node of a circuit, within it and within the whole model; those that matter most come first."""
    whole, nodes = Circuit(trial.graph, trial.graph.allowed), circuit.nodes
    alone, *figures = trial.run([circuit, *(without(one, [node]) for one in (circuit, whole) for node in nodes)])
    scale = (trial.whole - trial.empty).numpy()

    def lost(before: torch.Tensor, after: torch.Tensor) -> Estimate:
        return bootstrap_ratio((before - after).numpy(), scale)

    tests = [
        NodeTest(node=node, inside=lost(alone, inside), whole=lost(trial.whole, outside))
        for node, inside, outside in zip(nodes, figures[: len(nodes)], figures[len(nodes) :], strict=True)
    ]
    return sorted(tests, key=lambda test: -abs(test.inside.value))


def _share(trial: Trial, inside: torch.Tensor, outside: torch.Tensor) -> Estimate:
    """Return the gap of two means as a share of the whole task, its sign turned so that it is positive."""
    gap = inside - outside
    sign = 1 if float(gap.mean()) >= 0 else -1
    return bootstrap_ratio((sign * gap).numpy(), (trial.whole - trial.empty).numpy())
