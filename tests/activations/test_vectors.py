"""Anybody's vectors: every format gives the same rows, and what can't be trained on is refused with its count."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from monosema.activations import Store, StoreStream, VectorStore, open_rows, open_vectors
from monosema.core import DiskFullError, SiteError, VectorError

X = np.random.default_rng(0).standard_normal((5000, 6)).astype(np.float32)


def lists(x):
    return pa.table({"id": np.arange(len(x)), "v": list(x)})


def fixed(x):
    return pa.table({"v": pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])})


def columns(x):
    return pa.table({f"c{i}": x[:, i] for i in range(x.shape[1])})


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *itertools.product(
            ["npy", "fortran", "safetensors", "lists", "fixed", "columns"], ["float16", "float32", "float64"]
        ),
        ("safetensors", "bfloat16"),
    ],
)
def test_every_format_gives_the_same_rows(tmp_path, kind, dtype):
    tensor = torch.from_numpy(X).to(getattr(torch, dtype))
    array = X if dtype == "bfloat16" else X.astype(dtype)
    path = tmp_path / {"npy": "x.npy", "fortran": "x.npy", "safetensors": "x.safetensors"}.get(kind, "x.parquet")
    match kind:
        case "npy":
            np.save(path, array)
        case "fortran":
            np.save(path, np.asfortranarray(array))
        case "safetensors":
            save_file({"x": tensor}, path)
        case _:
            pq.write_table({"lists": lists, "fixed": fixed, "columns": columns}[kind](array), path, row_group_size=700)
    store = open_vectors(path)
    assert (store.rows, store.width()) == X.shape
    expected = tensor.float()
    assert torch.equal(store.read(None, 0, store.rows), expected)
    assert torch.equal(store.read("vectors", 1234, 1240), expected[1234:1240])
    assert torch.equal(store.gather(None, [(7, 9), (4000, 4002)]).decode(), expected[[7, 8, 4000, 4001]])
    stream = StoreStream(store, batch=100, memory_mb=0.01, chunk=64)
    rows = torch.cat(list(stream))
    assert len(rows) == 5000
    assert torch.equal(rows.sort(dim=0).values, expected.sort(dim=0).values)


def test_files_of_a_folder_are_shards(tmp_path):
    for number, part in enumerate(np.array_split(X, 3)):
        np.save(tmp_path / f"part{number}.npy", part)
    (tmp_path / "notes.md").write_text("not vectors")
    store = open_rows(tmp_path)
    assert isinstance(store, VectorStore)
    assert torch.equal(store.read(None, 1600, 3400), torch.from_numpy(X[1600:3400]))
    np.save(tmp_path / "part9.npy", X[:, :3])
    with pytest.raises(VectorError, match=r"differ in width or type .*part9\.npy: 3 × float32"):
        open_vectors(tmp_path)


def test_a_captured_store_is_rows_too(store):
    assert isinstance(open_rows(store.path), Store)


def test_nan_and_infinity_are_counted_by_file(tmp_path):
    for number in range(3):
        part = X[:2000].copy()
        if number:
            part[17] = np.nan
            part[5 * number :: 400, 2] = np.inf
        np.save(tmp_path / f"part{number}.npy", part)
    with pytest.raises(
        VectorError,
        match=r"part1\.npy: 11 values in 6 of 2,000 rows \(rows 5, 17, 405, 805, 1205, …\); part2\.npy: 11 values",
    ):
        open_vectors(tmp_path)
    assert open_vectors(tmp_path, check=False).rows == 6000


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (X[0], r"shape \[6\]; vectors must be a matrix"),
        (X.reshape(10, 500, 6), r"shape \[10, 500, 6\]"),
        (X[:0], "empty"),
        (X.astype(np.int64), "holds int64"),
        (X.astype(np.complex64), "holds complex64"),
        (X.astype(">f4"), "holds >f4"),
        (np.array([["a"]]), "holds <U1"),
        (np.array([[{}]], dtype=object), "can't be read as .npy"),
    ],
)
def test_arrays_that_are_no_vectors_are_refused(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(VectorError, match=message):
        open_vectors(tmp_path / "x.npy")


@pytest.mark.parametrize("name", ["x.npy", "x.safetensors", "x.parquet"])
def test_truncated_files_are_named(tmp_path, name):
    path = tmp_path / name
    if name == "x.npy":
        np.save(path, X)
    elif name == "x.safetensors":
        save_file({"x": torch.from_numpy(X)}, path)
    else:
        pq.write_table(lists(X), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(VectorError, match=rf"{name} can't be read"):
        open_vectors(path)


def test_missing_columns_and_keys_name_those_there_are(tmp_path):
    pq.write_table(pa.table({"a": [[1.0]], "b": [[2.0]], "name": ["x"]}), tmp_path / "x.parquet")
    with pytest.raises(VectorError, match=r"does not say which.*a \(list<element: double>\), b .*column = …"):
        open_vectors(tmp_path / "x.parquet")
    assert open_vectors(tmp_path / "x.parquet", "b").read(None, 0, 1).item() == 2.0
    with pytest.raises(VectorError, match=r"no column 'nam'. Did you mean .*\? It has: a, b, name"):
        open_vectors(tmp_path / "x.parquet", "nam")
    with pytest.raises(VectorError, match=r"'name' .* holds string"):
        open_vectors(tmp_path / "x.parquet", "name")
    save_file({"w1": torch.ones(2, 2), "w2": torch.zeros(2, 2)}, tmp_path / "x.safetensors")
    with pytest.raises(VectorError, match=r"2 tensors .*w1, w2"):
        open_vectors(tmp_path / "x.safetensors")
    with pytest.raises(VectorError, match="no tensor 'w3'"):
        open_vectors(tmp_path / "x.safetensors", "w3")
    assert open_vectors(tmp_path / "x.safetensors", "w1").rows == 2
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(VectorError, match="no columns"):
        open_vectors(tmp_path / "x.npy", "v")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0, 2.0], [3.0]], "different lengths between rows 0 and 2: 1, 2"),
        ([[1.0, 2.0], None], "1 missing"),
        ([[1.0, None], [1.0, 2.0]], "1 missing"),
        ([], "empty"),
    ],
)
def test_ragged_and_missing_vectors_are_refused(tmp_path, values, message):
    pq.write_table(pa.table({"v": pa.array(values, pa.list_(pa.float32()))}), tmp_path / "x.parquet")
    with pytest.raises(VectorError, match=message):
        open_vectors(tmp_path / "x.parquet")


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(VectorError, match="no file or folder"):
        open_vectors(tmp_path / "x.npy")
    (tmp_path / "x.csv").write_text("1,2")
    with pytest.raises(VectorError, match=r"known are \.npy"):
        open_vectors(tmp_path / "x.csv")
    with pytest.raises(VectorError, match=r"known are \.npy"):
        open_vectors(tmp_path)


def test_vectors_have_one_site_and_a_digest(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", -X)
    store = open_vectors(tmp_path / "x.npy")
    assert [site.short for site in store.sites] == ["vectors"]
    with pytest.raises(SiteError, match="only site is 'vectors'"):
        store.read("3.resid_post", 0, 1)
    with pytest.raises(IndexError):
        store.read(None, 0, 5001)
    assert store.digest != open_vectors(tmp_path / "y.npy").digest
    json.dumps(StoreStream(store, batch=10).state_dict())


def test_no_room_to_unpack_says_so(tmp_path, monkeypatch):
    import tempfile

    pq.write_table(lists(X), tmp_path / "x.parquet")
    real = tempfile.TemporaryFile
    full = Path("/dev/full")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda buffering: full.open("wb", buffering=buffering))
    with pytest.raises(DiskFullError, match="No room"):
        open_vectors(tmp_path / "x.parquet")
    monkeypatch.setattr(tempfile, "TemporaryFile", real)
    assert open_vectors(tmp_path / "x.parquet").rows == 5000


def test_text_that_is_named_npy_is_no_array(tmp_path):
    path = tmp_path / "vectors.npy"
    path.write_text("1.0 2.0\n3.0 4.0\n")
    with pytest.raises(VectorError, match="no NumPy array"):
        open_vectors(path)
