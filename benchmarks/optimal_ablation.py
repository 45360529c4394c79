"""Optimal ablation on prompts that its constants were not fitted on, beside mean, resample and zero.

    python benchmarks/optimal_ablation.py [--task ioi] [--prompts 64] [--sets 10]

Constants are fitted, and means taken, on the training prompts of the most frequent length; sets of half of the writers,
drawn at random, are ablated on held-out prompts of that length. The figure is what that takes off the model: KL of its
answer from its own without ablation, in nats.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import time

import torch

from monosema.circuits import NegativeDivergence, ablation_named, circuit_metrics, component_graph, contrasts
from monosema.circuits.ablations import Ablation, StandIns
from monosema.circuits.contrast import Contrast
from monosema.circuits.optimal import Optimal
from monosema.core import bootstrap_mean
from monosema.data.tasks import ALL_TASKS
from monosema.models import Transformer, load_model


class FittedElsewhere(Optimal):
    """Constants of other prompts."""

    def __init__(self, steps: int, group: Contrast) -> None:
        super().__init__(steps=steps)
        self._group = group

    def stand_ins(self, model: Transformer, group: Contrast) -> StandIns:
        """Give the constants of those prompts."""
        return super().stand_ins(model, self._group)


def main() -> None:
    """Fit, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="ioi")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--sets", type=int, default=10)
    args = parser.parse_args()
    model = load_model("specimen", dtype="float32")
    assert isinstance(model, Transformer)
    rng, task = random.Random(0), ALL_TASKS[args.task]
    train, test = (contrasts(task.prompts(rng, args.prompts, split), model) for split in ("train", "test"))
    lengths = {group.clean.shape[1]: group for group in train}
    both = [group for group in test if group.clean.shape[1] in lengths]
    held = max(both, key=lambda group: min(len(group), len(lengths[group.clean.shape[1]])))
    fitted = lengths[held.clean.shape[1]]
    print(
        f"{args.task}: {len(fitted)} prompts to fit on, {len(held)} held out, {held.clean.shape[1]} tokens", flush=True
    )
    graph, generator = component_graph(model), torch.Generator().manual_seed(0)
    keeps = [graph.allowed.clone() for _ in range(args.sets)]
    for keep in keeps:
        keep[torch.rand(len(keep), generator=generator) < 0.5] = False
    contestants: dict[str, Ablation] = {
        "optimal": FittedElsewhere(60, fitted),
        "mean": FittedElsewhere(0, fitted),
        "resample": ablation_named("resample"),
        "zero": ablation_named("zero"),
    }
    for name, ablation in contestants.items():
        begun, found = time.process_time(), []
        for group in (fitted, held):
            prompts = dataclasses.replace(test, groups=(group,))
            lost = -circuit_metrics(model, prompts, graph, keeps, ablation, NegativeDivergence(model))
            found.append(bootstrap_mean(lost.reshape(len(keeps), -1).mean(0).double().numpy()))
        seconds = time.process_time() - begun
        print(f"{name}: fitted on {found[0]}, held out {found[1]} ({seconds:.0f} s of processor time)", flush=True)


if __name__ == "__main__":
    main()
