"""Sweeps: one batch writes what single calls write, and figures are those of its texts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from monosema.core import InputError, Site
from monosema.models import Transformer, load_model, random_model
from monosema.steering import Add, Direction, Edit, Steering, Where, steered
from monosema.steering.candidates import Candidate, Prefix, at_strengths
from monosema.steering.metrics.effect import Lexicon
from monosema.steering.metrics.measures import MEASURES, Measure, register_measure
from monosema.steering.sweep import SweepConfig, SweepResult, result_of, sweep, sweep_steps

PROMPTS = ["hello", "a longer one"]
CONFIG = SweepConfig(max_new_tokens=6, seeds=(0, 3))


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model()


def push(seed: int = 0, where: Where | None = None) -> Steering:
    vector = torch.randn(32, generator=torch.Generator().manual_seed(seed))
    return Steering(Edit(Direction(Site(0, "resid_post"), vector), Add(1.0), where or Where()))


def test_texts_are_those_of_single_calls_with_the_same_seed(model: Transformer) -> None:
    candidates: dict[str, Candidate | list[Candidate]] = {
        **at_strengths(push(), [0.0, 1.0, 3.0]),
        "words": Prefix("Oh "),
        "draws": [push(1), push(2)],
    }
    for memory in (512, 1):
        found = sweep(model, PROMPTS, candidates, CONFIG.replace(memory_mb=memory))
        for name, own in {"1": [push(), push()], "3": [push().at(3.0)] * 2, "draws": [push(1), push(2)]}.items():
            for sample in found[name].samples:
                with steered(model, own[sample.prompt]):
                    alone = model.generate(PROMPTS[sample.prompt], max_new_tokens=6, temperature=1.0, seed=sample.seed)
                assert (sample.text, sample.tokens) == (alone.text, len(alone.tokens))
    assert [one.text for one in found["0"].samples] == [one.text for one in found.base.samples]
    words = model.generate("Oh hello", max_new_tokens=6, temperature=1.0, seed=3)
    assert found["words"].samples[1].text == words.text
    assert found["3"].strength == 3
    assert found["words"].strength is None
    assert found["draws"].strength is None


def test_figures_stand_beside_the_unsteered_texts(model: Transformer) -> None:
    effect = Lexicon(frozenset({"q"}))
    found = sweep(model, PROMPTS, at_strengths(push(), [0.0, 4.0]), CONFIG, effect)
    nothing, strong = found.points
    assert {"perplexity", "perplexity_ratio", "effect", "effect_gain", *MEASURES} == set(strong.figures)
    assert nothing.figures["kl"].value == pytest.approx(0, abs=1e-6)
    assert nothing.figures["perplexity_ratio"].value == 1
    assert strong.figures["kl"].value > 0.1
    assert strong.figures["kl"].n == len(PROMPTS)
    assert strong.figures["effect"].value == np.mean([sample.effect for sample in strong.samples])
    alone = sweep(model, PROMPTS[:1], {"a": push()}, CONFIG)
    assert alone["a"].figures["kl"].n == len(CONFIG.seeds)
    assert "effect" not in alone["a"].figures
    assert SweepResult.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_a_sweep_tells_how_far_it_is_and_leaves_nothing_behind_when_it_is_closed(model: Transformer) -> None:
    steps = sweep_steps(model, PROMPTS, {"a": push()}, CONFIG)
    first = next(steps)
    assert 0 < first.done < first.total
    steps.close()
    assert len(model.hooks) == 0
    done = [step.done for step in sweep_steps(model, PROMPTS, {"a": push()}, CONFIG)]
    assert done == sorted(done)
    assert done[-1] == first.total


def test_the_price_is_accuracy_on_other_tasks() -> None:
    specimen = load_model("specimen", dtype="float32")
    vector = torch.randn(256, generator=torch.Generator().manual_seed(0))
    strong = Steering(Edit(Direction(Site(3, "resid_post"), vector), Add(50.0)))
    config = SweepConfig(max_new_tokens=2, skills=("sentiment", "greater_than"), skill_prompts=8)
    found = sweep(specimen, ["The king"], {"strong": strong, "none": None}, config)
    assert found["strong"].figures["skills_lost"].value > 0.2
    assert found["none"].figures["skills_lost"].value == 0
    assert {"skill:sentiment", "skill:greater_than", "skills"} <= set(found["none"].figures)


def test_a_price_that_no_task_can_tell_is_absent(model: Transformer) -> None:
    found = sweep(model, PROMPTS, {"a": None}, CONFIG.replace(skill_prompts=2))  # bytes answer no task
    assert not [name for name in found["a"].figures if name.startswith("skill")]
    with pytest.raises(KeyError):
        found["b"]


def test_a_measure_of_ones_own_is_a_column(model: Transformer) -> None:
    register_measure(Measure("letters", "letters a token", lambda text: (len(text.text), len(text.tokens))))
    try:
        found = sweep(model, PROMPTS, {"a": None}, CONFIG)
        assert found["a"].figures["letters"].value > 0
    finally:
        del MEASURES["letters"]


def test_what_can_not_be_swept_is_an_error(model: Transformer) -> None:
    with pytest.raises(InputError, match="prompts and candidates"):
        sweep(model, [], {"a": None})
    with pytest.raises(InputError, match="list of draws"):
        sweep(model, PROMPTS, {"a": []})
    with pytest.raises(InputError, match="selects no token"):
        sweep(model, PROMPTS, {"a": push(where=Where(prompt=(90, 91), generated=None))}, CONFIG)
    with pytest.raises(InputError, match="token ids"):
        sweep(model, [[1, 2]], {"a": Prefix("x")}, CONFIG)


def test_a_sweep_that_was_cut_goes_on_from_its_finished_texts(
    model: Transformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = {**at_strengths(push(), [1.0, 3.0]), "words": Prefix("Oh ")}
    config, file = CONFIG.replace(memory_mb=1), tmp_path / "new" / "sweep.jsonl"
    whole = sweep(model, PROMPTS, candidates, CONFIG)
    monkeypatch.setattr("monosema.steering.writing._rows_within", lambda *_: 3)
    steps = sweep_steps(model, PROMPTS, candidates, config, keep=file)
    while not file.exists() or len(file.read_text().splitlines()) < 7:
        next(steps)
    steps.close()
    with open(file, "a") as cut:
        cut.write('{"text": "torn')
    first = next(iter(again := sweep_steps(model, PROMPTS, candidates, config, keep=file)))
    assert first.done > 7 * config.max_new_tokens - 1
    result = result_of(again)
    assert [one.samples for one in (result.base, *result.points)] == [
        one.samples for one in (whole.base, *whole.points)
    ]
    for point in result.points:
        for name, figure in point.figures.items():
            assert figure.value == pytest.approx(whole[point.name].figures[name].value, rel=1e-4, abs=1e-6)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert sum("tokens" in line for line in lines) == sum("read" in line for line in lines) == 16
    monkeypatch.setattr(Transformer, "forward", lambda *_, **__: pytest.fail("computed again"))
    assert sweep(model, PROMPTS, candidates, config, keep=file) == result


def test_what_is_kept_is_of_the_same_steering_prompt_and_seed(model: Transformer, tmp_path: Path) -> None:
    file = tmp_path / "sweep.jsonl"
    sweep(model, PROMPTS, at_strengths(push(), [1.0]), CONFIG, keep=file)
    n = len(file.read_text().splitlines())
    assert n == 2 * 2 * 2 * 2
    sweep(model, PROMPTS, at_strengths(push(), [1.0, 2.0]), CONFIG, keep=file)
    assert len(file.read_text().splitlines()) == n + 2 * 2 * 2
    other = sweep(model, PROMPTS, at_strengths(push(1), [1.0]), CONFIG, keep=file)
    assert len(file.read_text().splitlines()) == n + 4 * 2 * 2
    assert other["1"].samples == sweep(model, PROMPTS, at_strengths(push(1), [1.0]), CONFIG)["1"].samples


def test_an_edit_that_selects_nothing_is_an_error_after_a_cut_too(model: Transformer, tmp_path: Path) -> None:
    nothing = Steering(*push(where=Where(prompt=(500, 600), generated=None)).edits)
    for _ in range(2):
        with pytest.raises(InputError, match="selects no token"):
            sweep(model, PROMPTS, {"x": nothing}, CONFIG, keep=tmp_path / "sweep.jsonl")


def test_another_kind_of_file_is_refused(model: Transformer, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("my notes\n")
    with pytest.raises(InputError, match="holds no texts of a sweep"):
        sweep(model, PROMPTS, at_strengths(push(), [1.0]), CONFIG, keep=tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "my notes\n"
