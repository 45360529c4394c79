"""Circuit methods beside the exact scores of all edges, by what reads; and of all nodes, by what writes.

    python benchmarks/circuit_methods.py [--model specimen] [--task ioi] [--pairs 32] [--methods eap,relp]
        [--threads 1]

First what exact scores of all edges take, beside one plain pass for each. Then Spearman over the edges into queries,
keys, values, MLPs and the logits, of means over pairs; last Pearson over heads and over MLPs of each node's score, the
sum of its edges', with the exact one. Seconds are the processor's, where it does not say by the clock.
"""

from __future__ import annotations

import argparse
import random
import time

import torch

from monosema.circuits import METHODS, Kind, Problem, ablation_named, agreement, contrasts, metric_of
from monosema.circuits.contrast import Contrasts
from monosema.circuits.methods import exact_nodes
from monosema.data.tasks import ALL_TASKS
from monosema.models import LanguageModel, load_model

FAST = ("eap", "atp-star", "eap-ig-inputs", "eap-ig-activations", "eap-ig-masks", "relp", "random")
PORTS = {"q": "queries", "k": "keys", "v": "values"}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="specimen")
    parser.add_argument("--task", default="ioi")
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--methods", default=",".join(FAST), help="those to compare, with commas between")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    model = load_model(asked.model, dtype=torch.float32)
    prompts = contrasts(ALL_TASKS[asked.task].prompts(random.Random(0), asked.pairs, "test"), model)
    problem = Problem(model, prompts, ablation_named("resample"), metric_of(prompts, model))
    graph = problem.graph
    plain = _seconds_of_a_pass(model, prompts)
    began = time.process_time()
    exact = METHODS["exact"](problem)
    took = time.process_time() - began
    print(
        f"{asked.model}, {asked.task}, {len(prompts)} pairs, {graph.n_edges:,} edges; exact: {took:.0f} s, "
        f"{exact.about.seconds:.0f} s by the clock; a plain pass for each edge: {plain * graph.n_edges:.0f} s, "
        f"{plain * graph.n_edges / took:.1f} times that",
        flush=True,
    )
    nodes = exact_nodes(problem).values
    kinds = [PORTS.get(reader.port, str(reader.node.kind)) for reader in graph.readers]
    names = list(dict.fromkeys(kinds))
    print("| method | s | all | " + " | ".join(names) + " | heads | MLPs |")
    for name in asked.methods.split(","):
        began = time.process_time()
        scores = METHODS[name](problem)
        cells = [f"{time.process_time() - began:.1f}", f"{agreement(scores.edges(), exact.edges()).spearman:.3f}"]
        for kind in names:
            some = graph.allowed & torch.tensor([one == kind for one in kinds])
            cells.append(f"{agreement(scores.values[some], exact.values[some]).spearman:.3f}")
        for kind in (Kind.HEAD, Kind.MLP):
            rows = [writer.kind is kind for writer in graph.writers]
            cells.append(f"{agreement(scores.values.sum(1)[rows], nodes[rows]).pearson:.3f}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


@torch.no_grad()
def _seconds_of_a_pass(model: LanguageModel, prompts: Contrasts) -> float:
    """Return the processor time of one forward pass over all clean prompts, the best of three."""
    found = list[float]()
    for _ in range(3):
        began = time.process_time()
        for group in prompts:
            model(group.clean)
        found.append(time.process_time() - began)
    return min(found)


if __name__ == "__main__":
    main()
