"""Sweeps of a run's keys, and recipes of any architecture."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from monosema.core import ConfigError, RunError, read_json
from monosema.dictionaries import architectures, dictionary_config, load_dictionary, of_architecture
from monosema.recipes import demo
from monosema.runs import SHORT_KEYS, Recipe, fit_sweep, override, parse_sweep, sweep_run, sweep_vectors
from monosema.runs.sweeps import choices
from monosema.runs.vectors import VECTOR_KEYS, VectorRecipe

PLACES = {
    "transcoder": {"site": "3.mlp_in", "output_site": "3.mlp_out"},
    "crosscoder": {"site": "2.resid_post,blocks.3.hook_resid_post"},
}
SVG = "{http://www.w3.org/2000/svg}"


# ------------------------------------------------------------------------------------------------------ recipes


def test_a_recipe_without_an_architecture_stays_topk() -> None:
    text = demo().to_toml().replace('architecture = "topk"\n', "")
    assert "architecture" not in text
    assert Recipe.from_toml(text) == demo()


@pytest.mark.parametrize("name", architectures())
def test_every_architecture_goes_through_toml(name: str) -> None:
    recipe = override(demo(), {"architecture": name, "latents": "96", **PLACES.get(name, {})}, SHORT_KEYS)
    assert f'architecture = "{name}"' in recipe.to_toml()
    read = Recipe.from_toml(recipe.to_toml())
    assert read == recipe
    assert read.dictionary.architecture == name
    assert read.dictionary.n_latents == 96
    assert read.dictionary_name == f"{'+'.join(site.short for site in read.sites)}-{name}"
    made = read.dictionary.make([4] * len(read.sites))
    assert made.n_latents == 96
    assert made.row_width == 4 * len(read.sites)


def test_an_unknown_architecture_names_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match=r"There is no architecture 'jumprely'.*'jumprelu'.*batch_topk.*topk"):
        override(demo(), {"architecture": "jumprely"}, SHORT_KEYS)
    with pytest.raises(ConfigError, match=r"There is no architecture 'other'"):
        Recipe.from_toml(demo().to_toml().replace('architecture = "topk"', 'architecture = "other"'))


def test_a_field_of_another_architecture_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"JumpReLUConfig has no field 'k'"):
        Recipe.from_toml(demo().to_toml().replace('architecture = "topk"', 'architecture = "jumprelu"'))
    with pytest.raises(ConfigError, match=r"no key --k for l1.*--alpha"):
        override(demo(), {"architecture": "l1", "k": "3"}, SHORT_KEYS)
    with pytest.raises(ConfigError, match=r"no key --alpha for topk.*--k"):
        override(demo(), {"alpha": "3"}, SHORT_KEYS)


def test_what_was_chosen_stays_and_the_rest_is_the_others_default() -> None:
    chosen = dictionary_config("topk", n_latents=8, k=3, start="random")
    assert of_architecture(chosen, "l1") == dictionary_config("l1", n_latents=8, start="random")
    assert of_architecture(dictionary_config("l1", n_latents=8), "tied_l1").l1_coefficient == pytest.approx(8.6e-4)
    assert of_architecture(chosen, "batch_topk").k == 3


def test_alpha_is_the_coefficient_of_the_architecture() -> None:
    jumprelu = override(demo(), {"architecture": "jumprelu", "alpha": "0.5"}, SHORT_KEYS).dictionary
    assert jumprelu == dictionary_config("jumprelu", n_latents=4096, l0_coefficient=0.5)
    assert override(demo(), {"architecture": "gated", "alpha": "0.5"}, SHORT_KEYS).dictionary.l1_coefficient == 0.5


# ------------------------------------------------------------------------------------------------------- sweeps


def test_words_are_read_as_keys_and_values() -> None:
    assert parse_sweep(["k=16,32", "alpha=1e-4"]) == {"k": ["16", "32"], "alpha": ["1e-4"]}
    for wrong in (["k"], ["k="], ["=3"], ["k=1,1"], ["k=1", "k=2"]):
        with pytest.raises(ConfigError, match="--sweep"):
            parse_sweep(wrong)


def test_all_combinations_are_made() -> None:
    made = choices(demo(), {"k": ["2", "4"], "seed": ["0", "1", "2"]}, SHORT_KEYS)
    assert len(made) == 6
    assert made[4].name == "k=4,seed=1"
    assert (made[4].recipe.dictionary.k, made[4].recipe.training.seed) == (4, 1)
    assert made[4].recipe.text == demo().text


def test_architectures_have_values_of_their_own() -> None:
    sweep = parse_sweep(["topk.k=2,4", "batch-topk.k=8", "gated.alpha=1,3", "latents=64,128"])
    made = choices(demo(), sweep, SHORT_KEYS)
    assert [choice.name for choice in made] == [
        f"latents={latents},architecture={name},{value}"
        for name, values in (("topk", ("k=2", "k=4")), ("batch_topk", ("k=8",)), ("gated", ("alpha=1", "alpha=3")))
        for latents in (64, 128)
        for value in values
    ]
    last = made[-1].recipe.dictionary
    assert (last.architecture, last.n_latents, last.l1_coefficient) == ("gated", 128, 3.0)
    some = choices(demo(), parse_sweep(["architecture=topk,l1", "l1.alpha=1,2"]), SHORT_KEYS)
    assert [choice.name for choice in some] == ["architecture=topk", *(f"architecture=l1,alpha={a}" for a in (1, 2))]
    with pytest.raises(ConfigError, match=r"values for gated, which is not among its architectures: topk"):
        choices(demo(), parse_sweep(["architecture=topk", "gated.alpha=1"]), SHORT_KEYS)


def test_targets_are_a_sweep_of_any_architecture() -> None:
    made = choices(demo(), parse_sweep(["architecture=topk,jumprelu", "target-l0=8,16"]), SHORT_KEYS)
    assert [choice.name for choice in made][1] == "architecture=topk,target-l0=16"
    assert [getattr(choice.recipe.dictionary, "k", None) for choice in made] == [8, 16, None, None]
    assert [choice.recipe.dictionary.expected_active for choice in made] == [8, 16, 8, 16]
    assert {choice.recipe.training.target_l0 for choice in made} == {8.0, 16.0}
    with pytest.raises(ConfigError, match=r"--k 5 and --target-l0 8 say two things"):
        override(demo(), {"k": "5", "target-l0": "8"}, SHORT_KEYS)


@pytest.mark.parametrize("key", ["batch=64,128", "tokens=1000,2000", "training.log_every=1,2", "model=a,b"])
def test_what_one_pass_can_not_vary_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="--sweep can't vary"):
        choices(demo(), parse_sweep([key]), SHORT_KEYS)


def test_unknown_keys_and_mixed_kinds_are_refused() -> None:
    with pytest.raises(ConfigError, match="no key --kk"):
        choices(demo(), {"kk": ["1"]}, SHORT_KEYS)
    with pytest.raises(ConfigError, match="no key --k for jumprelu"):
        choices(demo(), {"architecture": ["topk", "jumprelu"], "k": ["1"]}, SHORT_KEYS)


def test_a_sweep_of_a_run(small_keys: dict[str, str], tmp_path: Path) -> None:
    recipe = override(demo(), small_keys, SHORT_KEYS)
    sweep = {"site": ["0.resid_post", "1.resid_post"], "architecture": ["topk", "jumprelu"]}
    result, folder = sweep_run(recipe, tmp_path / "run", sweep)
    assert [member.name for member in result.trials] == [
        f"site={site},architecture={name}" for site in sweep["site"] for name in sweep["architecture"]
    ]
    assert result.stopped == []
    assert read_json(folder / "sweep.json")["front"] == result.front
    sites_of_front = {name.partition(",")[0] for name in result.front}
    assert len(sites_of_front) == 2, "each site has a front of its own"
    for member in result.trials:
        dictionary = load_dictionary(folder / member.name)
        assert dictionary.metadata.site is not None
        assert dictionary.metadata.site.short == member.settings["site"]
        assert member.fvu is not None
        assert 0 < member.fvu < 1
    drawing = ET.fromstring((folder / "trade-off.svg").read_text())
    said = [title.text or "" for title in drawing.iter(f"{SVG}title")]
    assert sum(", L0 " in text for text in said) == 4, "a point for each"
    assert sweep_run(recipe, tmp_path / "run", sweep)[0] == result


def test_the_picture_has_a_line_an_architecture(vectors: Path, tmp_path: Path) -> None:
    recipe = override(VectorRecipe(batch=100), {"latents": "40"}, VECTOR_KEYS)
    result = sweep_vectors(vectors, tmp_path / "s", recipe, parse_sweep(["topk.k=2,4", "l1.alpha=1,4"]))
    words = [text.text for text in ET.fromstring((tmp_path / "s" / "trade-off.svg").read_text()).iter(f"{SVG}text")]
    assert {"topk", "l1"} <= set(words)
    assert not {name for name in words if name and "alpha" in name}
    assert [trial.coefficient for trial in result.trials] == [None, None, 1.0, 4.0]


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    path = tmp_path / "x.npy"
    np.save(path, (generator.standard_normal((1500, 12)) @ generator.standard_normal((12, 12))).astype("float32"))
    return path


def test_a_sweep_over_widths_and_k_fits_the_scaling_law(vectors: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    recipe = override(VectorRecipe(batch=100), {"lr": "0.01"}, VECTOR_KEYS)
    sweep = {"latents": ["16", "32", "64"], "k": ["1", "2", "4"]}
    result = sweep_vectors(vectors, out, recipe, sweep)
    fit = fit_sweep(result, out, resamples=10)
    assert read_json(out / "scaling.json") == fit.to_dict() | {"points": [vars(point) for point in fit.points]}
    assert {(point.n, point.k) for point in fit.points} == {(n, k) for n in (16, 32, 64) for k in (1, 2, 4)}
    drawing = ET.fromstring((out / "scaling.svg").read_text())
    said = [title.text or "" for title in drawing.iter(f"{SVG}title")]
    assert sum(" latents: FVU" in text for text in said) == 9
    with pytest.raises(RunError, match="another sweep"):
        sweep_vectors(vectors, out, recipe, {"k": ["1", "2"]})
    again = sweep_vectors(vectors, out, recipe, {"k": ["1", "2"]}, update=True)
    with pytest.raises(ConfigError, match="vary both"):
        fit_sweep(again, out)
