"""Experiments: what they say follows from what was found, controls stand beside, and what is finished is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from monosema.circuits import pass_memory
from monosema.core import ConfigError, Estimate, InputError, RunError, wilson
from monosema.models import load_model, random_model
from monosema.pages.experiment import ExperimentPage
from monosema.runs.experiments import (
    EXPERIMENTS,
    ExperimentConfig,
    TrainingChoice,
    Work,
    align,
    erasure,
    experiment_named,
    ioi,
    perplexity,
    run_experiment,
)
from monosema.runs.experiments.experiment import Experiment, register_experiment


def work_in(folder: Path, **training: Any) -> Work:
    """An experiment on a random model."""
    return Work(random_model(), folder, ExperimentConfig(training=TrainingChoice(**training)))


def found(name: str, seed: int, features: float) -> dict[str, Any]:
    """A dictionary that comes half-way with so many features, with some noise over prompts."""
    noise = np.random.default_rng(seed).uniform(0.9, 1.1, (4, 12))
    left = np.array([[0.01], [1.0], [2.0], [4.0]]) * noise
    sizes = [400, features, features / 2, 0]
    edits = np.array(sizes)[:, None] * noise / 100
    path = {"sizes": sizes, "divergence": left.tolist(), "distance": (left + 1).tolist(), "edit": edits.tolist()}
    return {"name": name, "seed": seed, "selections": [], "chosen": path, "measured": path}


@pytest.mark.parametrize(("sparse", "claim"), [(10, "holds here."), (90, "does not hold here in full.")])
def test_the_sentence_of_ioi_follows_from_the_figures(sparse: float, claim: str, tmp_path: Path) -> None:
    work = work_in(tmp_path, alphas=(0.0, 0.01), seeds=2)
    names = {"sparse, α = 0.01": sparse, "sparse, α = 0": 60, ioi.PCA: 60, ioi.PCA_APART: 60}
    rows = [found(name, seed, features) for name, features in names.items() for seed in range(2)]
    (site,) = work.sites((1,))
    page = ioi._page(work, site, wilson(11, 12), [], rows)
    assert f"its claim {claim}" in page.verdict
    assert page.verdict.endswith("it holds too." if sparse < 60 else "it does not.")
    ratio = page.values["ratios"][ioi.PCA]["features"]
    assert ratio["low"] < sparse / 60 < ratio["high"]
    assert page.write(tmp_path).exists()
    assert {"result.json", "result.md", "features.svg"} <= {path.name for path in tmp_path.iterdir()}


def test_a_latents_auc_is_that_of_the_library() -> None:
    codes = torch.randn(60, 5).relu()
    labels = (torch.rand(60) < 0.5).float()
    expected = [roc_auc_score(labels, column) for column in codes.T]
    assert np.allclose(erasure._auc(codes, labels), expected)


def test_perplexity_has_controls_at_each_layer_and_keeps_what_is_finished(tmp_path: Path) -> None:
    text = tmp_path / "text.jsonl"
    lines = (json.dumps({"text": f"Line {i} says that {i % 7} is a number. " * 9}) for i in range(300))
    text.write_text("\n".join(lines))
    work = work_in(tmp_path / "out", text=str(text), tokens=6_000, ratio=2, alphas=(0.01,), batch=64, passes=1)
    page = perplexity.run(work)
    assert len(page.tables[0].rows) == work.model.n_layers
    assert all({"dictionary", "pca", "random"} <= row["rows"].keys() for row in page.values["rows"])
    times = {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "out").rglob("*")
        if path.suffix in (".json", ".safetensors")
    }
    assert perplexity.run(work).verdict == page.verdict
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_erasure_measures_the_same_in_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "NEUTRAL", 1_000)
    work = Work(load_model("specimen", dtype="float32"), tmp_path, ExperimentConfig())
    (site,) = work.sites((1,))
    prompts = erasure._prompts(work, "train", 6)

    def measured() -> list[torch.Tensor]:
        rows, labels, _ = erasure._rows(work, site, prompts)
        eraser = erasure.mean_difference(rows, labels)
        odds = erasure._log_odds(work, site, eraser, prompts)
        return [rows, torch.tensor(odds), torch.tensor(erasure._damage(work, site, eraser))]

    passes = list[int]()
    with work.model.attach(site, lambda x, _: (passes.append(len(x)), x)[1]):
        whole, n = measured(), len(passes)
        with pass_memory(1):
            parts = measured()
    assert len(passes) > 3 * n
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(whole, parts, strict=True))


def test_layers_and_names_that_there_are_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="erasure"):
        experiment_named("erasur")
    with pytest.raises(ConfigError, match="layers 0 to"):
        work_in(tmp_path).sites((9,))


def test_a_folder_of_other_settings_is_not_mixed_with_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monosema.runs.experiments.experiment.load_model", lambda *_, **__: random_model())
    monkeypatch.setattr("monosema.runs.experiments.experiment.EXPERIMENTS", dict(EXPERIMENTS))
    page = ExperimentPage(
        title="t", question="q", verdict="v", method="m", values={"n": Estimate(1.0, 0.0, 2.0, 3).to_dict()}
    )
    register_experiment(Experiment("made up", "nothing", lambda work: page))
    run_experiment("made up", "x", tmp_path, ExperimentConfig())
    run_experiment("made up", "x", tmp_path, ExperimentConfig())
    with pytest.raises(RunError, match="--update"):
        run_experiment("made up", "x", tmp_path, ExperimentConfig(seed=1))
    run_experiment("made up", "x", tmp_path, ExperimentConfig(seed=1), update=True)


def test_the_planted_name_is_found_and_the_sentence_follows_from_the_figures(tmp_path: Path) -> None:
    work = work_in(tmp_path)
    known = align._planted(work)
    rows = known["rows"]
    assert rows["search"]["accuracy"]["value"] >= 0.99
    assert rows["random"]["accuracy"]["high"] < rows["search"]["accuracy"]["low"]
    lost = {**rows, "search": rows["random"]}
    here = {**known, "model": "ours", "row space": 0.25, "rows": lost, "verdict": "No."}
    page = align._page(work, [known, here])
    assert "search finds the subspace (IIA 1.00 [" in page.verdict
    assert page.verdict.endswith("No.")
    assert "planted model indirect-object" in page.title
    assert "50 training prompts, 50 held out" in page.tables[0].caption
    assert "does not find" in align._page(work, [{**known, "rows": lost}, here]).verdict
    assert "0.25 of the search's lies in the row space" in page.tables[1].caption
    assert [row[0] for row in page.tables[0].rows][:2] == ["search", "whole vector"]
    assert page.write(tmp_path).exists()


def test_letters_have_sources_that_turn_the_answer_round_and_are_as_many_as_asked_for(tmp_path: Path) -> None:
    pairs = dict[str, set[frozenset[str]]]()
    for part in ("train", "test"):
        found = list(align._letters(replace(work_in(tmp_path), config=ExperimentConfig(prompts=40)), part))
        assert len(found) == 40
        pairs[part] = {frozenset(prompt.correct + prompt.wrong) for prompt in found}
        orders = [prompt.clean.startswith(prompt.correct) for prompt in found]
        assert 15 < sum(orders) < 25
        for prompt in found:
            (answer,), (twice,) = prompt.correct, prompt.wrong
            assert prompt.clean.count(twice) == 2
            assert prompt.corrupt.count(answer) == 2
            assert prompt.clean[:2] == prompt.corrupt[:2]
    assert len(pairs["train"]) > 20
    assert not pairs["train"] & pairs["test"]


def test_refused_layers_leave_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--layers 99 is not valid: specimen has layers 0 to 5"):
        run_experiment("align", "specimen", tmp_path / "new", ExperimentConfig(layers=(99,)))
    assert not (tmp_path / "new").exists()
