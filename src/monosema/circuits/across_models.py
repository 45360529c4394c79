"""Circuits across models of one architecture, such as training runs of several seeds.

Heads have no names that hold in two models. Roles are compared by how many heads of each layer look like each role:

    overlap = Σ min(a, b) / Σ max(a, b)          over layers and roles, a and b the two models' numbers of heads

beside the same with each role's numbers dealt to the layers at random. A circuit is carried over with its heads by
number, and with each layer's heads matched to those that look most alike (the assignment with the smallest distance of
standardised scores), and is judged in the other model beside that model's own circuit and a random one of equal size.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from monosema.circuits.circuit import Circuit
from monosema.circuits.faithfulness import Trial
from monosema.circuits.graph import Graph, Kind, Node
from monosema.circuits.heads import HeadRoles
from monosema.core import Estimate, InputError, numpy_generator

_DRAWS = 1000


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """A circuit of one model in another.

    Attributes:
        source, target: names of the models.
        own: faithfulness of the target's own circuit.
        by_number, by_role: faithfulness there of the source's circuit, heads carried over by number, and matched.
        random: faithfulness of a random circuit of the same size.
    """

    source: str
    target: str
    own: Estimate
    by_number: Estimate
    by_role: Estimate
    random: Estimate


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Roles by layer of two models.

    Attributes:
        models: their names.
        overlap: 1 where both have as many heads of each role in each layer.
        chance: the mean with layers at random, and the middle 95 % of draws.
    """

    models: tuple[str, str]
    overlap: float
    chance: Estimate


def role_counts(roles: HeadRoles) -> Float[np.ndarray, "layers roles"]:
    """Return how many heads of each layer look like each role."""
    names = list(roles.scores)
    counts = np.zeros((1 + max(head.layer for head in roles.heads), len(names)))
    for head in roles.heads:
        for role in roles.looks(head):
            counts[head.layer, names.index(role)] += 1
    return counts


def overlaps(models: Mapping[str, HeadRoles], seed: int = 0) -> list[Overlap]:
    """Compare the roles by layer of every two models."""
    counts = {name: role_counts(roles) for name, roles in models.items()}
    found = []
    for one, other in itertools.combinations(counts, 2):
        rng = numpy_generator(seed, "roles by layer", one, other)
        drawn = [_overlap(rng.permuted(counts[one], axis=0), counts[other]) for _ in range(_DRAWS)]
        low, high = np.quantile(drawn, [0.025, 0.975])
        chance = Estimate(float(np.mean(drawn)), float(low), float(high), _DRAWS, "draws of layers")
        found.append(Overlap(models=(one, other), overlap=_overlap(counts[one], counts[other]), chance=chance))
    return found


def matched(source: HeadRoles, target: HeadRoles) -> dict[Node, Node]:
    """Return for each head of the source the head of the same layer of the target that it is matched with."""
    names = [name for name in source.scores if name in target.scores]
    rows = [torch.stack([one.scores[name].mean(1) for name in names], dim=1).double().cpu() for one in (source, target)]
    spread = torch.cat(rows).std(0).clamp_min(1e-6)
    mine, theirs = (one / spread for one in rows)
    found = dict[Node, Node]()
    for layer in sorted({head.layer for head in source.heads}):
        own, other = ([row for row, head in enumerate(one.heads) if head.layer == layer] for one in (source, target))
        here, there = linear_sum_assignment(torch.cdist(mine[own], theirs[other]).numpy())
        found |= {source.heads[own[a]]: target.heads[other[b]] for a, b in zip(here, there, strict=True)}
    return found


def carried(circuit: Circuit, graph: Graph, heads: Mapping[Node, Node]) -> Circuit:
    """Return a circuit with its heads replaced, in the graph of the other model.

    Raises InputError where the other model has no such edges.
    """
    if len(graph.writers) != len(circuit.graph.writers) or len(graph.readers) != len(circuit.graph.readers):
        raise InputError("A circuit is carried over between models of one architecture: these have other components.")
    keep = torch.zeros_like(graph.allowed)
    for row, column in circuit.keep.nonzero().tolist():
        writer, reader = circuit.graph.writers[row], circuit.graph.readers[column]
        node = heads[reader.node] if reader.node.kind is Kind.HEAD else reader.node
        keep[graph.writer_index[heads.get(writer, writer)], graph.reader_index[type(reader)(node, reader.port)]] = True
    return Circuit(graph, keep)


def transfers(
    trials: Mapping[str, Trial], circuits: Mapping[str, Circuit], roles: Mapping[str, HeadRoles], seed: int = 0
) -> list[Transfer]:
    """Judge each model's circuit in every other model.

    Args:
        trials: held-out prompts, by model.
        circuits, roles: of the same models.
    """
    found = []
    for source, target in itertools.permutations(trials, 2):
        trial, circuit = trials[target], circuits[source]
        by_number = carried(circuit, trial.graph, {head: head for head in roles[source].heads})
        by_role = carried(circuit, trial.graph, matched(roles[source], roles[target]))
        tried = [circuits[target], by_number, by_role, Circuit.random(trial.graph, len(circuit), seed)]
        own, number, role, random = (trial.faithfulness(figures) for figures in trial.run(tried))
        found.append(Transfer(source=source, target=target, own=own, by_number=number, by_role=role, random=random))
    return found


def _overlap(one: Sequence[Sequence[float]] | np.ndarray, other: np.ndarray) -> float:
    most = np.maximum(one, other).sum()
    return float(np.minimum(one, other).sum() / most) if most else 1.0
