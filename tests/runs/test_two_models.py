"""A crosscoder over two models, from a recipe through the whole walk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from monosema.core import ConfigError, FormatError, Site
from monosema.dictionaries import SparseCoder, load_dictionary, share_of_other
from monosema.pages.bundle import bundle
from monosema.pages.tables import crosscoder_sides
from monosema.recipes import demo
from monosema.runs import SHORT_KEYS, Recipe, Run, override, plan, run
from monosema.runs.plan import Machine
from monosema.runs.vectors import VECTOR_KEYS, VectorRecipe, train_vectors

SITES = ["blocks.1.hook_resid_post", "blocks.1.hook_resid_post@other"]


@pytest.fixture(scope="module")
def changed(tiny_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny model whose last MLP writes twice as much."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("models") / "changed"
    shutil.copytree(tiny_directory, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"] *= 2
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def recipe_of(small_keys: dict[str, str], other: Path, **keys: str) -> Recipe:
    asked = {**small_keys, "architecture": "crosscoder", "other-model": str(other), **keys}
    recipe: Recipe = override(demo(), asked, SHORT_KEYS)
    return recipe


@pytest.fixture(scope="module")
def compared(small_keys: dict[str, str], changed: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(recipe_of(small_keys, changed), tmp_path_factory.mktemp("runs") / "compared")


def test_it_walks_to_its_report(compared: Run) -> None:
    made = compared.dictionary()
    assert isinstance(made, SparseCoder)
    assert made.title == "Crosscoder"
    assert made.metadata.extra["sites"] == SITES
    assert made.metadata.extra["other_model"].endswith("changed")
    evaluation = compared.evaluation()
    own = [row for row in evaluation.rows if row.kind == "dictionary"]
    assert [row.site for row in own] == ["1.resid_post@other", "1.resid_post"]
    assert all(row.metrics["fvu"].value < 0.9 for row in own)
    clean = [row.metrics["ce_clean"].value for row in own]
    assert clean[0] != clean[1], "each model reads its own text"
    assert all(row.metrics["ce_spliced"].value != loss for row, loss in zip(own, clean, strict=True))
    assert evaluation.difference is not None
    assert evaluation.difference.models == ("tiny", "changed")
    assert evaluation.difference.sentence in evaluation.notes
    assert compared.summary()["difference"]["active"] == evaluation.difference.active > 0
    atlas = compared.atlas()
    assert atlas.site == Site.parse("1.resid_post@other")
    assert atlas.model_name.endswith("changed")
    assert compared.report is not None
    page = compared.report.read_text(encoding="utf-8")
    assert "tiny and changed" in page
    assert "decoder norm at 1.resid_post@other; the rest is at 1.resid_post." in page


def test_a_finished_run_is_read_back_and_skipped(compared: Run) -> None:
    told: list[str] = []
    run(Run.open(compared.folder).recipe, compared.folder, log=told.append)
    assert all("done before" in line for line in told)


def test_its_store_trains_on_its_own_too(compared: Run, tmp_path: Path) -> None:
    keys = {"architecture": "crosscoder", "latents": "32", "k": "4", "batch": "256"}
    recipe = override(VectorRecipe(), {**keys, "site": "1.resid_post,1.resid_post@other"}, VECTOR_KEYS)
    train_vectors(compared.folder / "activations", tmp_path / "out", recipe)
    assert load_dictionary(tmp_path / "out").metadata.extra["sites"] == SITES


def test_recipes_that_compare_nothing_are_refused(small_keys: dict[str, str], changed: Path, tmp_path: Path) -> None:
    for keys, said in (
        ({"architecture": "topk"}, "compared by a crosscoder, not by TopK"),
        ({"site": "1.resid_post@other"}, "names the other's alone"),
        ({"site": "0.resid_post,1.mlp.post@other"}, r"one width.*64 at 1\.mlp\.post@other"),
    ):
        with pytest.raises(ConfigError, match=said):
            run(recipe_of(small_keys, changed, **keys), tmp_path / "run")
    alone = override(demo(), {**small_keys, "site": "1.resid_post@other"}, SHORT_KEYS)
    with pytest.raises(ConfigError, match="say which, with --other-model"):
        run(alone, tmp_path / "run")
    with pytest.raises(FormatError, match="259 token ids and the second 4,096"):
        run(recipe_of(small_keys, Path("specimen")), tmp_path / "run")
    assert not (tmp_path / "run" / "recipe.toml").exists()


def test_its_atlas_says_where_latents_are(compared: Run) -> None:
    made, atlas = compared.dictionary(), compared.atlas()
    assert isinstance(made, SparseCoder)
    assert made.title == "Crosscoder"
    feature = atlas.feature(3)
    assert [one.site for one in feature.sites] == ["1.resid_post", "1.resid_post@other"]
    assert [one.share for one in feature.sites] == pytest.approx(made.relative_norms()[3].tolist(), rel=1e-4)
    packed = bundle(atlas)
    assert packed.sides == ("1.resid_post", "1.resid_post@other")
    _, shares = crosscoder_sides(atlas)
    assert shares == pytest.approx(share_of_other(made).detach().numpy(), rel=1e-4)


def test_a_plan_counts_both_models(small_keys: dict[str, str], changed: Path) -> None:
    machine = Machine("m", memory_gb=8.0, gflops=1000.0, memory_gb_s=20.0, bf16=False)
    both = recipe_of(small_keys, changed)
    alone = recipe_of(small_keys, changed, site="0.resid_post,1.resid_post").replace(other_model=None)
    two, one = (plan(recipe, machine).stages[0] for recipe in (both, alone))
    assert two.stage == "capture"
    assert two.disk_gb == one.disk_gb
    assert two.memory_gb > one.memory_gb
    assert two.tflop == pytest.approx(2 * one.tflop)
