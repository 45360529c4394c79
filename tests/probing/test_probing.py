"""Probes find what is planted, say nothing where nothing is, and their controls expose what leaks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from monosema.core import InputError, Site
from monosema.models import Transformer, random_model
from monosema.probing import (
    PROBES,
    Examples,
    HeadDirection,
    Words,
    calibration_error,
    judge,
    judge_pooled,
    last_activations,
    open_examples,
    task_examples,
)
from monosema.probing.judge import fold_masks
from monosema.probing.tcav import answer_gradients, tcav
from monosema.probing.truthful import _nested, intervened
from monosema.steering import Steering, steered

SITE = Site(0, "resid_post")


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model()


def drawn(n: int, shift: float, seed: int = 0) -> tuple[Examples, torch.Tensor]:
    """Rows of two classes, `shift` deviations apart along the first column."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    rows = generator.normal(size=(n, 8))
    rows[:, 0] += shift * labels
    names = tuple(f"t{index}" for index in range(n))
    types = tuple(f"k{index // 4 % 10}" for index in range(n))
    made = Examples(
        name="drawn", texts=names, labels=labels, classes=("no", "yes"), test=np.arange(n) % 3 == 0, groups=names,
        types=types,
    )  # fmt: skip
    return made, torch.from_numpy(rows).float()


@pytest.mark.parametrize("name", PROBES)
def test_a_planted_direction_is_found_and_erased(name: str) -> None:
    examples, rows = drawn(300, 4.0)
    empty = torch.from_numpy(np.random.default_rng(9).normal(size=(300, 8))).float()
    found = judge(name, PROBES[name], {Site(1, "resid_post"): empty, SITE: rows}, examples)
    assert found.site == SITE
    assert found.accuracy.low > 0.9
    assert found.leak is not None
    assert abs(found.leak.value - 0.5) < 0.15
    assert found.erased is not None
    assert found.erased.low <= found.majority <= found.erased.high + 0.05
    assert found.selectivity is not None
    assert found.selectivity > 0.2
    assert found.fitted is not None
    assert found.fitted.direction is not None
    direction = found.fitted.direction / found.fitted.direction.norm()
    assert float(direction[0]) > 0.9


def test_nothing_is_read_where_nothing_is() -> None:
    examples, rows = drawn(300, 0.0)
    found = judge("logistic", PROBES["logistic"], {SITE: rows}, examples)
    assert found.auroc.low < 0.5 < found.auroc.high


def test_attention_pooling_finds_the_token_that_tells() -> None:
    examples, _ = drawn(120, 0.0)
    generator = torch.Generator().manual_seed(0)
    x, mask = torch.randn(120, 6, 8, generator=generator) * 0.1, torch.ones(120, 6, dtype=torch.bool)
    place = torch.randint(0, 6, (120,), generator=generator)
    x[torch.arange(120), place, 1] = 3.0
    x[torch.arange(120), place, 0] = 3.0 * torch.from_numpy(2.0 * examples.labels - 1).float()
    found = judge_pooled(Words(x, mask), SITE, examples)
    assert found.accuracy.value > 0.9


def test_no_group_crosses_a_fold() -> None:
    groups = [f"g{index % 7}" for index in range(50)]
    folds = fold_masks(groups, 5)
    assert np.stack(folds).sum(0).tolist() == [1] * 50
    for aside in folds:
        assert not {groups[i] for i in np.flatnonzero(aside)} & {groups[i] for i in np.flatnonzero(~aside)}


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    assert calibration_error(np.array([0.8] * 10), np.array([1] * 8 + [0] * 2)) == pytest.approx(0.0)
    assert calibration_error(np.array([0.9] * 10), np.array([1] * 5 + [0] * 5)) == pytest.approx(0.4)


def test_last_tokens_are_those_of_each_text_alone(model: Transformer) -> None:
    found = last_activations(model, [SITE, Site(1, "z")], ["abc", "a longer one"])
    for row, text in enumerate(["abc", "a longer one"]):
        alone = model.activations(text, [SITE, Site(1, "z")])
        torch.testing.assert_close(found[SITE][row], alone[SITE][0, -1], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found[Site(1, "z")][row], alone["1.z"][0, -1].flatten(), atol=1e-5, rtol=1e-4)


