"""Circuits of skills: do they depend on a prompt's length or on how common its names are; are they alike across seeds?

    python benchmarks/skills.py controls [--model specimen] [--text builtin] [--prompts 100]
    python benchmarks/skills.py seeds FOLDER FOLDER FOLDER [--prompts 40]       models of one architecture

Each prints a table for docs/skills.md. All figures are of held-out prompts of indirect object identification.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import spearmanr

from monosema.circuits import Circuit, FindConfig, Trial, ablation_named, contrasts, metric_of, say, score_edges
from monosema.circuits.across_models import overlaps, transfers
from monosema.circuits.faithfulness import smallest, trial_of
from monosema.circuits.heads import head_looks
from monosema.circuits.judging import require_skill
from monosema.core import Estimate, bootstrap_mean, bootstrap_ratio
from monosema.data import TextConfig, open_corpus, token_batches
from monosema.data.tasks import ALL_TASKS
from monosema.models import Transformer, load_model, require_decoder

DRAWS = 2000
COUNTED = 2_000_000


def found(model: Transformer, prompts: int, measured: int) -> tuple[Trial, Circuit]:
    """Find the circuit on some prompts; returns a trial on others, and the circuit."""
    config, trials = FindConfig(), []
    for split, n in (("train", prompts), ("test", measured)):
        asked = contrasts(ALL_TASKS["ioi"].prompts(random.Random(len(trials)), n, split), model)
        trials.append(trial_of(model, asked, ablation_named(config.ablation), metric_of(asked, model)))
    circuit, _ = smallest(trials[0], score_edges(model, trials[0].contrasts, config))
    return trials[1], circuit


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> Estimate:
    """Return Spearman's correlation with a bootstrap interval over prompts."""
    pairs, rng = np.array([x, y]), np.random.default_rng(0)
    drawn = [spearmanr(*pairs[:, rng.integers(0, len(x), len(x))])[0] for _ in range(DRAWS)]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Estimate(float(spearmanr(*pairs)[0]), float(low), float(high), len(x))


def controls(name: str, text: str, prompts: int) -> None:
    """Print how the metric and the circuit's faithfulness go with length and with the names' frequencies."""
    model = require_decoder(load_model(name, dtype=torch.float32))
    trial, circuit = found(model, 40, prompts)
    (inside,) = trial.run([circuit])
    counts = np.ones(model.vocab)
    for batch in token_batches(open_corpus(text), model.tokenizer, TextConfig(tokens=COUNTED)):
        counts += np.bincount(batch.tokens[batch.keep].numpy(), minlength=model.vocab)
    rows = [(group.clean.shape[1], int(group.correct[i, 0]), int(group.wrong[i, 0])) for group in trial.contrasts
            for i in range(len(group))]  # fmt: skip
    facts = {
        "tokens of the prompt": [float(length) for length, _, _ in rows],
        "log frequency of the indirect object": [float(np.log(counts[io])) for _, io, _ in rows],
        "log frequency of the subject": [float(np.log(counts[subject])) for _, _, subject in rows],
    }
    accuracy = bootstrap_mean((trial.whole > 0).float().numpy())
    print(f"{model.name}: {len(rows)} prompts, {accuracy.value:.0%} right, circuit of {len(circuit)} edges, "
          f"f = {say(trial.faithfulness(inside))}; frequencies of {text}\n")  # fmt: skip
    print("| | ρ with the logit difference | ρ with the circuit's own | f, lower half | f, upper half |")
    print("|---|---|---|---|---|")
    whole, empty = trial.whole.numpy(), trial.empty.numpy()
    for fact, values in facts.items():
        order = np.argsort(values, kind="stable")
        halves = [
            say(bootstrap_ratio(inside.numpy()[half] - empty[half], whole[half] - empty[half]))
            for half in np.array_split(order, 2)
        ]
        both = [say(rank_correlation(values, figures)) for figures in (whole, inside.numpy())]
        print(f"| {fact} | {' | '.join([*both, *halves])} |")


def seeds(folders: Sequence[str], prompts: int) -> None:
    """Print roles by layer and the transfer of circuits between models."""
    trials, circuits, roles = {}, {}, {}
    for folder in folders:
        model = require_decoder(load_model(folder, dtype=torch.float32))
        trial, circuit = found(model, prompts, prompts)
        accuracy, name = require_skill(model, trial.contrasts), f"{len(trials)}"
        trials[name], circuits[name], roles[name] = trial, circuit, head_looks(model)
        looks = ((role, roles[name].looking(role)) for role in roles[name].scores)
        said = "; ".join(f"{role} {' '.join(head.name for head in heads)}" for role, heads in looks if heads)
        edges = f"{len(circuit)} of {circuit.graph.n_edges:,} edges"
        print(f"model {name}, {folder}: {accuracy.value:.0%} of {accuracy.n} right, {edges}; {said}")
    print("\n| models | roles by layer, overlap | layers at random |\n|---|---|---|")
    for one in overlaps(roles):
        print(f"| {' and '.join(one.models)} | {one.overlap:.2f} | {say(one.chance)} |")
    print("\n| circuit of | in | own circuit | heads by number | heads matched | random |\n|---|---|---|---|---|---|")
    for move in transfers(trials, circuits, roles):
        figures = map(say, (move.own, move.by_number, move.by_role, move.random))
        print(f"| {move.source} | {move.target} | {' | '.join(figures)} |")


def main() -> None:
    """Run the part that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("controls", "seeds"))
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--model", default="specimen")
    parser.add_argument("--text", default="builtin")
    parser.add_argument("--prompts", type=int, default=100)
    options = parser.parse_args()
    if options.part == "controls":
        controls(options.model, options.text, options.prompts)
    else:
        seeds(options.folders, options.prompts)


if __name__ == "__main__":
    main()
