"""Capture: the rows are the model's own, what is left out is counted, and nothing that is done is done again."""

from __future__ import annotations

import errno
import json
import resource
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from monosema.activations import CaptureConfig, Store
from monosema.core import (
    CorpusError,
    DamagedFileError,
    DiskFullError,
    RunError,
    Site,
    SiteError,
    VectorError,
)
from monosema.data import TextConfig

SITES = ["0.resid_post", "1.mlp.post"]
CAPTURE = CaptureConfig(shard_rows=700)


def expected_rows(model, batches, site):
    parts = []
    for batch in batches():
        mask = None if batch.attention_mask.all() else batch.attention_mask
        parts.append(model.activations(batch.tokens, [Site.parse(site)], mask)[Site.parse(site)][batch.keep])
    return torch.cat(parts).detach()


@pytest.mark.parametrize("codec", ["float32", "bfloat16", "float16", "int8"])
def test_rows_are_the_models_own(capture, model, batches, codec):
    store = capture(config=CaptureConfig(codec=codec, shard_rows=700))
    assert len(store.manifest.shards) > 2
    for site in SITES:
        exact = expected_rows(model, batches, site)
        read = store.read(site, 0, store.rows)
        assert read.shape == (store.rows, store.width(site)) == exact.shape
        measured = (read - exact).norm() / exact.norm()
        reported = store.manifest.errors[str(Site.parse(site))][codec]["relative"]
        assert measured == pytest.approx(reported, rel=0.3)
        if codec == "float32":
            assert torch.equal(read, exact)


def test_one_pass_serves_all_sites(capture, passes, batches):
    capture()
    assert len(passes) == len(list(batches()))


def test_each_row_knows_its_token_document_and_position(store, batches):
    kept = [(b.tokens[b.keep], b.document[b.keep], b.position[b.keep]) for b in batches()]
    for read, parts in zip(
        (store.tokens(), store.documents(), store.positions()), zip(*kept, strict=True), strict=True
    ):
        assert torch.equal(read.long(), torch.cat(parts))
    assert (store.documents() >= 0).all()


def test_what_is_left_out_is_counted(store, batches):
    stream = batches()
    for _ in stream:
        pass
    counts = store.manifest.counts
    assert counts["rows"] == store.rows == stream.counts.kept
    assert counts["sinks"] == stream.counts.sinks > 0
    assert counts["tokens"] == counts["rows"] + counts["sinks"]
    assert counts["extreme_tokens"] == 0


def test_extreme_norms_are_left_out_at_all_sites(capture, model, monkeypatch, batches):
    inner = model.activations

    def with_outliers(tokens, sites, attention_mask=None):
        got = dict(inner(tokens, sites, attention_mask))
        first = Site.parse(SITES[0])
        got[first] = torch.where((tokens == token)[..., None], got[first] * 1000, got[first])
        return got

    token = int(next(batches()).tokens[0, 3])
    monkeypatch.setattr(model, "activations", with_outliers)
    store = capture()
    counts = store.manifest.counts
    assert not (store.tokens() == token).any()
    assert counts["extreme_tokens"] == counts["extreme"][str(Site.parse(SITES[0]))] > 10
    assert counts["extreme"][str(Site.parse(SITES[1]))] == 0
    assert counts["tokens"] == counts["rows"] + counts["sinks"] + counts["extreme_tokens"]


def test_a_finished_store_is_not_captured_again(capture, passes):
    first = capture()
    passes.clear()
    assert capture().digest == first.digest
    assert not passes


@pytest.mark.parametrize("shard", [0, 1, -1])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_only_a_damaged_shard_is_made_again(capture, passes, shard, damage):
    store = capture()
    record = store.manifest.shards[shard]
    path = store.path / record.file
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-5] ^= 1
        path.write_bytes(content)
    elif damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.unlink()
    assert Store.open(store.path).verify() == [record.file]
    if damage != "flip":
        with pytest.raises(DamagedFileError, match=rf"{record.file} is damaged: .* makes only this one"):
            Store.open(store.path).read(SITES[0], 0, store.rows)
    passes.clear()
    again = capture()
    assert len(passes) == record.batches
    assert again.verify() == []
    assert again.manifest.shards == store.manifest.shards


def test_another_recipe_is_refused_with_the_difference(capture):
    capture()
    with pytest.raises(RunError, match=r"codec: the store has 'bfloat16', asked for is 'int8'"):
        capture(config=CAPTURE.replace(codec="int8"))
    with pytest.raises(RunError, match=r"sites: .*mlp"):
        capture(sites=SITES[:1])
    with pytest.raises(RunError, match=r"text\.window: the store has 24, asked for is 16"):
        capture(text=TextConfig(window=16, batch=8, split="all"))
    with pytest.raises(RunError, match=r"corpus_digest"):
        capture(corpus_digest="another")


