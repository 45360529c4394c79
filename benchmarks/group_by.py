"""Group-by work of the atlas done by numpy and by DuckDB, at equal results, on codes drawn at random.

    python benchmarks/group_by.py

500,000 tokens with 32 of 4,096 latents each, as numpy arrays sorted by latent and as one Parquet file (latent,
position, value). One thread each, in turns; processor time, as that doesn't depend on what else runs.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TOKENS, K, LATENTS, PASSAGE, BINS, TOP = 500_000, 32, 4096, 128, 32, 20


def draw() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw latent, position and value of each entry, sorted by latent and position; latents differ in frequency."""
    rng = np.random.default_rng(0)
    odds = rng.lognormal(0, 1.2, LATENTS)
    latent = rng.choice(LATENTS, TOKENS * K, p=odds / odds.sum())
    position = np.repeat(np.arange(TOKENS), K)
    _, kept = np.unique(latent * TOKENS + position, return_index=True)
    value = rng.gamma(1.5, 1.0, len(kept)).astype(np.float32)
    return latent[kept].astype(np.int32), position[kept], value


def main() -> None:
    """Print seconds of processor time of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    latent, position, value = draw()
    first = np.searchsorted(latent, np.arange(LATENTS + 1))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "codes.parquet"
        pq.write_table(pa.table({"latent": latent, "position": position, "value": value}), file)
        database = duckdb.connect()
        database.execute("set threads = 1")

        def numpy_statistics() -> np.ndarray:
            np.bincount(latent, weights=value, minlength=LATENTS)
            largest = np.maximum.reduceat(value, first[:-1]).astype(np.float64)
            bins = np.ceil(value * BINS / largest[latent]).astype(np.int64) - 1
            return np.bincount(latent.astype(np.int64) * BINS + bins, minlength=LATENTS * BINS)

        def duckdb_statistics() -> np.ndarray:
            database.execute(
                "create or replace temp table s as select latent, count(*) n, sum(value::double) total, "
                f"max(value) largest from '{file}' group by latent"
            )
            rows = database.execute(
                f"select latent, ceil(value * {BINS} / largest::double)::int - 1 bin, count(*) n "
                f"from '{file}' join s using (latent) group by all"
            ).fetchnumpy()
            counts = np.zeros(LATENTS * BINS, np.int64)
            counts[rows["latent"].astype(np.int64) * BINS + rows["bin"]] = rows["n"]
            return counts

        def numpy_top() -> np.ndarray:
            passage = position // PASSAGE
            begins = np.ones(len(value), np.bool_)
            begins[1:] = (passage[1:] != passage[:-1]) | (latent[1:] != latent[:-1])
            start = np.flatnonzero(begins)
            strength, owner = np.maximum.reduceat(value, start), latent[start]
            # Positive floats sort as their bits do: one sort of whole numbers orders by latent, then by strength.
            keys = np.sort((owner.astype(np.uint64) << np.uint64(32)) | strength.view(np.uint32))
            ends = np.searchsorted(owner, np.arange(LATENTS), side="right")
            begin = np.maximum(ends - TOP, np.concatenate([[0], ends[:-1]]))
            return np.concatenate([keys[a:b] for a, b in zip(begin, ends, strict=True)])

        def duckdb_top() -> np.ndarray:
            rows = database.execute(
                f"select latent, largest from (select latent, position // {PASSAGE} passage, max(value) largest, "
                f"arg_max(position, value) peak from '{file}' group by all) "
                f"qualify row_number() over (partition by latent order by largest desc, passage) <= {TOP}"
            ).fetchnumpy()
            return np.sort((rows["latent"].astype(np.uint64) << np.uint64(32)) | rows["largest"].view(np.uint32))

        for name, one, other in (
            ("count, sum, maximum, histogram", numpy_statistics, duckdb_statistics),
            (f"{TOP} strongest passages", numpy_top, duckdb_top),
        ):
            if not np.array_equal(one(), other()):
                raise SystemExit(f"{name}: the results differ")
            pairs = [(seconds(one), seconds(other)) for _ in range(rounds)]
            ours, theirs = (median(of_one) for of_one in zip(*pairs, strict=True))
            print(f"{name}: numpy {ours:.2f} s, DuckDB {theirs:.2f} s, {theirs / ours:.1f} x")


def seconds(work: Callable[[], np.ndarray]) -> float:
    """Return the processor time of one call."""
    before = _used()
    work()
    return _used() - before


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
