"""Make a set of items and vectors, and run monosema on it to a report.

    PYTHONPATH=experiments python -m vectors digits --out runs/digits
    PYTHONPATH=experiments python -m vectors ratings --out runs/films
    PYTHONPATH=experiments python -m vectors sentences --texts corpus/presidential_speeches.parquet --out runs/sentences

The vectors and the table of names are written beside the run, into OUT.data. All further words are keys of the run,
such as `--latents 512`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from monosema.cli import main
from vectors import digits, ratings, sentences

MAKERS: dict[str, Callable[[Path | None], tuple[np.ndarray, dict[str, list[object]]]]] = {
    "digits": lambda texts: digits.items(),
    "ratings": lambda texts: ratings.items(),
    "sentences": sentences.items,
}
"""Makers of vectors, one a row, and of the columns of their names."""


def run(words: list[str] | None = None) -> int:
    """Write the files and run them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parser = argparse.ArgumentParser(prog="vectors")
    parser.add_argument("items", choices=list(MAKERS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--texts", type=Path, help="of sentences: a Parquet file with a column text")
    asked, keys = parser.parse_known_args(words)
    data = asked.out.with_name(asked.out.name + ".data")
    vectors, names = data / f"{asked.items}.npy", data / f"{asked.items}.parquet"
    if not names.exists():
        data.mkdir(parents=True, exist_ok=True)
        rows, columns = MAKERS[asked.items](asked.texts)
        np.save(vectors, rows.astype(np.float32))
        pq.write_table(pa.table(columns), names)
    return main(["train", "--activations", str(vectors), "--names", str(names), "--out", str(asked.out), *keys])


if __name__ == "__main__":
    raise SystemExit(run())
