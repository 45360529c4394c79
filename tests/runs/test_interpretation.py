"""Explaining and scoring within a run, and the comparison with baselines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from monosema.atlas import Score, record
from monosema.core import ConfigError, Estimate, read_json
from monosema.interpretation import BASELINE, scores_path
from monosema.interpretation.pipeline import explain_latents
from monosema.recipes import demo
from monosema.runs import SHORT_KEYS, Recipe, Run, apply_overrides, interpretation, run
from monosema.runs.comparison import RANDOMISED, CompareConfig, compare, comparison_path, read_baselines
from monosema.runs.context import RunContext


@pytest.fixture(scope="module")
def recipe(small_keys: dict[str, str]) -> Recipe:
    return apply_overrides(demo(), small_keys, SHORT_KEYS)


@pytest.fixture
def copied(finished: Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.folder, tmp_path / "copy"))


def rows(finished: Run) -> list[dict[str, Any]]:
    atlas = finished.atlas()
    return [atlas.sql(f"select * from {name} order by all") for name in ("explanations", "scores")]  # type: ignore[misc]


def test_every_feature_is_explained_and_scored_beside_controls(finished: Run) -> None:
    summary = json.loads(json.dumps(finished.summary(), allow_nan=False))["meaning"]
    assert summary["features"] == 40
    assert "above the controls" in summary["rule"]
    methods = {row["method"] for row in summary["rows"]}
    assert methods == {"token lookup", "Neuron2Graph", BASELINE.method}
    for row in summary["rows"]:
        counted = sum(row["absent"].values()) + (row["mean"]["n"] if "mean" in row else 0)
        assert counted == 40, row
        assert row["above"]["n"] == 40
        if row["method"] == BASELINE.method:
            assert row["above"]["value"] == 0
            assert "random" not in row
            assert "mean" not in row or row["mean"]["value"] == 0.5
        else:
            assert row["above_random"]["value"] <= row["above"]["value"]
            assert row["random"]["n"] <= 8
    atlas = finished.atlas()
    programs = atlas.sql("select method, count(*) as n from explanations where program is not null group by method")
    assert {row["method"]: row["n"] for row in programs}.keys() == {"token lookup", "Neuron2Graph"}
    assert atlas.sql("select count(*) as n from scores where scorer = 'simulation' and control is not null")[0]["n"] > 5
    assert finished.stages["explain"].counts["token lookup"] > 20


def test_blocks_do_not_show(finished: Run, recipe: Recipe, copied: Path) -> None:
    """All at once, and in blocks: the same programs; nothing of the blocks is left."""
    assert not list(finished.folder.rglob("blocks-*"))
    whole = run(recipe.replace(explain=recipe.explain.replace(block=64)), copied, until="explain", update=True)
    assert rows(whole)[0] == rows(finished)[0]


def test_what_is_finished_survives_a_stop(finished: Run, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = RunContext(Run.open(copied).recipe, copied)
    asked: list[int] = []
    real = explain_latents

    def stops(*given: Any) -> Any:
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr("monosema.interpretation.pipeline.explain_latents", stops)
    with pytest.raises(KeyboardInterrupt):
        interpretation.explain(ctx)
    interpretation.explain(ctx)
    assert len(asked) == 3, "the first block was made again"
    interpretation.score(ctx)
    assert rows(Run.open(copied)) == rows(finished)


def test_an_atlas_without_the_scores_gets_them_again(recipe: Recipe, copied: Path) -> None:
    table = scores_path(interpretation.home_of(RunContext(Run.open(copied).recipe, copied)))
    table.write_text(table.read_text(encoding="utf-8").replace('"recorded": ', '"recorded": 1'), encoding="utf-8")
    told: list[str] = []
    run(recipe, copied, until="score", log=told.append)
    assert "score: made again, because the atlas does not have the scores" in told
    table.unlink()
    run(recipe, copied, until="score", log=told.append)
    assert told[-1].endswith("scores.json is missing")


def test_every_recorded_score_stands_beside_its_controls(finished: Run) -> None:
    rows = finished.atlas().sql("select distinct method, scorer, chance, random, random_low, random_high from scores")
    table = read_json(scores_path(interpretation.home_of(RunContext(finished.recipe, finished.folder))))
    spreads = {(row["method"], row["scorer"]): row.get("random_spread") for row in table["rows"]}
    assert rows
    for row in rows:
        assert row["chance"] is not None
        spread = spreads[row["method"], row["scorer"]]
        ends = [row[name] for name in ("random", "random_low", "random_high")]
        assert ends == ([None] * 3 if spread is None else [spread[name] for name in ("value", "low", "high")])
    assert any(row["random"] is not None for row in rows)


def test_scores_of_an_earlier_version_get_their_controls(recipe: Recipe, copied: Path) -> None:
    table = scores_path(interpretation.home_of(RunContext(Run.open(copied).recipe, copied)))
    table.write_text(table.read_text(encoding="utf-8").replace('"random_spread"', '"before"'), encoding="utf-8")
    told: list[str] = []
    run(recipe, copied, until="score", log=told.append)
    assert "without the spread of random directions" in told[-1]


def test_scores_of_others_stay(recipe: Recipe, copied: Path) -> None:
    opened = Run.open(copied)
    latent = opened.atlas().sql("select latent from explanations where method = 'Neuron2Graph' limit 1")[0]["latent"]
    mine = Score("monosema", "Neuron2Graph", None, None, "surprisal", Estimate(0.7, 0.6, 0.8, 9), 0.5)
    record(copied / "atlas" / recipe.dictionary_name, scores={latent: [mine]})
    told: list[str] = []
    run(recipe.replace(score=recipe.score.replace(seed=1)), copied, until="score", update=True, log=told.append)
    assert opened.atlas().sql("select count(*) as n from scores where scorer = 'surprisal'")[0]["n"] == 1


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("explain.methods", '["guessing"]', "token lookup"),
        ("score.simulation.minimum", "0", "minimum"),
        ("samples.random", "-1", "random"),
        ("neuron2graph.passages", "0", "passages"),
    ],
)
def test_wrong_keys_are_named(recipe: Recipe, key: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        apply_overrides(recipe, {key: value}, SHORT_KEYS)


SMALL = CompareConfig(tokens=1500, most=6, rows=300, components=4, training_tokens=1500)


@pytest.fixture(scope="module")
def compared(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunContext, dict[str, Any]]:
    folder = Path(shutil.copytree(finished.folder, tmp_path_factory.mktemp("compared") / "copy"))
    ctx = RunContext(finished.recipe, folder)
    return ctx, compare(ctx, SMALL)


def test_the_comparison_has_every_dictionary_method_and_scorer(compared: tuple[RunContext, dict[str, Any]]) -> None:
    ctx, result = compared
    assert result == read_json(comparison_path(ctx))
    names = [one["dictionary"] for one in result["dictionaries"]]
    assert names == [ctx.recipe.row_names["dictionary"], "neurons", "random directions", "PCA", "ICA", "NMF"]
    assert len(result["rows"]) == 6 * 2 * 5
    assert {row["site"] for row in result["rows"]} == {"1.resid_post"}
    for row in result["rows"]:
        scored = next(one["scored"] for one in result["dictionaries"] if one["dictionary"] == row["dictionary"])
        assert sum(row["absent"].values()) + (row["mean"]["n"] if "mean" in row else 0) == scored
    svg = comparison_path(ctx).with_suffix(".svg").read_text(encoding="utf-8")
    assert all(name in svg for name in (*names, "simulation (random)", "fuzzing"))


def test_a_comparison_goes_on_and_can_grow(compared: tuple[RunContext, dict[str, Any]]) -> None:
    ctx, before = compared
    told: list[str] = []
    both = ("1.resid_post", "0.resid_post")
    more = SMALL.replace(baselines=("neurons", RANDOMISED), sites=both)
    again = compare(ctx, more, told.append)
    assert [line.partition(":")[2] for line in told].count(" done before") == 2
    own = ctx.recipe.row_names["dictionary"]
    made = {(row["site"], row["dictionary"]) for row in again["rows"]}
    curves = ("neurons", f"{own}, 1,500 tokens", f"{own}, randomised model")
    assert made == {("1.resid_post", own), *((site, name) for site in both for name in curves)}
    assert [row for row in again["rows"] if row["dictionary"] == own] == before["rows"][:10]
    assert again["sites"] == ["0.resid_post", "1.resid_post"]
    svg = comparison_path(ctx).with_suffix(".svg").read_text(encoding="utf-8")
    assert "layer (resid_post)" in svg
    assert not list(comparison_path(ctx).parent.rglob("activations")), "what was captured to train on is kept"
    told.clear()
    assert compare(ctx, more, told.append) == again
    assert all("done before" in line for line in told)
    # Baselines don't depend on what the dictionaries were trained on.
    compare(ctx, more.replace(baselines=("neurons",), training_tokens=0), told.append)
    assert all("done before" in line for line in told)


def test_the_randomised_model_is_no_trained_one(compared: tuple[RunContext, dict[str, Any]]) -> None:
    """Its dictionary reads other activations, and needs tokens to be trained on."""
    ctx, _ = compared
    with pytest.raises(ConfigError, match="--training-tokens"):
        compare(ctx, SMALL.replace(baselines=(RANDOMISED,), training_tokens=0))
    home = comparison_path(ctx).parent / "comparison"
    weights = {folder.name: next(folder.rglob("sae_weights.safetensors")) for folder in home.glob("*-1.resid_post")}
    assert weights.keys() == {"randomised-model-1.resid_post", "retrained-1.resid_post"}
    assert len({path.read_bytes() for path in weights.values()}) == 2
    metrics = [next(home.glob(f"{name}-1*")).rglob("training.json") for name in ("retrained", RANDOMISED)]
    steps = {read_json(next(found))["steps"] for found in metrics}
    assert len(steps) == 1, "budgets differ"
    # Whole passes of whole batches come near the run's number of steps, not more.
    assert steps.pop() == pytest.approx(read_json(ctx.dictionary_dir / "training.json")["steps"], rel=0.25)


def test_baselines_are_read_and_unknown_ones_refused() -> None:
    assert read_baselines("pca, neurons,pca") == ("pca", "neurons")
    with pytest.raises(ConfigError, match=r"pcaa.*Did you mean"):
        read_baselines("pcaa")
