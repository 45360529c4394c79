"""The whole walk on a tiny model: what a run folder holds, what is skipped, and what goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from monosema.core import ConfigError, FormatError, RunError, SiteError, read_json
from monosema.pages import ReportData
from monosema.recipes import demo, read_recipe
from monosema.runs import SHORT_KEYS, Recipe, Run, Stage, apply_overrides, register_stage, run
from monosema.runs.context import RunContext
from monosema.runs.report_data import with_answer


@pytest.fixture(scope="module")
def recipe(small_keys: dict[str, str]) -> Recipe:
    return apply_overrides(demo(), small_keys, SHORT_KEYS)


def copy_of(finished: Run, folder: Path) -> Path:
    return Path(shutil.copytree(finished.folder, folder / "copy"))


def retell(recipe: Recipe, folder: Path, **settings: Any) -> list[str]:
    told: list[str] = []
    run(recipe, folder, log=told.append, **settings)
    return told


def test_a_run_folder_holds_what_the_plan_says(finished: Run) -> None:
    name = finished.recipe.dictionary_name
    for path in (
        "recipe.toml",
        "stages.json",
        "activations/manifest.json",
        f"dictionaries/{name}/cfg.json",
        f"dictionaries/{name}/sae_weights.safetensors",
        f"dictionaries/{name}/metrics.jsonl",
        f"evaluations/{name}/heldout.json",
        f"atlas/{name}/features.parquet",
        f"report/{name}.html",
    ):
        assert (finished.folder / path).is_file(), path
    assert list(finished.stages) == ["capture", "train", "evaluate", "atlas", "explain", "score", "report"]
    assert all(record.state == "done" for record in finished.stages.values())


def test_the_summary_has_every_figure(finished: Run) -> None:
    summary = json.loads(json.dumps(finished.summary(), allow_nan=False))
    for name in ("fvu", "variance_explained", "l0", "alive", "ce_clean", "ce_spliced", "ce_zero"):
        assert isinstance(summary[name], float), name
        low, high = summary["intervals"][name]
        assert low <= summary[name] <= high
    assert "loss_recovered" in summary or "loss_recovered" in summary["absent"]
    assert summary["features"] == 64
    assert summary["tokens"] >= 8000
    assert list(summary["seconds"]) == ["capture", "train", "evaluate", "atlas", "explain", "score", "report"]
    assert Path(summary["report"]).read_text(encoding="utf-8").startswith("<!")
    assert Path(summary["run"]) == finished.folder.resolve()
    assert [row["kind"] for row in summary["evaluation"]] == ["dictionary", "pca", "random"]


def test_the_results_are_at_hand(finished: Run) -> None:
    assert finished.dictionary().n_latents == 64
    assert finished.evaluation().dictionary.metrics["l0"].value <= 4
    assert len(finished.atlas()) == 64
    assert finished.report is not None


def test_the_report_answers_the_recipes_question(finished: Run, recipe: Recipe) -> None:
    assert finished.report is not None
    page = finished.report.read_text(encoding="utf-8")
    assert recipe.report.question == "ioi"
    assert "The question" in page  # no name is one token of the tiny model, and the page says so
    asked = with_answer(
        ReportData(title="t"), RunContext(apply_overrides(recipe, {"question": "the cat"}), finished.folder)
    )
    assert [one.values["model"] for one in asked.answers] == [finished.recipe.model.name]
    assert set(asked.answers[0].values["parts"]) == {"layer", "head", "neuron", "latent"}
    unasked = RunContext(apply_overrides(recipe, {"question": "none"}), finished.folder)
    assert with_answer(ReportData(title="t"), unasked) == ReportData(title="t")


def test_a_finished_run_is_skipped_whole(finished: Run, recipe: Recipe) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*") if not path.name.startswith(".lock")}
    told = retell(recipe, finished.folder)
    assert [line.split(":")[0] for line in told] == [
        "capture",
        "train",
        "evaluate",
        "atlas",
        "explain",
        "score",
        "report",
    ]
    assert all("done before" in line for line in told)
    after = {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*") if not path.name.startswith(".lock")}
    assert {path for path in before if before[path] != after.get(path)} <= {finished.folder}


def test_the_written_recipe_repeats_the_run(finished: Run, tmp_path: Path) -> None:
    written, home = read_recipe(finished.folder / "recipe.toml")
    assert home == finished.folder
    again = run(written, tmp_path / "again")
    assert again.recipe == finished.recipe
    assert again.evaluation() == finished.evaluation()
    query = "select * from features order by latent"
    assert again.atlas().sql(query) == finished.atlas().sql(query)


def test_another_recipe_is_refused_with_the_keys_that_differ(finished: Run, recipe: Recipe) -> None:
    other = apply_overrides(recipe, {"k": "3", "atlas.top": "5"})
    with pytest.raises(RunError, match=r"--k is 4 there and 3 here; --atlas\.top is 20 there and 5 here"):
        run(other, finished.folder)


def test_update_makes_only_what_depends(finished: Run, recipe: Recipe, tmp_path: Path) -> None:
    folder = copy_of(finished, tmp_path)
    told = retell(apply_overrides(recipe, {"atlas.top": "5"}), folder, update=True)
    assert [line for line in told if "done before" not in line] == [
        "atlas: made again, because atlas.top changed from 20 to 5",
        "explain: made again, because atlas changed",
        "score: made again, because explain changed",
        "report: made again, because atlas changed, score changed, the atlas's labels, votes or scores changed",
    ]
    assert Run.open(folder).recipe.atlas.top == 5


def test_a_damaged_shard_is_named_and_only_it_is_made_again(finished: Run, recipe: Recipe, tmp_path: Path) -> None:
    folder = copy_of(finished, tmp_path)
    shard = folder / "activations" / "shard-00003.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[:-100] + bytes(100))
    told = retell(recipe, folder)
    assert told[0] == "capture: made again, because activations/shard-00003.safetensors doesn't match its checksum"
    assert all("done before" in line for line in told[1:])
    assert shard.read_bytes() == content


def test_damaged_weights_are_trained_again_to_the_same(finished: Run, recipe: Recipe, tmp_path: Path) -> None:
    folder = copy_of(finished, tmp_path)
    weights = folder / "dictionaries" / finished.recipe.dictionary_name / "sae_weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:1000])
    told = retell(recipe, folder)
    assert "sae_weights.safetensors has 1000 bytes instead of" in told[1]
    assert weights.read_bytes() == content


def test_a_site_by_its_long_name_is_the_same_recipe(recipe: Recipe) -> None:
    assert apply_overrides(recipe, {"site": "blocks.1.hook_resid_post"}) == recipe


def test_a_recipe_survives_toml(recipe: Recipe) -> None:
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    assert Recipe.from_toml(demo().to_toml()) == demo()


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("name = ", FormatError, "is not valid TOML"),
        ("nmae = 'x'\n[dictionary]\nd_in = 1\nn_latents = 64", ConfigError, "no field 'nmae'. Did you mean 'name'"),
        ("[dictionary]\nd_in = 1\nn_latents = 0", ConfigError, "n_latents = 0 is not valid"),
        ("site = '3..q'\n[dictionary]\nd_in = 1\nn_latents = 64", SiteError, "is not a site"),
        ("name = '../x'\n[dictionary]\nd_in = 1\nn_latents = 64", ConfigError, "name"),
    ],
)
def test_a_wrong_recipe_is_explained(text: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error) as caught:
        Recipe.from_toml(text)
    assert says in str(caught.value)


def test_a_seed_reaches_all_that_is_random() -> None:
    recipe = demo().seeded(7)
    assert (recipe.training.seed, recipe.atlas.seed, recipe.evaluation.seed) == (7, 7, 7)


def test_stages_alone(recipe: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "part"
    done = run(recipe, folder, until="capture")
    assert list(done.stages) == ["capture"]
    assert "fvu" not in done.summary()
    with pytest.raises(RunError, match="has not finished the stage 'train'"):
        done.dictionary()
    assert list(run(recipe, folder, until="atlas").stages) == ["capture", "train", "atlas"]


def test_a_stage_from_outside_is_made_with_the_others(
    finished: Run, recipe: Recipe, tmp_path: Path, registry: list[Stage]
) -> None:
    def count(ctx: RunContext) -> dict[str, int]:
        words = sum(len(document.text.split()) for document in ctx.corpus.documents())
        (ctx.folder / "words.txt").write_text(f"{words}")
        return {"words": words}

    register_stage(Stage(name="words", make=count, writes=lambda ctx: [ctx.folder / "words.txt"], reads=("corpus",)))
    folder = copy_of(finished, tmp_path)
    assert retell(recipe, folder)[-1].startswith("report: done before")
    assert list(Run.open(folder).summary()["seconds"])[-2:] == ["report", "words"]
    assert retell(recipe, folder)[-1].startswith("words: done before (")


def test_a_folder_of_other_things_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(RunError, match=r"is not a run folder: it holds other things"):
        run(recipe, tmp_path)
    with pytest.raises(RunError, match="does not exist"):
        Run.open(tmp_path / "none")


def test_a_lost_table_of_stages_makes_them_again(finished: Run, recipe: Recipe, tmp_path: Path) -> None:
    folder = copy_of(finished, tmp_path)
    (folder / "stages.json").unlink()
    run(recipe, folder)
    assert read_json(folder / "stages.json")["stages"]["report"]["state"] == "done"
    assert Run.open(folder).evaluation() == finished.evaluation()


def test_a_dictionary_can_start_from_the_models_weights(recipe: Recipe, tmp_path: Path) -> None:
    chosen = recipe.replace(dictionary=recipe.dictionary.replace(start="weights"))
    done = run(chosen, tmp_path / "run", until="train")
    assert Recipe.read(done.folder / "recipe.toml").dictionary.start == "weights"
    assert (done.folder / "dictionaries" / done.recipe.dictionary_name / "cfg.json").is_file()
