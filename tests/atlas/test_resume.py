"""Killed at any moment, the same call ends with the same tables; what it leaves and uses is bounded."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monosema.atlas import build_atlas, encode
from monosema.atlas.tables import NAMES
from monosema.core import CorpusError, VectorError


def build(path: str, after: int, text: str) -> None:
    """Make an atlas, and kill the process (SIGKILL) at its n-th step; at none where n is 0."""
    import torch

    import monosema.atlas.build as build
    from monosema.atlas import AtlasConfig, code_shards
    from monosema.data import TextConfig, open_corpus, token_batches
    from monosema.dictionaries import RandomDirections
    from monosema.models import random_model

    torch.set_num_threads(1)
    encode._POSITIONS = 512
    model = random_model()
    batches = token_batches(
        open_corpus(text), model.tokenizer, TextConfig(window=32, batch=4, tokens=4000, split="all")
    )
    rows = torch.randn(200, 32, generator=torch.Generator().manual_seed(0))
    dictionary = RandomDirections.fit(rows, 24, 4)
    steps = itertools.count(1)

    def counted(inner: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **settings: Any) -> Any:
            if next(steps) == after:
                os.kill(os.getpid(), signal.SIGKILL)
            return inner(*args, **settings)

        return call

    model.activations = counted(model.activations)
    code_shards.write_json = counted(code_shards.write_json)
    build.segments, build.describe = counted(build.segments), counted(build.describe)
    settings = AtlasConfig(top=4, per_quantile=1, memory_mb=16)
    build_atlas(model, dictionary, "0.resid_post", batches, path, settings)


def child(path: Path, after: int, text: Path) -> int | None:
    """In a process of its own that has the libraries loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["monosema.atlas", "monosema.models", "duckdb", "pyarrow.parquet", "filelock"])
    process = context.Process(target=build, args=(str(path), after, str(text)))
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.slow
def test_after_a_kill_the_same_call_ends_with_the_same_tables(tmp_path, small_text) -> None:
    assert child(tmp_path / "whole", 0, small_text) == 0
    killed = 0
    for after in (9, 31):
        killed += child(tmp_path / "killed", after, small_text) == -signal.SIGKILL
    assert killed == 2
    assert child(tmp_path / "killed", 0, small_text) == 0
    for name in (*NAMES, "meta"):
        file = f"{name}.json" if name == "meta" else f"{name}.parquet"
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), name
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == sorted(
        path.name for path in (tmp_path / "whole").iterdir()
    )


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(encode, "_POSITIONS", 600)


@pytest.fixture
def interrupted(model, dictionary, text, config, site, tmp_path, small_shards, monkeypatch):
    """An atlas whose making failed in the seventeenth batch: its folder, and the list that counts batches."""
    calls: list[int] = []
    inner = model.activations

    def activations(*args):
        # A single token is no batch: it asks for the width of the site.
        if args[0].numel() > 1:
            calls.append(1)
        if len(calls) == 17:
            raise KeyboardInterrupt
        return inner(*args)

    monkeypatch.setattr(model, "activations", activations)
    with pytest.raises(KeyboardInterrupt):
        build_atlas(model, dictionary, site, text(), tmp_path, config)
    return tmp_path, calls


def rows_of(atlas):
    return {name: atlas.sql(f"select * from {name} order by all") for name in NAMES}


def test_finished_shards_are_not_computed_again(
    interrupted, model, dictionary, text, config, site, plain_atlas
) -> None:
    path, calls = interrupted
    finished = len(list((path / ".spill").glob("shard-*")))
    assert finished == 4
    calls[:] = [1] * 100
    again = build_atlas(model, dictionary, site, text(), path, config)
    batches = len(list(text()))
    assert len(calls) - 100 == batches - 16
    assert rows_of(again) == rows_of(plain_atlas)
    assert not (path / ".spill").exists()


