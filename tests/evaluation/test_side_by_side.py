"""Versions of a model side by side: what is measured is what a forward pass by hand gives."""

from __future__ import annotations

import contextlib
from functools import partial

import pytest
import torch

from monosema.core import ConfigError
from monosema.dictionaries import Metadata, RandomDirections
from monosema.evaluation import side_by_side, splice_test
from monosema.evaluation.side_by_side import first_difference
from monosema.models import random_model

PROMPTS = ["the cat sees", "old dog"]


def scaled(model, factor):
    return partial(model.edit, "0.mlp_out", lambda x: x * factor)


def test_an_unchanged_version_is_the_untouched_model_at_any_temperature(model):
    result = side_by_side(
        model, PROMPTS, {"same": contextlib.nullcontext}, max_new_tokens=6, temperature=1.3, seed=5, stop_at_eos=False
    )
    untouched, same = result.rows
    assert [one.tokens for one in same.texts] == [one.tokens for one in untouched.texts]
    assert same.metrics["kl"] == 0
    assert same.metrics["equal"] == 1
    assert same.metrics["first_difference"] is None


def test_divergence_is_along_the_untouched_text_and_surprise_along_its_own(model):
    result = side_by_side(model, PROMPTS[:1], {"off": scaled(model, -3.0)}, max_new_tokens=6, stop_at_eos=False)
    untouched, off = (row.texts[0].tokens for row in result.rows)
    assert untouched != off
    prompt = model.tokenizer.encode(PROMPTS[0])

    def logs(written):
        tokens = torch.tensor([[*prompt, *written]])
        return model(tokens)[0, len(prompt) - 1 : -1].log_softmax(-1)

    clean = logs(untouched)
    with model.edit("0.mlp_out", lambda x: x * -3.0):
        changed = logs(untouched)
    moved = result.rows[1].moved[0]
    assert moved.kl == pytest.approx(float((clean.exp() * (clean - changed)).sum(-1).mean()), rel=1e-4)
    assert moved.equal == pytest.approx(float((clean.argmax(-1) == changed.argmax(-1)).float().mean()))
    own = -logs(off).gather(1, torch.tensor(off)[:, None]).mean()
    assert moved.surprise == pytest.approx(float(own), rel=1e-4)
    assert moved.first_difference == first_difference(untouched, off)


def test_metrics_have_intervals_over_prompts_where_there_are_some(model):
    many = [f"{word} cat" for word in ("the", "old", "red", "a", "green")]
    some = side_by_side(model, many, {"off": scaled(model, 2.0)}, max_new_tokens=3)
    few = side_by_side(model, many[:2], {"off": scaled(model, 2.0)}, max_new_tokens=3)
    assert some.rows[1].intervals["kl"].n == 5
    assert not few.rows[1].intervals


@pytest.mark.parametrize(
    ("one", "other", "at"), [((1, 2), (1, 2), None), ((1, 2), (1, 3), 1), ((1, 2), (1,), 1), ((), (4,), 0)]
)
def test_the_first_difference_is_a_token_or_the_end_of_a_text(one, other, at):
    assert first_difference(one, other) == at


def test_no_prompts_and_a_version_of_the_untouched_name_are_refused(model):
    for prompts, versions in (([], {}), (PROMPTS, {"untouched": contextlib.nullcontext})):
        with pytest.raises(ConfigError, match="untouched"):
            side_by_side(model, prompts, versions)


class TestSpliceTest:
    def test_controls_and_the_mean_stand_beside_the_dictionary(self, model, text, rows, site):
        dictionary = RandomDirections.fit(rows, 40, 8)
        dictionary.metadata = Metadata(site=site)
        result = splice_test(model, dictionary, PROMPTS, text=text(), max_new_tokens=4, seed=1)
        assert [row.name for row in result.rows] == ["untouched", "spliced", "pca", "random", "mean"]
        assert result.rows[1].metrics["kl"] > 0
        with model.edit(site, lambda x: rows.mean(dim=0).expand_as(x)):
            averaged = model.generate(PROMPTS, max_new_tokens=4)
        assert [one.text for one in averaged] == [one.text for one in result.rows[-1].texts]

    def test_the_kept_error_changes_nothing(self, model, controls, site):
        result = splice_test(model, controls["pca"], PROMPTS, site=site, error="keep", max_new_tokens=4)
        assert result.rows[1].metrics["kl"] == 0

    def test_a_dictionary_without_a_site_asks_for_one(self, controls):
        with pytest.raises(ConfigError, match="site"):
            splice_test(random_model(), controls["pca"], PROMPTS)
