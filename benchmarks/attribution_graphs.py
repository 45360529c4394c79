"""Attribution graphs against interventions on ten prompts, and the time and memory of a long one.

    python benchmarks/attribution_graphs.py [--transcoders runs/transcoders] [--prompts 10]
    python benchmarks/attribution_graphs.py --long 512

Transcoders of the embedded model's six MLPs are trained where the folder has none: 1,024 latents, 120,000 tokens, four
passes. The table has Spearman's ρ of latents' whole effects on the logits with what happens as more of the model is
left free (see `monosema graph`): means over prompts, with intervals over prompts.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import torch

from monosema.circuits import GraphConfig, Replacement, check_graph, graph_of, prune, score_graph
from monosema.core import bootstrap_mean
from monosema.data import TextConfig, open_corpus, token_batches
from monosema.models import Transformer, load_model
from monosema.recipes import transcoders
from monosema.runs.encode import open_dictionaries

PROMPTS = (
    "When Anna and Tom went to the shop, Tom gave a book to",
    "Once upon a time there was a",
    "The truce began in the year 1625 and ended in the year 16",
    "In the morning Edward wrote a letter before",
    "Everybody knows that gold is yellow. This is",
    "All in all this music seemed fine to me, and I recommended it. The review is",
    "What comes four days after Sunday is",
    "The old man walked slowly to the",
    "She opened the window and looked at the",
    "Friends said that Sophia and Alice lived by the garden, where Alice sold a candle to",
)
ENOUGH = 0.7
"""The ρ that a graph's whole effects should have with the model as it runs free."""


def main() -> None:
    """Trace, test and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transcoders", type=Path, default=Path("runs/transcoders"))
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    parser.add_argument("--long", type=int, help="tokens of one prompt to trace, for time and memory")
    parser.add_argument("--memory-mb", type=int, default=1024)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.transcoders.exists():
        transcoders(args.transcoders, tokens=120_000, latents=1024, passes=4)
    model = load_model("specimen", dtype="float32")
    assert isinstance(model, Transformer)
    coders, _ = open_dictionaries(args.transcoders)
    config = GraphConfig(memory_mb=args.memory_mb)
    if args.long:
        batches = token_batches(open_corpus("builtin"), model.tokenizer, TextConfig(window=args.long, tokens=args.long))
        begun, before = time.process_time(), _peak()
        replacement = Replacement(model, next(iter(batches)).tokens[:1], coders)
        graph = graph_of(replacement, config)
        print(f"{graph.n_latents:,} of {graph.n_active:,} latents: {_spent(begun, before)}", flush=True)
        print(score_graph(graph), flush=True)
        checks = check_graph(replacement, graph, prune(graph))
        print(f"with {checks.shown} + {checks.drawn} latents taken out: {_spent(begun, before)}")
        print(" ".join(checks.sentences))
        return
    found = dict[str, tuple[list[float], list[float]]]()
    for prompt in PROMPTS[: args.prompts]:
        tokens = torch.tensor(model.tokenizer.encode_batch([prompt]))
        replacement = Replacement(model, tokens, coders)
        graph = graph_of(replacement, config)
        checks, scores = check_graph(replacement, graph, prune(graph)), score_graph(graph)
        said = ", ".join(f"{row.name} {row.shown and round(row.shown.value, 2)}" for row in checks.freed)
        print(
            f"{prompt!r}: replacement {scores.replacement:.2f}, completeness {scores.completeness:.2f}, edges "
            f"{checks.constrained.spearman:.4f}; {said}",
            flush=True,
        )
        for row in checks.freed:
            shown, drawn = found.setdefault(row.name, ([], []))
            for figures, figure in ((shown, row.shown), (drawn, row.drawn)):
                figures += [] if figure is None else [figure.value]
    print("\n| left free | latents shown | prompts with 0.7 | at random |\n|---|---|---|---|")
    for name, (shown, drawn) in found.items():
        enough = f"{sum(value >= ENOUGH for value in shown)} of {len(shown)}"
        print(f"| {name} | {bootstrap_mean(shown)} | {enough} | {bootstrap_mean(drawn)} |")


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _spent(begun: float, before: float) -> str:
    return f"{time.process_time() - begun:.0f} s of processor time, peak {_peak():.0f} MB, {before:.0f} MB before"


if __name__ == "__main__":
    main()
