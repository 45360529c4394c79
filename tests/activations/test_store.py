"""The store: any run of rows, across shards, and a clear word where there is none."""

from __future__ import annotations

import json

import pytest
import torch

from monosema.activations import Store
from monosema.core import DamagedFileError, RunError, SiteError

SITES = ["0.resid_post", "1.mlp.post"]


def test_any_run_of_rows_is_read_across_shards(store):
    whole = torch.cat([store.rows_of(SITES[0], shard) for shard in range(len(store.manifest.shards))])
    assert len(whole) == store.rows
    first = store.manifest.shards[0].rows
    for start, stop in [(0, 0), (0, 1), (first - 1, first + 1), (first, first), (0, store.rows), (store.rows,) * 2]:
        assert torch.equal(store.read(SITES[0], start, stop), whole[start:stop])
    with pytest.raises(IndexError, match="not within"):
        store.read(SITES[0], 0, store.rows + 1)


def test_an_unknown_site_is_named_with_those_there_are(store):
    with pytest.raises(SiteError, match=r"no site 1\.resid_post\. It has: 0\.resid_post, 1\.mlp\.post"):
        store.read("1.resid_post", 0, 1)


def test_a_folder_that_is_no_store_says_so(tmp_path, store):
    with pytest.raises(RunError, match="no store"):
        Store.open(tmp_path)
    manifest = store.path / "manifest.json"
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(values | {"version": 99}))
    with pytest.raises(RunError, match="version 99"):
        Store.open(store.path)
    manifest.write_text(json.dumps({"format": "other"}))
    with pytest.raises(RunError, match="not the manifest"):
        Store.open(store.path)
    manifest.write_text(json.dumps({key: values[key] for key in values if key != "widths"}))
    with pytest.raises(DamagedFileError, match="widths"):
        Store.open(store.path)
    manifest.write_text("{")
    with pytest.raises(DamagedFileError, match="not valid JSON"):
        Store.open(store.path)


def test_the_checksum_taken_while_writing_is_that_of_the_file(tmp_path):
    import safetensors.torch

    from monosema.activations.manifest import checksum_of
    from monosema.core import checksum_file

    tensors = {
        "activations/b": torch.randn(7, 3).to(torch.bfloat16),
        "activations/a": torch.randn(7, 5),
        "tokens": torch.arange(7, dtype=torch.int32),
        "document": torch.arange(7),
        "empty": torch.empty(0, 4),
    }
    path = tmp_path / "shard.safetensors"
    safetensors.torch.save_file(tensors, path)
    assert checksum_of(tensors, path) == checksum_file(path)
    assert checksum_of({**tensors, "tokens": tensors["tokens"] + 1}, path) != checksum_file(path)
