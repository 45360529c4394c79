"""Specificity: the circuit of one task is ablated, and all tasks are measured.

    lost[A, B] = (m_B(M) − m_B(M \\ C_A)) / (m_B(M) − m_B(∅))

A and B are doubly dissociated where each circuit, ablated, costs its own task more than the other (Teuber 1955; the
logic of lesion studies): one row alone could also come from one task that is merely harder.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from monosema.circuits.circuit import Circuit
from monosema.circuits.faithfulness import Trial
from monosema.circuits.stability import jaccard
from monosema.core import Estimate, InputError, bootstrap_ratio


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Shares of tasks that ablated circuits cost.

    Attributes:
        tasks: names.
        sizes: edges of each task's circuit.
        lost: by the task whose circuit is ablated, then by the task that is measured.
        random: the same for random circuits of the same size.
        shared: Jaccard index of two tasks' circuits.
    """

    tasks: tuple[str, ...]
    sizes: Mapping[str, int]
    lost: Mapping[str, Mapping[str, Estimate]]
    random: Mapping[str, Mapping[str, Estimate]]
    shared: Mapping[str, Mapping[str, float]]

    def dissociated(self) -> list[tuple[str, str]]:
        """Return the pairs that are doubly dissociated, by intervals that don't meet."""
        return [
            (a, b)
            for a, b in itertools.combinations(self.tasks, 2)
            if self.lost[a][a].low > self.lost[a][b].high and self.lost[b][b].low > self.lost[b][a].high
        ]

    @property
    def verdict(self) -> str:
        """One sentence."""
        pairs, possible = self.dissociated(), len(self.tasks) * (len(self.tasks) - 1) // 2
        if not pairs:
            return f"Double dissociation: none among {possible} pairs of tasks."
        named = "; ".join(f"{a} and {b}" for a, b in pairs)
        return f"Double dissociation in {len(pairs)} of {possible} pairs of tasks, between {named}."


def specificity(trials: Mapping[str, Trial], circuits: Mapping[str, Circuit], seed: int = 0) -> Matrix:
    """Ablate each task's circuit, and a random one of its size, and measure all tasks.

    Args:
        trials: by task, of one model.
        circuits: the circuit of each of these tasks.

    Raises:
        InputError: fewer than two tasks, or circuits of other tasks.
    """
    if len(trials) < 2 or {*trials} != {*circuits}:
        raise InputError(
            f"Specificity compares circuits of two or more tasks, each with prompts: got prompts of {[*trials]} and "
            f"circuits of {[*circuits]}."
        )
    tasks = tuple(trials)
    chance = {name: Circuit.random(one.graph, len(one), seed) for name, one in circuits.items()}
    lost: dict[str, dict[str, Estimate]] = {name: {} for name in tasks}
    random: dict[str, dict[str, Estimate]] = {name: {} for name in tasks}
    for measured, trial in trials.items():
        removed = [one[name].complement() for one in (circuits, chance) for name in tasks]
        figures = trial.run(removed)
        for found, rows in ((lost, figures[: len(tasks)]), (random, figures[len(tasks) :])):
            for name, row in zip(tasks, rows, strict=True):
                found[name][measured] = _cost(trial, row)
    return Matrix(
        tasks=tasks,
        sizes={name: len(one) for name, one in circuits.items()},
        lost=lost,
        random=random,
        shared={a: {b: jaccard(circuits[a].keep, circuits[b].keep) for b in tasks} for a in tasks},
    )


def own_edges(circuits: Mapping[str, Circuit]) -> dict[str, Circuit]:
    """Return of each circuit the edges that are in no other.

    Skills share the way in and the way out, whose loss is every skill's; what is left is what only one of them uses.
    """
    times = torch.stack([one.keep for one in circuits.values()]).sum(0)
    return {name: Circuit(one.graph, one.keep & (times == 1)) for name, one in circuits.items()}


def _cost(trial: Trial, figures: torch.Tensor) -> Estimate:
    return bootstrap_ratio((trial.whole - figures).numpy(), (trial.whole - trial.empty).numpy())
