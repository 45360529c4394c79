"""A run over items that have names: planted features come out, named by the columns that planted them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monosema.atlas import fires_on
from monosema.core import InputError, VectorError
from monosema.items import read_items
from monosema.pages import write_report
from monosema.runs import Run, item_recipe, open_model, run
from monosema.runs.context import RunContext
from monosema.runs.encode import encode_vectors
from monosema.runs.report_data import report_data
from monosema.runs.sweeps import sweep_run

KINDS = ("bird", "fish", "stone", "tree")
KEYS = "--latents 16 --k 2 --batch 64 --passes 60 --warmup 20 --random-latents 8 --random-tokens 400"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("items")
    draw = np.random.default_rng(0)
    kind = np.repeat([0, 1, 2, 3], [190, 190, 165, 55])  # sorted: the last kind is less than a tenth of the file
    directions = np.linalg.qr(draw.normal(size=(8, 8)))[0][:4]
    vectors = directions[kind] * draw.uniform(2, 4, (600, 1)) + 0.05 * draw.normal(size=(600, 8))
    np.save(folder / "v.npy", vectors.astype(np.float32))
    columns = {"name": [f"thing {row}" for row in range(600)], "kind": [KINDS[one] for one in kind]}
    pq.write_table(pa.table(columns | {"weight": draw.uniform(size=600)}), folder / "n.parquet")
    return folder


@pytest.fixture(scope="module")
def done(files: Path) -> Run:
    return run(item_recipe(files / "v.npy", files / "n.parquet", KEYS.split()), files / "run")


def test_it_ends_where_a_text_run_ends(done: Run) -> None:
    summary = done.summary()
    assert {row["kind"] for row in summary["evaluation"]} == {"dictionary", "pca", "random"}
    assert summary["fvu"] < 0.1
    assert summary["training"]["held_out_fvu"] is None
    assert summary["items"] == 600 - done.evaluation().tokens
    assert done.report is not None


def test_features_are_named_by_the_column_that_planted_them(done: Run) -> None:
    rows = done.atlas().sql("select label, max(label_score) as best from features where n_active > 40 group by label")
    best = {row["label"]: row["best"] for row in rows}
    assert {f"kind is {kind}" for kind in KINDS} <= set(best)
    assert min(best[f"kind is {kind}"] for kind in KINDS) > 0.9


def test_examples_are_items_and_some_do_not_activate(done: Run) -> None:
    atlas = done.atlas()
    feature = atlas.feature(atlas.features(limit=1)[0]["latent"])
    assert all(len(one.tokens) == 1 and one.tokens[0].startswith("thing ") for one in feature.examples)
    quiet = [one for one in feature.examples if one.kind == "inactive"]
    assert len(quiet) == 10
    assert all(one.activations == (0.0,) for one in quiet)
    active = {one.document for one in feature.examples if one.kind != "inactive"}
    assert not active & {one.document for one in quiet}


def test_the_atlas_counts_what_encoding_the_vectors_gives(done: Run, files: Path, tmp_path: Path) -> None:
    encode_vectors(done.dictionary(), files / "v.npy", tmp_path / "codes.parquet")
    codes = pq.read_table(tmp_path / "codes.parquet")
    counts = codes.group_by("latent").aggregate([("activation", "count"), ("activation", "max")]).to_pylist()
    known = {row["latent"]: row for row in done.atlas().sql("select latent, n_active, max from features where alive")}
    assert {row["latent"]: row["activation_count"] for row in counts} == {
        n: row["n_active"] for n, row in known.items()
    }
    assert all(known[row["latent"]]["max"] == pytest.approx(row["activation_max"], rel=1e-5) for row in counts)


def test_the_features_of_an_item_are_found_by_its_name(done: Run) -> None:
    fired = fires_on(done.atlas(), open_model(done.recipe), done.dictionary(), "thing 17")
    assert fired.tokens == ("thing 17",)
    assert 1 <= fired.active <= 2


def test_nothing_on_the_page_is_about_tokens_or_a_language_model(done: Run) -> None:
    assert done.report is not None
    page = re.sub(r"<(script|style).*?</\1>", "", done.report.read_text(encoding="utf-8"), flags=re.S)
    assert not re.findall(r"\b(?:tokens?|passages?|logits?|sinks?|cross-entropy)\b", page, re.IGNORECASE)
    assert "600 items with vectors of 8 values" in page


def test_too_few_vectors_or_other_names_are_refused_before_anything_is_made(files: Path) -> None:
    with pytest.raises(VectorError, match=r"600 rows: with .* held out"):
        item_recipe(files / "v.npy", files / "n.parquet", ["--batch", "590"])
    (files / "short.txt").write_text("one\ntwo\n")
    with pytest.raises(InputError, match=r"names 2 items, and v\.npy has 600 rows"):
        item_recipe(files / "v.npy", files / "short.txt")


def test_few_items_are_seen_often_unless_passes_are_given(files: Path) -> None:
    stream = item_recipe(files / "v.npy", files / "n.parquet").stream
    assert stream.passes * (540 // stream.batch) >= 2_500
    assert item_recipe(files / "v.npy", files / "n.parquet", ["--passes", "3"]).stream.passes == 3


def test_names_alone_are_enough_for_a_whole_run_with_its_report(files: Path, tmp_path: Path) -> None:
    (tmp_path / "n.txt").write_text("\n".join(f"thing {row}" for row in range(600)), encoding="utf-8")
    words = "--latents 16 --k 2 --batch 64 --passes 13 --random-latents 0".split()
    done = run(item_recipe(files / "v.npy", tmp_path / "n.txt", words), tmp_path / "run")
    assert done.report is not None
    assert "600 items with vectors of 8 values" in done.report.read_text(encoding="utf-8")


def test_members_of_a_sweep_are_measured_on_the_items_that_a_hash_holds_out(done: Run) -> None:
    found, _ = sweep_run(done.recipe, done.folder, {"k": ["1", "2"]})
    assert found.held_out == done.evaluation().tokens


def test_pictures_that_are_not_there_are_counted(done: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"thing {row},{row}.png" for row in range(600)]
    (tmp_path / "n.csv").write_text("\n".join(["name,picture", *lines]))
    ctx = RunContext(done.recipe, done.folder)
    data = replace(report_data(ctx), items=read_items(tmp_path / "n.csv", 600))
    page = write_report(data, done.atlas(), tmp_path / "page.html").read_text(encoding="utf-8")
    said = r"the pictures of (\d+) of \1 items, because there is no such file"
    assert re.search(said, capsys.readouterr().err)
    assert re.search(f"Not made: {said}", page)