def test_files_of_texts_and_what_is_wrong_with_them(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "label": "ab"[n % 2], "who": f"w{n // 4}"} for n in range(120)]
    lines, sheet = tmp_path / "a.jsonl", tmp_path / "a.csv"
    lines.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    sheet.write_text("text,label\n" + "\n".join(f"{row['text']},{row['label']}" for row in rows), encoding="utf-8")
    found = open_examples(str(lines), group="who")
    inside = {group for group, aside in zip(found.groups, found.test, strict=True) if aside}
    assert not inside & {group for group, aside in zip(found.groups, found.test, strict=True) if not aside}
    assert (found.classes, found.control(), len(open_examples(str(sheet)).texts)) == (("a", "b"), None, 120)
    for words, said in (({"text": "txt"}, "'txt'"), ({"label": "who"}, "30 values")):
        with pytest.raises(InputError, match=said):
            open_examples(str(lines), **words)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no task and no file"):
        open_examples("trut")
    with pytest.raises(InputError, match="right answers"):
        task_examples("ioi")


def test_an_intervention_is_its_formula_and_its_steering_file_does_the_same(model: Transformer) -> None:
    tokens = torch.tensor([model.tokenizer.encode("a cat sat")])
    z = torch.randn(20, 8)
    theta = torch.randn(8)
    head = HeadDirection(1, 2, 0.9, theta / theta.norm(), z)
    before = model.activations(tokens, ["1.z"])["1.z"]
    for kind, alpha in (("shift", 2.0), ("gain", 0.5)):
        with intervened(model, [head], kind, alpha):  # type: ignore[arg-type]
            after = model.activations(tokens, ["1.z"])["1.z"]
        read = before[0, :, 2] @ head.theta
        size = torch.full_like(read, alpha * head.deviation) if kind == "shift" else alpha * (read - head.mean)
        torch.testing.assert_close(after[0, :, 2] - before[0, :, 2], size[:, None] * head.theta, atol=1e-5, rtol=1e-4)
        assert torch.equal(after[0, :, 1], before[0, :, 1])
        with steered(model, Steering(head.edits(kind, alpha))):  # type: ignore[arg-type]
            edited = model.activations(tokens, ["1.z"])["1.z"]
        torch.testing.assert_close(edited[0, 1:], after[0, 1:], atol=1e-5, rtol=1e-4)


def test_gradients_of_answers_are_differences(model: Transformer) -> None:
    (gradient,) = answer_gradients(model, SITE, ["a cat sat"], 98, 99)
    tokens, step = torch.tensor([model.tokenizer.encode("a cat sat")]), 1e-2
    moved = torch.zeros_like(gradient)
    moved[3] = step

    def value(change: torch.Tensor) -> float:
        def edit(x: torch.Tensor) -> torch.Tensor:
            x = x.clone()
            x[:, -1] += change
            return x

        with model.edit(SITE, edit):
            logits = model(tokens)[0, -1]
        return float(logits[98] - logits[99])

    assert (value(moved) - value(-moved)) / (2 * step) == pytest.approx(float(gradient[3]), rel=0.02, abs=1e-3)


def test_each_text_is_answered_by_the_choice_that_does_best_on_the_other_folds() -> None:
    folds = [np.arange(6) < 3, np.arange(6) >= 3]
    first, second = np.array([1, 1, 1, 0, 0, 0], dtype=bool), np.array([0, 0, 1, 1, 1, 0], dtype=bool)
    assert _nested({(4, 1.0): first, (4, -1.0): second}, folds).tolist() == [False, False, True, False, False, False]


def test_scores_of_concepts_stand_beside_those_of_random_labels(model: Transformer) -> None:
    texts = tuple(f"{'ab' if n % 2 else 'xy'} {n}" for n in range(72))
    examples = Examples(
        name="drawn",
        texts=texts,
        labels=np.arange(72) % 2,
        classes=("no", "yes"),
        test=np.arange(72) % 3 == 0,
        groups=texts,
    )
    (found,) = tcav(model, examples, [Site(1, "resid_post")], 98, 99)
    assert len(found.scores) == len(found.random) == 20
    assert 0 <= found.p <= 1
