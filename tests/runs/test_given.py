"""Runs whose dictionary is given: opened in any layout, evaluated, described and explained without training."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from monosema.core import ConfigError, Site, read_json, write_json
from monosema.dictionaries import (
    Metadata,
    SparseCoder,
    config_of,
    dictionary_config,
    load_dictionary,
    make_coder,
    save_dictionary,
)
from monosema.recipes import opened
from monosema.runs import (
    SHORT_KEYS,
    Recipe,
    Run,
    VectorRecipe,
    apply_overrides,
    run,
    sweep_vectors,
    train_vectors,
)
from monosema.runs.given import digest_of

OWN = ("site", "model", "latents", "k", "batch")
"""Keys of the small recipe that a given dictionary answers."""


@pytest.fixture(scope="module")
def keys(small_keys: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in small_keys.items() if name not in OWN}


@pytest.fixture
def trained(finished: Run, tmp_path: Path) -> Path:
    """A copy of the finished run's dictionary."""
    name = finished.recipe.dictionary_name
    return Path(shutil.copytree(finished.folder / "dictionaries" / name, tmp_path / "trained"))


def made(keys: Mapping[str, str], dictionary: Path, **named: str) -> Recipe:
    recipe: Recipe = apply_overrides(opened(dictionary, **named), keys, SHORT_KEYS)
    return recipe


def told_by(recipe: Recipe, folder: Path, **settings: Any) -> list[str]:
    told: list[str] = []
    run(recipe, folder, log=told.append, **settings)
    return told


def test_a_given_dictionary_ends_in_a_report_like_one_that_was_trained(
    finished: Run, trained: Path, keys: dict[str, str], tmp_path: Path
) -> None:
    recipe = made(keys, trained)
    done = run(recipe, tmp_path / "run")
    assert list(done.stages) == ["open", "evaluate", "atlas", "explain", "score", "report"]
    assert not (done.folder / "activations").exists()
    ours, theirs = done.evaluation().dictionary.metrics, finished.evaluation().dictionary.metrics
    assert ours["fvu"].value == pytest.approx(theirs["fvu"].value)
    assert ours["l0"] == theirs["l0"]
    query = "select latent, density, label from features order by latent"
    assert done.atlas().sql(query) == finished.atlas().sql(query)
    page = done.report.read_text(encoding="utf-8") if done.report else ""
    assert f"it is {trained}." in page
    assert "trained on" not in page.partition("</header>")[0]
    assert Path(done.summary()["dictionary"]).is_dir()
    assert all("done before" in line for line in told_by(recipe, done.folder))
    assert all("done before" in line for line in told_by(Run.open(done.folder).recipe, done.folder, until="report"))


@pytest.mark.parametrize("layout", ["saelens", "sparsify", "dictionary_learning"])
def test_model_site_and_context_come_from_the_files_of_other_layouts(
    layout: str, finished: Run, trained: Path, keys: dict[str, str], tmp_path: Path
) -> None:
    save_dictionary(load_dictionary(trained), tmp_path / layout, layout)
    recipe = opened(tmp_path / layout)
    assert (recipe.model.name, recipe.site) == (finished.recipe.model.name, finished.recipe.site)
    assert (recipe.text.window, recipe.name) == (64, layout)
    done = run(apply_overrides(recipe, keys, SHORT_KEYS), tmp_path / "run", until="open")
    assert done.dictionary().metadata == load_dictionary(trained).metadata
    rows = torch.randn(50, 32)
    torch.testing.assert_close(done.dictionary()(rows), load_dictionary(trained)(rows), rtol=1e-4, atol=1e-5)


def test_what_the_files_do_not_say_is_asked_for_before_anything_is_computed(
    finished: Run, trained: Path, tmp_path: Path
) -> None:
    config = read_json(trained / "cfg.json")
    write_json(trained / "cfg.json", {**config, "metadata": {}})
    with pytest.raises(ConfigError, match=r"it belongs to and which site it reads\. Give --model and --site"):
        opened(trained)
    with pytest.raises(ConfigError, match=r"which model it belongs to\. Give --model"):
        opened(trained, site="1.resid_post")
    recipe = opened(trained, model=finished.recipe.model.name, site="1.resid_post")
    assert recipe.site == (Site.parse("1.resid_post"),)
    assert opened(trained, finished.recipe).model == finished.recipe.model


