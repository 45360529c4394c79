"""How near the strength that is solved for a divergence comes to it, and in how many passes, for many latents at once.

    python benchmarks/strength.py RUN [--latents 192] [--kl 0.25 0.5 1]

Alive latents of a run, drawn at random, 64 at a time, are added everywhere to one text, in units of their maxima.
Prints Markdown: of how many the divergence is within 2 % of the one asked for, and how many strengths were tried.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import torch

from monosema.core import numpy_generator
from monosema.models import load_model
from monosema.runs import Run
from monosema.steering import Add, Edit, Latent, Steering
from monosema.steering.strength import WITHIN, strengths_tried

AT_ONCE = 64
TEXT = (
    "When Mary and John went to the store, John gave a drink to Mary. The weather was cold, and the old man walked "
    "home slowly through the rain."
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--latents", type=int, default=192)
    parser.add_argument("--kl", type=float, nargs="+", default=[0.25, 0.5, 1.0])
    asked = parser.parse_args()
    run = Run.open(asked.run)
    model, dictionary, atlas = load_model(run.recipe.model.name, dtype="float32"), run.dictionary(), run.atlas()
    site = dictionary.metadata.site
    alive = [row["latent"] for row in atlas.features(sort="latent", limit=None)]
    drawn = numpy_generator(0, "strength").permutation(alive)[: asked.latents].tolist()
    steerings = [
        Steering(Edit(Latent(dictionary, latent, site, atlas.feature(latent).max), Add(1.0), unit="max"))
        for latent in drawn
    ]
    tokens = torch.tensor([model.tokenizer.encode(TEXT)])
    print(f"{len(drawn)} latents, a text of {tokens.shape[1]} tokens, load {os.getloadavg()[0]:.1f}\n")
    print(f"| nats a token | within {WITHIN:.0%} | strengths tried, mean | most | s |\n|---|---|---|---|---|")
    for kl in asked.kl:
        began, found = time.perf_counter(), []
        for first in range(0, len(steerings), AT_ONCE):
            found += strengths_tried(model, steerings[first : first + AT_ONCE], tokens, kl)
        near = sum(abs(one.nearest[0] / kl - 1) <= WITHIN for one in found)
        tried = [len(one.tried) for one in found]
        seconds = time.perf_counter() - began
        print(f"| {kl:g} | {near} of {len(found)} | {statistics.mean(tried):.1f} | {max(tried)} | {seconds:.0f} |")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