def test_an_unfinished_store_says_so_and_is_gone_on_with(capture, passes, monkeypatch, tmp_path):
    whole = capture(path=tmp_path / "whole")
    passes.clear()
    saved = safetensors.torch.save_file
    full = []

    def fill_up(tensors, path):
        if len(full) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        full.append(path)
        saved(tensors, path)

    monkeypatch.setattr(safetensors.torch, "save_file", fill_up)
    with pytest.raises(DiskFullError, match=r"shard-00002.*[Mm]ake room"):
        capture()
    folder = tmp_path / "store"
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.json",
        "shard-00000.safetensors",
        "shard-00001.safetensors",
    ]
    with pytest.raises(RunError, match="not finished"):
        Store.open(folder)
    monkeypatch.setattr(safetensors.torch, "save_file", saved)
    passes.clear()
    store = capture()
    assert store.manifest == whole.manifest
    assert len(passes) == sum(shard.batches for shard in whole.manifest.shards[2:])


def test_a_file_size_limit_leaves_nothing_half_written(capture, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(DiskFullError):
            capture()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in (tmp_path / "store").iterdir()] == []
    assert capture().verify() == []


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import safetensors.torch
from conftest import CAPTURE, SITES, TEXT, Words
from monosema.activations import capture_to_store
from monosema.data import token_batches
from monosema.models import random_model

left = int(sys.argv[3])
saved = safetensors.torch.save_file

def save_and_die(tensors, path):
    global left
    if left == 0:
        whole = Path(str(path) + ".whole")
        saved(tensors, whole)
        Path(path).write_bytes(whole.read_bytes()[:1000])
        whole.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    saved(tensors, path)

safetensors.torch.save_file = save_and_die
model = random_model()
capture_to_store(model, token_batches(Words(), model.tokenizer, TEXT), SITES, sys.argv[2], CAPTURE)
"""


@pytest.mark.parametrize("shards", [0, 2])
def test_a_killed_capture_goes_on_after_its_last_shard(capture, passes, tmp_path, shards):
    whole = capture(path=tmp_path / "whole")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, __file__.rsplit("/", 1)[0], str(tmp_path / "store"), str(shards)],
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -9, killed.stderr
    finished = sorted((tmp_path / "store").glob("shard-*"))
    assert len(finished) == shards
    (tmp_path / "store" / ".manifest.json.0123abcd.tmp").touch()
    passes.clear()
    store = capture()
    assert len(passes) == sum(shard.batches for shard in whole.manifest.shards[shards:])
    assert store.manifest == whole.manifest
    assert store.verify() == []
    assert len(list(store.path.iterdir())) == len(store.manifest.shards) + 1


def test_nan_from_the_model_is_refused(capture, model, monkeypatch):
    inner = model.activations

    def broken(tokens, sites, attention_mask=None):
        got = dict(inner(tokens, sites, attention_mask))
        got[sites[1]][0, 5, 0] = float("nan")
        return got

    monkeypatch.setattr(model, "activations", broken)
    with pytest.raises(VectorError, match=r"NaN or infinity at 1\.mlp\.post for 1 of \d+ tokens"):
        capture()


def test_sites_without_a_row_for_each_token_are_refused(capture):
    with pytest.raises(SiteError, match="no row for each token"):
        capture(sites=["0.pattern"])
    with pytest.raises(SiteError, match="each once"):
        capture(sites=[])
    with pytest.raises(SiteError):
        capture(sites=["7.resid_post"])


def test_heads_become_one_row(capture, model, batches):
    store = capture(sites=["0.z"], config=CaptureConfig(codec="float32"))
    batch = next(batches())
    z = model.activations(batch.tokens, ["0.z"])[Site.parse("0.z")]
    assert z.ndim == 4
    assert torch.equal(store.read("0.z", 0, int(batch.keep.sum())), z[batch.keep].flatten(1))


def test_a_text_without_a_kept_token_is_refused(model, batches, tmp_path):
    from monosema.activations import capture_to_store
    from monosema.data import TokenBatch

    nothing = [
        TokenBatch(b.tokens, b.attention_mask, b.document, b.position, torch.zeros_like(b.keep)) for b in batches()
    ]
    with pytest.raises(CorpusError, match="No token"):
        capture_to_store(model, nothing, SITES, tmp_path / "empty", CAPTURE)


def test_the_manifest_is_for_people_too(store):
    manifest = json.loads((store.path / "manifest.json").read_text())
    assert manifest["recipe"]["text"]["window"] == 24
    assert manifest["recipe"]["corpus_digest"] == "0123456789abcdef"
    assert manifest["recipe"]["model_digest"]
    assert manifest["counts"]["sinks"] > 0
    assert set(manifest["errors"]["blocks.0.hook_resid_post"]) == {"float32", "bfloat16", "float16", "int8"}