def test_another_width_than_the_sites_is_refused_before_anything_is_computed(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"vectors with 32 values, and in specimen 3\.resid_post has 256"):
        run(opened(trained, model="specimen", site="3.resid_post"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_given_dictionary_can_not_be_set_nor_trained(trained: Path, keys: dict[str, str], tmp_path: Path) -> None:
    recipe = made(keys, trained)
    with pytest.raises(ConfigError, match=r"k is 4 in its files and 3 here.*leave such keys out"):
        run(apply_overrides(recipe, {"k": "3"}), tmp_path / "run")
    with pytest.raises(ConfigError, match="no stage 'train' in a run whose dictionary is given"):
        run(recipe, tmp_path / "run", until="train")


def test_changed_files_are_noticed_and_lost_ones_are_not_missed(
    trained: Path, keys: dict[str, str], tmp_path: Path
) -> None:
    recipe, folder = made(keys, trained), tmp_path / "run"
    run(recipe, folder, until="evaluate")
    changed = load_dictionary(trained)
    assert isinstance(changed, SparseCoder)
    with torch.no_grad():
        changed.b_dec.add_(1.0)
    save_dictionary(changed, trained)
    told = told_by(recipe, folder, until="evaluate")
    assert told[0] == "open: made again, because the given dictionary changed"
    assert told[1].startswith("evaluate: made again, because the given dictionary changed, open changed")
    shutil.rmtree(trained)
    assert all("done before" in line for line in told_by(Run.open(folder).recipe, folder, until="evaluate"))


def test_active_latents_are_counted_where_no_k_says_them(keys: dict[str, str], finished: Run, tmp_path: Path) -> None:
    about = Metadata(model=finished.recipe.model.name, site=Site.parse("1.resid_post"))
    coder = make_coder("jumprelu", 32, 48, metadata=about)
    save_dictionary(coder, tmp_path / "sae", "gemma_scope")
    recipe = made(keys, tmp_path / "sae", model=finished.recipe.model.name, site="1.resid_post")
    done = run(recipe, tmp_path / "run", until="evaluate")
    assert recipe.dictionary.title == "JumpReLU"
    counted = done.stages["open"].counts["l0"]
    assert 0 < counted < 48
    assert done.evaluation().dictionary.metrics["l0"].value == pytest.approx(counted, rel=0.2)
    assert [row.kind for row in done.evaluation().rows] == ["dictionary", "pca", "random"]


@pytest.mark.parametrize(
    ("architecture", "widths", "extra"),
    [
        ("transcoder", {"d_in": 32, "d_out": 32}, {"hook_name_out": "blocks.1.hook_mlp_out"}),
        ("crosscoder", {"d_in": 64, "n_sites": 2}, {"sites": ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]}),
    ],
)
def test_dictionaries_of_several_sites_are_opened(
    architecture: str,
    widths: dict[str, int],
    extra: dict[str, Any],
    finished: Run,
    keys: dict[str, str],
    tmp_path: Path,
) -> None:
    read = "blocks.1.hook_mlp_in" if architecture == "transcoder" else "blocks.1.hook_resid_post"
    about = Metadata(model=finished.recipe.model.name, site=Site.parse(read), extra=extra)
    coder = make_coder(architecture, n_latents=48, k=4, metadata=about, **widths)  # type: ignore[arg-type]
    save_dictionary(coder, tmp_path / "coder")
    recipe = made(keys, tmp_path / "coder")
    assert len(recipe.sites) == 2
    done = run(recipe, tmp_path / "run", until="atlas")
    assert len(done.atlas()) == 48
    assert done.dictionary().metadata.extra == extra


def test_what_learns_from_a_store_knows_its_model_and_text(finished: Run, tmp_path: Path) -> None:
    recipe = VectorRecipe(dictionary=dictionary_config("topk", n_latents=48, k=4), batch=512)
    train_vectors(finished.folder, tmp_path / "one", recipe)
    swept = sweep_vectors(finished.folder / "activations", tmp_path / "many", recipe, {"k": ["2", "4"]})
    own = finished.dictionary().metadata
    for place in (tmp_path / "one", tmp_path / "many" / swept.trials[0].name):
        assert load_dictionary(place).metadata.replace(tokens=own.tokens) == own
    assert opened(tmp_path / "one").model.name == finished.recipe.model.name


@pytest.mark.parametrize("architecture", ["topk", "batch_topk", "matryoshka", "jumprelu", "gated", "l1", "p_anneal"])
def test_a_coders_configuration_makes_its_like(architecture: str) -> None:
    coder = make_coder(architecture, 16, 64)
    config = config_of(coder)
    assert config.architecture == architecture
    assert config.make([16]).description() == coder.description()


def test_a_digest_is_of_what_is_computed(trained: Path, tmp_path: Path) -> None:
    coder = load_dictionary(trained)
    assert isinstance(coder, SparseCoder)
    before = digest_of(coder)
    coder.metadata = Metadata()
    assert digest_of(coder) == before
    with torch.no_grad():
        coder.b_dec[0] += 1
    assert digest_of(coder) != before
