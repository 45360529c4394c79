"""Transcoders and crosscoders from a recipe, through the whole walk, on a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest

from monosema.core import ConfigError, Site
from monosema.dictionaries import SparseCoder, load_dictionary
from monosema.recipes import demo
from monosema.runs import SHORT_KEYS, Recipe, Run, override, parse_sweep, run, sweep_run
from monosema.runs.vectors import VECTOR_KEYS, VectorRecipe, train_vectors

TRANSCODER = {"architecture": "transcoder", "site": "1.mlp_in", "output-site": "blocks.1.hook_mlp_out", "skip": "true"}
CROSSCODER = {"architecture": "crosscoder", "site": "0.resid_post,1.resid_post", "activation": "batch_topk"}


def recipe_of(small_keys: dict[str, str], keys: dict[str, str]) -> Recipe:
    recipe: Recipe = override(demo(), {**small_keys, **keys}, SHORT_KEYS)
    return recipe


@pytest.fixture(scope="module")
def transcoder(small_keys: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(recipe_of(small_keys, TRANSCODER), tmp_path_factory.mktemp("runs") / "transcoder")


@pytest.fixture(scope="module")
def crosscoder(small_keys: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(recipe_of(small_keys, CROSSCODER), tmp_path_factory.mktemp("runs") / "crosscoder")


def test_a_transcoder_walks_to_its_report(transcoder: Run) -> None:
    made = transcoder.dictionary()
    assert isinstance(made, SparseCoder)
    assert made.title == "Transcoder"
    assert made.skip is not None
    assert (made.metadata.site, made.metadata.extra["hook_name_out"]) == (
        Site.parse("1.mlp_in"),
        "blocks.1.hook_mlp_out",
    )
    evaluation = transcoder.evaluation()
    assert evaluation.site == "blocks.1.hook_mlp_out"
    figures = evaluation.dictionary.metrics
    assert figures["fvu"].value < 0.9
    assert figures["ce_spliced"].value != figures["ce_clean"].value
    assert [row.kind for row in evaluation.rows] == ["dictionary", "pca", "random"]
    atlas = transcoder.atlas()
    assert atlas.site == Site.parse("1.mlp_in")
    alive = atlas.sql("select * from features where alive")
    assert any(row["promoted"] for row in alive), "what it writes goes into the residual stream"
    assert transcoder.report is not None
    assert "1.mlp_in → 1.mlp_out" in transcoder.report.read_text(encoding="utf-8")


def test_a_crosscoder_walks_to_its_report(crosscoder: Run) -> None:
    made = crosscoder.dictionary()
    assert isinstance(made, SparseCoder)
    assert made.title == "Crosscoder"
    assert made.activation.name == "batch_topk"
    evaluation = crosscoder.evaluation()
    assert [(row.kind, row.site) for row in evaluation.rows] == [
        (kind, site) for site in ("1.resid_post", "0.resid_post") for kind in ("dictionary", "pca", "random")
    ]
    for row in evaluation.rows[::3]:
        assert row.metrics["fvu"].value < 0.9
        assert "loss_recovered" in row.metrics or "loss_recovered" in row.absent
    names = [row["name"] for row in crosscoder.summary()["evaluation"]]
    assert len(set(names)) == 6
    assert names[0].endswith("at 1.resid_post")
    atlas = crosscoder.atlas()
    assert len(atlas) == 64
    assert atlas.site == Site.parse("1.resid_post")
    assert crosscoder.report is not None
    assert "at 0.resid_post" in crosscoder.report.read_text(encoding="utf-8")


def test_a_finished_run_is_read_back_and_skipped(transcoder: Run, small_keys: dict[str, str]) -> None:
    told: list[str] = []
    again = run(Run.open(transcoder.folder).recipe, transcoder.folder, log=told.append)
    assert all("done before" in line for line in told)
    assert again.recipe == transcoder.recipe
    assert Recipe.from_toml(transcoder.recipe.to_toml()) == transcoder.recipe


def test_sweeps_and_captured_stores_take_several_sites_too(transcoder: Run, tmp_path: Path) -> None:
    found, out = sweep_run(transcoder.recipe, transcoder.folder, parse_sweep(["k=2,4"]))
    assert [member.stopped for member in found.trials] == [None, None]
    member = load_dictionary(out / "k=2")
    assert isinstance(member, SparseCoder)
    assert member.title == "Transcoder"
    assert member.metadata.extra["hook_name_out"] == "blocks.1.hook_mlp_out"
    keys = {"architecture": "crosscoder", "latents": "32", "k": "4", "batch": "256", "site": "1.mlp_in,1.mlp_out"}
    recipe = override(VectorRecipe(), keys, VECTOR_KEYS)
    train_vectors(transcoder.folder / "activations", tmp_path / "out", recipe)
    saved = load_dictionary(tmp_path / "out")
    assert saved.metadata.extra["sites"] == ["blocks.1.hook_mlp_in", "blocks.1.hook_mlp_out"]
    with pytest.raises(ConfigError, match=r"0\.resid_post is not among them"):
        train_vectors(
            transcoder.folder / "activations",
            tmp_path / "no",
            override(recipe, {"site": "1.mlp_in,0.resid_post"}, VECTOR_KEYS),
        )


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"architecture": "transcoder"}, "needs the site that it writes"),
        ({"output_site": "1.mlp_out"}, "--output-site is a transcoder's"),
        ({"architecture": "crosscoder"}, "two different sites at least"),
        ({"architecture": "crosscoder", "site": "0.mlp_out,0.mlp_out"}, "two different sites at least"),
        ({"site": "0.mlp_out,1.mlp_out"}, "reads one site"),
        ({"architecture": "crosscoder", "site": "0.resid_post,0.mlp.post"}, r"one width.*32 at 0\.resid_post"),
    ],
)
def test_sites_that_do_not_fit_the_architecture_are_refused(
    small_keys: dict[str, str], tmp_path: Path, keys: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        run(recipe_of(small_keys, keys), tmp_path / "run")
    assert not (tmp_path / "run" / "recipe.toml").exists()


def test_the_activation_decides_what_sets_sparsity(small_keys: dict[str, str]) -> None:
    without_k = {name: value for name, value in small_keys.items() if name != "k"}
    relu = recipe_of(without_k, {**TRANSCODER, "activation": "relu", "alpha": "0.3"})
    assert (relu.dictionary.activation, relu.dictionary.l1_coefficient) == ("l1", 0.3)
    with pytest.raises(ConfigError, match="no key --k for transcoder"):
        recipe_of(small_keys, {**TRANSCODER, "activation": "jumprelu"})
    with pytest.raises(ConfigError, match="no key --alpha for transcoder"):
        recipe_of(small_keys, {**TRANSCODER, "alpha": "0.3"})