def test_a_damaged_shard_is_made_again(interrupted, model, dictionary, text, config, site, plain_atlas) -> None:
    path, calls = interrupted
    shard = sorted((path / ".spill").glob("shard-*"))[1]
    content = bytearray(shard.read_bytes())
    content[-100] ^= 1
    shard.write_bytes(bytes(content))
    calls[:] = [1] * 100
    again = build_atlas(model, dictionary, site, text(), path, config)
    assert len(calls) - 100 == len(list(text())) - 4
    assert rows_of(again) == rows_of(plain_atlas)


def test_other_text_is_noticed(interrupted, model, dictionary, text, config, site) -> None:
    path, calls = interrupted
    calls[:] = [1] * 100
    other = build_atlas(model, dictionary, site, text(tokens=900), path, config)
    assert other.tokens == sum(int(batch.keep.sum()) for batch in text(tokens=900))


def test_tables_do_not_depend_on_shards_or_blocks(
    model, dictionary, text, config, site, tmp_path, small_shards, plain_atlas, monkeypatch
) -> None:
    monkeypatch.setattr("monosema.atlas.build._MOST_LATENTS", 7)
    cut = build_atlas(model, dictionary, site, text(), tmp_path, config)
    ours, theirs = rows_of(cut), rows_of(plain_atlas)
    for one in (*ours["scores"], *theirs["scores"]):
        del one["control"]  # labels are shuffled within a block
    for one in (*ours["features"], *theirs["features"]):
        del one["label_control"]
    assert ours == theirs


def test_tables_do_not_grow_with_the_text(model, dictionary, text, config, site, tmp_path) -> None:
    short = build_atlas(model, dictionary, site, text(60), tmp_path / "short", config)
    long = build_atlas(model, dictionary, site, text(600), tmp_path / "long", config)
    assert long.tokens > 8 * short.tokens
    most = config.top + 10 * config.per_quantile
    assert long.meta["tables"]["examples"]["rows"] <= most * dictionary.n_latents
    for name in ("features", "histograms", "neighbours"):
        assert long.meta["tables"][name]["bytes"] < 2 * short.meta["tables"][name]["bytes"]


def test_a_block_holds_no_more_than_fits_in_memory(
    model, dictionary, text, config, site, tmp_path, monkeypatch
) -> None:
    sizes = []
    from monosema.atlas import build

    def loaded(*args):
        block = inner(*args)
        sizes.append((block.high - block.low, len(block.value), block.share))
        return block

    inner = build.load_block
    monkeypatch.setattr(build, "load_block", loaded)
    monkeypatch.setattr("monosema.atlas.blocks.BYTES_PER_ACTIVATION", 16e6 / 700)
    atlas = build_atlas(model, dictionary, site, text(), tmp_path, config.replace(memory_mb=16))
    assert len(sizes) > 10
    assert all(size <= 700 for latents, size, share in sizes if share == 1)
    assert any(share < 1 for _, _, share in sizes)
    assert all(size <= 900 for _, size, _ in sizes)
    whole = {row["latent"]: row["n_active"] for row in atlas.sql("select latent, n_active from features")}
    histograms = atlas.sql("select latent, list_sum(counts) as n from histograms")
    assert all(whole[row["latent"]] == row["n"] for row in histograms)


def test_text_without_tokens_is_refused(model, dictionary, text, config, site, tmp_path) -> None:
    with pytest.raises(CorpusError, match="no tokens to look at"):
        build_atlas(model, dictionary, site, [], tmp_path, config)


def test_nan_from_the_model_is_refused(model, dictionary, text, config, site, tmp_path, monkeypatch) -> None:
    """Its codes would be those of silent latents."""
    inner = model.activations

    def broken(tokens, sites, attention_mask=None):
        got = {place: values.clone() for place, values in inner(tokens, sites, attention_mask).items()}
        next(iter(got.values()))[:, 1:] = float("nan")
        return got

    monkeypatch.setattr(model, "activations", broken)
    with pytest.raises(
        VectorError, match=r"NaN or infinity at .* for \d+ of \d+ tokens of a batch\. Load it in float32"
    ):
        build_atlas(model, dictionary, site, text(), tmp_path, config)
