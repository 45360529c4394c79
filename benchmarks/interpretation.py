"""Explaining and scoring features without a language model: how many a minute, at which cost in tokens and memory.

    python benchmarks/interpretation.py RUN [--features 500] [--pool-tokens 100000] [--threads 2]

Takes the atlas of a run (`monosema atlas RUN`), draws samples of some of its features, explains them by token lookup
and Neuron2Graph, and scores both with their shuffled controls: what `monosema run` does for all features. Nothing is
written to the run. The pool of held-out text is read once however many features there are, so it stands apart; the
other steps are per feature. `seconds` is by the clock, `processor_seconds` what the processor worked, over all threads;
where other programs are at work only the second says much. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from monosema.interpretation import (
    ExplainConfig,
    SampleConfig,
    ScoringConfig,
    ScoringSession,
    Subject,
    draw_samples,
    explain_latents,
)
from monosema.interpretation.sampling import latents_of, pool_of
from monosema.runs import Run
from monosema.runs.context import RunContext


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--features", type=int, default=500)
    parser.add_argument("--pool-tokens", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print(json.dumps(measure(asked), indent=2))


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    opened = Run.open(asked.run)
    ctx = RunContext(opened.recipe, asked.run)
    atlas, model, dictionary = opened.atlas(), ctx.model, opened.dictionary()
    subject = Subject(model, dictionary, atlas)
    config = SampleConfig(tokens=asked.pool_tokens)
    latents = latents_of(atlas, asked.features)
    text = opened.recipe.text.replace(split="heldout", tokens=asked.pool_tokens)
    steps: dict[str, dict[str, float]] = {}
    before = peak_mb()
    with timed(steps, "pool"):
        pool = pool_of(subject, ctx.batches(text), config)
    with timed(steps, "samples"):
        samples = draw_samples(subject, pool, config, latents)
    found = {}
    for method in ("token lookup", "Neuron2Graph"):
        with timed(steps, method):
            found |= explain_latents(subject, samples, ExplainConfig(methods=(method,)))
    for method, explained in found.items():
        with timed(steps, f"scores of {method}"):
            ScoringSession(samples).scores(explained, ScoringConfig().make())
    each = {name: step for name, step in steps.items() if name != "pool"}
    seconds = sum(step["seconds"] for step in each.values())
    processor = sum(step["processor_seconds"] for step in each.values())
    everything = latents_of(atlas)
    return {
        "features": len(latents),
        "explained": {method: len(explained) for method, explained in found.items()},
        "pool_tokens": pool.tokens,
        "model_tokens_per_feature": subject.probe.tokens / len(latents),
        "features_per_minute": 60 * len(latents) / seconds,
        "processor_seconds_per_feature": processor / len(latents),
        "processor_seconds_for_all": steps["pool"]["processor_seconds"] + processor * len(everything) / len(latents),
        "all_features": len(everything),
        "peak_mb": peak_mb(),
        "peak_mb_before": before,
        "threads": asked.threads,
        "steps": steps,
    }


@contextmanager
def timed(steps: dict[str, dict[str, float]], name: str) -> Iterator[None]:
    began, worked = time.perf_counter(), time.process_time()
    yield
    steps[name] = {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - worked}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()
