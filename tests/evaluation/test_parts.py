"""Killed at any moment, an evaluation goes on after its last part and ends with the same figures."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch

from monosema.core import Site
from monosema.dictionaries import Pca
from monosema.evaluation import EvaluationConfig, evaluate


class Killing(Pca):
    """Ends its process in the middle of the text."""

    calls = 0

    def encode(self, x, matmul_dtype=None):
        Killing.calls += 1
        if Killing.calls > 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(x, matmul_dtype)


class Counting(Pca):
    """Counts the rows that it encodes."""

    seen = 0

    def encode(self, x, matmul_dtype=None):
        Counting.seen += len(x)
        return super().encode(x, matmul_dtype)


@pytest.fixture(autouse=True)
def short_parts(monkeypatch) -> None:
    monkeypatch.setattr("monosema.evaluation.parts.PART_TOKENS", 100)


def of_kind(kind: type[Pca], pca: Pca) -> Pca:
    return kind(pca.mean, pca.directions, pca.variances)


def test_a_killed_evaluation_goes_on(model, text, site, controls, rows, tmp_path: Path) -> None:
    pca, mean, folder = controls["pca"], rows.mean(dim=0), tmp_path / "parts"
    whole = evaluate(model, pca, site, text(), mean=mean, controls=controls)

    def until_killed() -> None:
        torch.set_num_threads(1)
        evaluate(model, of_kind(Killing, pca), site, text(), mean=mean, parts=folder, controls=controls)

    process = multiprocessing.get_context("fork").Process(target=until_killed)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list(folder.glob("*.safetensors"))) >= 2
    Counting.seen = 0
    again = evaluate(model, of_kind(Counting, pca), site, text(), mean=mean, parts=folder, controls=controls)
    assert again == whole
    assert 0 < Counting.seen - 16 < whole.tokens


def test_parts_that_are_damaged_or_of_something_else_are_made_anew(model, text, site, controls, rows, tmp_path) -> None:
    pca, mean, folder = controls["pca"], rows.mean(dim=0), tmp_path / "parts"

    def seen(batches, config=None) -> int:
        Counting.seen = 0
        evaluate(model, of_kind(Counting, pca), site, batches, config, mean=mean, parts=folder)
        return Counting.seen - 16

    all_tokens = seen(text())
    assert seen(text()) == 0
    third = sorted(folder.iterdir())[2]
    third.write_bytes(third.read_bytes()[:-8] + b"12345678")
    assert 0 < seen(text()) < all_tokens
    assert seen(text()) == 0
    assert seen(text(40)) < all_tokens
    assert seen(text(), EvaluationConfig(seed=1)) == all_tokens
    assert seen(text(), EvaluationConfig(seed=1)) == 0


def test_a_mean_of_other_rows_changes_mean_ablation_alone(model, text, site, controls, rows) -> None:
    own = evaluate(model, controls["pca"], site, text()).dictionary.metrics
    about = evaluate(model, controls["pca"], site, text(), mean=rows.mean(dim=0) + 1).dictionary.metrics
    assert about["ce_mean"].value != pytest.approx(own["ce_mean"].value, rel=1e-3)
    for name in own.keys() - {"ce_mean"}:
        ends = [(one.value, one.low, one.high) for one in (about[name], own[name])]
        assert ends[0] == pytest.approx(ends[1], rel=1e-5), name


def test_a_model_that_gives_only_logits_has_the_same_figures(model, text, controls) -> None:
    class Foreign:
        def __getattr__(self, name: str):
            return getattr(model, name)

        def __call__(self, *given):
            return model(*given)

    site = Site.parse("0.resid_post")
    config = EvaluationConfig(memory_mb=16)
    own, other = (evaluate(one, controls["pca"], site, text(), config) for one in (model, Foreign()))
    for name, figure in own.dictionary.metrics.items():
        assert other.dictionary.metrics[name].value == pytest.approx(figure.value, rel=1e-4, abs=1e-6), name
