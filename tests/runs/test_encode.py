from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from monosema.core import InputError, VectorError
from monosema.dictionaries import Metadata, dictionary_config
from monosema.runs import encode_vectors


def test_all_codes_are_written_by_row_and_strength_however_few_rows_are_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coder = dictionary_config("topk", n_latents=12, k=3).make([4], Metadata(), 0)
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x)
    (tmp_path / "names.txt").write_text("\n".join(f"film {row}" for row in range(50)))
    monkeypatch.setattr("monosema.runs.encode.CELLS", 12 * 7)
    counts = encode_vectors(coder, tmp_path / "x.npz", tmp_path / "codes.parquet", tmp_path / "names.txt")
    table = pq.read_table(tmp_path / "codes.parquet").to_pydict()
    dense = coder.encode(torch.from_numpy(x)).dense()
    found = torch.zeros_like(dense)
    found[table["row"], table["latent"]] = torch.tensor(table["activation"])
    assert torch.allclose(found, dense, atol=1e-6)
    assert counts["activations"] == len(table["row"]) == int((dense != 0).sum())
    order = list(zip(table["row"], [-one for one in table["activation"]], strict=True))
    assert order == sorted(order)
    assert table["name"] == [f"film {row}" for row in table["row"]]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    coder = dictionary_config("topk", n_latents=12, k=3).make([4], Metadata(), 0)
    np.save(tmp_path / "x.npy", np.ones((5, 3), np.float32))
    with pytest.raises(VectorError, match="vectors of 3 values, and the dictionary reads 4"):
        encode_vectors(coder, tmp_path / "x.npy", tmp_path / "codes.parquet")
    with pytest.raises(InputError, match=r"codes\.parquet"):
        encode_vectors(coder, tmp_path / "x.npy", tmp_path / "codes.csv")
