"""The walk written out, and the demo recipe."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from monosema.core import ConfigError, FormatError, RunError
from monosema.models import model_facts
from monosema.recipes import demo, quickstart, read_recipe, smollm2
from monosema.runs.sites import site_text


def test_the_walk_makes_an_atlas_and_a_report(tiny_directory: Path, small_text: Path, tmp_path: Path) -> None:
    atlas = quickstart(tmp_path, str(tiny_directory), str(small_text), "1.resid_post", tokens=9000)
    assert len(atlas) == 16 * 32
    assert atlas.sql("select count(*) as n from features where alive")[0]["n"] > 0
    scored = atlas.sql("select distinct method, scorer from scores")
    assert {row["method"] for row in scored if row["scorer"] == "simulation"} == {"token lookup", "Neuron2Graph"}
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!")


def test_the_walk_stays_on_one_screen() -> None:
    body = inspect.getsource(quickstart).split('"""')[2]
    assert len([line for line in body.splitlines() if line.strip()]) <= 30


def test_the_demo_is_the_walk_of_the_plan() -> None:
    recipe = demo()
    assert (recipe.model.name, recipe.corpus.source, site_text(recipe.site)) == ("specimen", "builtin", "3.resid_post")
    assert recipe.text.tokens == 1_000_000
    assert recipe.dictionary.n_latents == 16 * model_facts("specimen").d_model
    assert recipe.dictionary.k == 32


def test_the_recipe_of_smollm2_fits_its_model() -> None:
    recipe, facts = smollm2(), model_facts("smollm2")
    assert recipe.dictionary.n_latents == 16 * facts.d_model == 9216
    assert site_text(recipe.site) == f"{facts.layers // 2}.resid_post"
    assert recipe.text.chat_share > 0


def test_a_recipe_is_found_by_file_folder_or_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_recipe(None) == (demo(), None)
    assert read_recipe("demo") == (demo(), None)
    assert read_recipe("smollm2") == (smollm2(), None)
    demo().write("mine.toml")
    assert read_recipe("mine.toml") == (demo(), None)
    Path("run").mkdir()
    with pytest.raises(RunError, match="holds no run"):
        read_recipe("run")
    demo().write("run/recipe.toml")
    assert read_recipe("run") == (demo(), Path("run"))
    with pytest.raises(FormatError, match=r"There is no recipe 'smolm2'.*Did you mean 'smollm2'"):
        read_recipe("smolm2")
    with pytest.raises(FormatError, match="There is no recipe"):
        read_recipe("none.toml")


def test_recipes_from_when_the_built_in_text_had_a_seed_open_where_the_text_is_the_same() -> None:
    from monosema.runs.recipe import CorpusChoice

    assert CorpusChoice.from_dict({"source": "builtin", "seed": 0}) == CorpusChoice()
    assert CorpusChoice.from_dict({"source": "text.jsonl", "seed": 3}) == CorpusChoice(source="text.jsonl")
    with pytest.raises(ConfigError, match="seed 0 only"):
        CorpusChoice.from_dict({"seed": 3})
