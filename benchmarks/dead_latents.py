"""Dead latents on an MLP's hidden layer, where dictionaries are known to die, by how they start and are revived.

    python benchmarks/dead_latents.py [--site 3.mlp.post] [--expansion 16] [--tokens 600000]

The dictionaries of the 2023 paper (arXiv:2309.08600) died on MLP activations. Each row of the table is a TopK
dictionary of the same size on the same activations of the embedded model, trained for one pass: alive is the share of
latents that fire on at least one of the last rows (--alive-rows of them, the held-out ones included), FVU is held out.
Results are kept in --out, and what is there is not trained again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

HELD_OUT = 16_384
VARIANTS: dict[str, dict[str, Any]] = {
    "random start": {"start": "random", "k_aux": 0, "resample_at": ()},
    "random start, AuxK as in the paper": {"start": "random", "resample_at": (), "aux_every": 1, "aux_latents": None},
    "random start, resampling": {"start": "random", "k_aux": 0},
    "orthogonal start": {"start": "orthogonal", "k_aux": 0, "resample_at": ()},
    "start from the model's weights": {"start": "weights", "k_aux": 0, "resample_at": ()},
    "start from the model's weights, resampling": {"start": "weights", "k_aux": 0},
    "start from data": {"k_aux": 0, "resample_at": ()},
    "start from data, AuxK as in the paper": {"resample_at": (), "aux_every": 1, "aux_latents": None},
    "start from data, resampling": {"k_aux": 0},
    "start from data, resampling and AuxK (default)": {},
}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="specimen")
    p.add_argument("--site", default="3.mlp.post")
    p.add_argument("--expansion", type=int, default=16, help="latents as a multiple of the site's width")
    p.add_argument("--k", type=int, default=32)
    p.add_argument("--tokens", type=int, default=600_000)
    p.add_argument("--batch", type=int, default=4096)
    p.add_argument("--alive-rows", type=int, default=200_000)
    p.add_argument("--variants", nargs="+", default=list(VARIANTS), metavar="NAME", help="which rows of the table")
    p.add_argument("--out", type=Path, default=Path("build/dead-latents"))
    a = p.parse_args()
    unknown = set(a.variants) - set(VARIANTS)
    if unknown:
        p.error(f"no such variants: {', '.join(sorted(unknown))}; there are: {', '.join(VARIANTS)}")
    store, model = captured(a)
    results = json.loads((a.out / "results.json").read_text()) if (a.out / "results.json").exists() else {}
    for name in a.variants:
        key = json.dumps([name, a.model, a.site, a.expansion, a.k, a.tokens, a.batch, a.alive_rows])
        if key not in results:
            results[key] = trained(name, a, store, model)
            (a.out / "results.json").write_text(json.dumps(results, indent=1))
        print(json.dumps({"variant": name, **results[key]}), flush=True)
    print(table({json.loads(key)[0]: value for key, value in results.items()}))


def captured(a: argparse.Namespace) -> tuple[Any, Any]:
    """Activations on disk, captured if they aren't there."""
    from monosema.activations import capture_to_store
    from monosema.data import TextConfig, open_corpus, token_batches
    from monosema.models import load_model

    model = load_model(a.model, dtype="float32")
    batches = token_batches(open_corpus("builtin"), model.tokenizer, TextConfig(window=128, batch=32, tokens=a.tokens))
    return capture_to_store(model, batches, [a.site], a.out / f"{a.site}-{a.tokens}"), model


def trained(name: str, a: argparse.Namespace, store: Any, model: Any) -> dict[str, float]:
    import torch

    from monosema.activations import StoreStream, fit_preprocessing
    from monosema.dictionaries import load_dictionary, make_coder
    from monosema.training import TrainConfig, held_out_metrics, train

    width = store.width(a.site)
    latents = a.expansion * width
    wanted = dict(VARIANTS[name])
    weights = wanted.get("start") == "weights"
    if weights:
        wanted["start"] = "random"
    if wanted.get("aux_every") == 1:
        wanted["aux_latents"] = latents
    rows = slice(0, store.rows - HELD_OUT)
    stream = StoreStream(store, a.site, batch=a.batch, rows=rows, preprocessing=fit_preprocessing(store, rows=rows))
    dictionary = make_coder("topk", d_in=width, n_latents=latents, k=a.k, **wanted)
    if weights:
        dictionary.start = lambda sample, seed: start_from_weights(dictionary, model, a.site, sample)  # type: ignore
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        train(dictionary, stream, TrainConfig(), Path(folder))
        seconds = time.perf_counter() - begin
        final = load_dictionary(folder)
    first = max(0, store.rows - a.alive_rows)
    counts = torch.zeros(latents, dtype=torch.int64)
    for start in range(first, store.rows, 4096):
        counts += final.encode(store.read(a.site, start, min(start + 4096, store.rows))).counts()
    held = held_out_metrics(final, store.read(a.site, store.rows - HELD_OUT, store.rows))
    return {
        "fvu": round(held.fvu or 0.0, 4),
        "alive": round(float((counts > 0).float().mean()), 4),
        "alive_rows": store.rows - first,
        "seconds": round(seconds, 1),
    }


def start_from_weights(dictionary: Any, model: Any, site: str, sample: Any) -> None:
    """What the MLP's output matrix reads from the hidden layer, and the neurons themselves."""
    import torch

    from monosema.core import Site
    from monosema.dictionaries import directions_from

    rows = model.blocks[Site.parse(site).layer].mlp.out.weight.detach().float()
    given = torch.cat([rows, torch.eye(dictionary.d_in)])
    made = directions_from(given, dictionary.n_latents, torch.Generator().manual_seed(0))
    dictionary.start_from(made, sample)


def table(results: dict[str, dict[str, float]]) -> str:
    lines = ["| | alive | held-out FVU | seconds |", "|---|---|---|---|"]
    lines += [f"| {n} | {r['alive']:.1%} | {r['fvu']:.4f} | {r['seconds']:.0f} |" for n, r in results.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
