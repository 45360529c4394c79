"""shift: twins differ in one thing, the cue's latents are told from the label's, and without them it is gone."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import torch

from monosema.core import InputError, Site
from monosema.dictionaries import RandomDirections
from monosema.models import LanguageModel, load_model
from monosema.runs.experiments.biased import BIASES, Bias, balanced, biased, rows_of
from monosema.runs.experiments.shift import _Case, _without, latents_named
from monosema.runs.experiments.shift_page import worst_group

SITE = Site(4, "resid_post")


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load_model("specimen", dtype="float32")


@pytest.mark.parametrize("bias", BIASES, ids=lambda bias: bias.name)
def test_the_cue_goes_with_the_label_in_biased_texts_and_in_half_of_balanced_ones(bias: Bias) -> None:
    assert all(one.cue == one.label for one in biased(bias, 8, 0))
    assert Counter((one.label, one.cue) for one in balanced(bias, 8, 0)) == Counter(
        {(label, cue): 2 for label in (True, False) for cue in (True, False)}
    )


def test_twins_of_an_order_have_the_same_tokens_and_those_of_words_lose_them(model: LanguageModel) -> None:
    words, order = BIASES
    ordered = order.draw(random.Random(0), "train", True, True)
    (own,), (twin,) = (model.tokenizer.encode_batch([text]) for text in (ordered.text, ordered.other_cue))
    assert own != twin
    assert Counter(own) == Counter(twin)
    assert rows_of(model, [ordered.text], [ordered.other_cue]).tokens.tolist() == [own]
    spoken = words.draw(random.Random(0), "train", True, True)
    left = model.tokenizer.decode(rows_of(model, [spoken.text], [spoken.other_cue]).tokens[0].tolist())
    assert spoken.text.split()[1] in left
    assert len(left) < len(spoken.text)


def test_the_rule_finds_the_latents_of_the_cue_and_without_them_the_classifier_follows_it_less(
    model: LanguageModel,
) -> None:
    case = _Case(model, BIASES[1], [SITE], SITE, prompts=8, seed=0)
    pooled = {name: case.pooled(rows) for name, rows in case.twins.items()}
    sign = torch.tensor([1.0 if one.cue else -1.0 for one in case.train[: len(pooled["own"])]]).unsqueeze(1)
    planted = torch.cat([((pooled["own"] - pooled[twin]) * sign).mean(0, keepdim=True) for twin in ("cue", "label")])
    rows = planted / planted.norm(dim=1, keepdim=True)
    dictionary = RandomDirections(pooled["own"].mean(0), torch.cat([rows, -rows]), 1.0, 4)
    unwanted = [latent for _, latent in case.judge({SITE: dictionary}).unwanted]
    assert set(unwanted) == {0, 2}
    follows = []
    for latents in ([], unwanted):
        measured = case.pooled(case.new, lambda latents=latents: _without(model, {SITE: dictionary}, {SITE: latents}))
        said = case.classifier.decide(measured.double().numpy())
        follows.append(np.mean(said == [one.cue for one in case.test]))
    assert follows[0] > follows[1] + 0.1


def test_the_worst_group_is_the_smallest_share_and_lies_in_its_interval() -> None:
    right = np.tile([1.0, 0.0, 1.0, 1.0], 10)
    right[1] = 1.0
    found = worst_group(right)
    assert found.value == pytest.approx(0.1)
    assert found.low <= found.value <= found.high < 1


def test_latents_are_named_by_layer_and_others_are_refused() -> None:
    assert latents_named(["4.7"], [SITE], 8) == [(SITE, 7)]
    for wrong in ("4.8", "3.1", "4", "4.x"):
        with pytest.raises(InputError, match=r"LAYER\.LATENT, of layers 4 and latents 0 to 7"):
            latents_named([wrong], [SITE], 8)
