"""How fast an atlas is made, against the bound: the same text through model and encoder, and nothing else.

    python benchmarks/atlas.py [--tokens 1000000] [--latents 4096] [--k 32] [--repeats 3]

Both arms run in turn in one process; medians are compared. The dictionary is one of random directions: what it costs
to look at a latent does not depend on what it means. Prints JSON, then a table.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path

import torch

from monosema.atlas import AtlasConfig, build_atlas
from monosema.atlas.encode import encode_batch
from monosema.core import Site
from monosema.data import TextConfig, TokenBatch, open_corpus, token_batches
from monosema.dictionaries import Dictionary, RandomDirections
from monosema.models import LanguageModel, load_model


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="specimen")
    parser.add_argument("--site", default="3.resid_post")
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--latents", type=int, default=4096)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory-mb", type=int, default=768)
    asked, _ = parser.parse_known_args()
    model, site = load_model(asked.model, dtype="float32"), Site.parse(asked.site)
    text = list(token_batches(open_corpus("builtin"), model.tokenizer, TextConfig(tokens=asked.tokens)))
    sample = torch.cat([model.activations(batch.tokens, [site])[site][batch.keep] for batch in text[:4]])
    dictionary = RandomDirections.fit(sample.detach().float(), asked.latents, asked.k)
    tokens = sum(int(batch.keep.sum()) for batch in text)
    config = AtlasConfig(memory_mb=asked.memory_mb)
    before = peak_mb()
    seconds: dict[str, list[float]] = {"bound": [], "atlas": []}
    for _ in range(asked.repeats):
        seconds["bound"].append(bound(model, dictionary, site, text))
        seconds["atlas"].append(atlas(model, dictionary, site, text, config))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    result = {
        "model": model.name,
        "tokens": tokens,
        "latents": asked.latents,
        "k": asked.k,
        "threads": torch.get_num_threads(),
        "bound_seconds": round(medians["bound"], 2),
        "atlas_seconds": round(medians["atlas"], 2),
        "bound_tokens_per_second": round(tokens / medians["bound"]),
        "atlas_tokens_per_second": round(tokens / medians["atlas"]),
        "ratio": round(medians["bound"] / medians["atlas"], 3),
        "memory_mb_beside_text_and_model": round(peak_mb() - before),
    }
    print(json.dumps(result))
    print(f"\n| {' | '.join(result)} |\n|{'---|' * len(result)}\n| {' | '.join(map(str, result.values()))} |")


@torch.inference_mode()
def bound(model: LanguageModel, dictionary: Dictionary, site: Site, text: list[TokenBatch]) -> float:
    start = time.perf_counter()
    for batch in text:
        encode_batch(model, dictionary, site, batch)
    return time.perf_counter() - start


def atlas(
    model: LanguageModel, dictionary: Dictionary, site: Site, text: list[TokenBatch], config: AtlasConfig
) -> float:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        build_atlas(model, dictionary, site, text, Path(folder) / "atlas", config)
        return time.perf_counter() - start


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
