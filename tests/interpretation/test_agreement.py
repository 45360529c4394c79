"""Rules that predict the same agree, rules of other features do not."""

from __future__ import annotations

import pytest

from monosema.atlas import AtlasConfig, Explanation, build_atlas, record
from monosema.data import Document, TextConfig, token_batches
from monosema.dictionaries import RandomDirections
from monosema.interpretation.agreement import Agreement, agreement
from monosema.interpretation.rules import Pattern, Patterns, TokenLookup
from monosema.models import random_model


class Words:
    name = "words"
    digest = "fedcba9876543210"

    def documents(self):
        import random

        rng = random.Random(0)
        words = ["a", "the", "cat", "dog", "house", "runs", "sleeps", "old", "red", "green"]
        for number in range(60):
            yield Document(number, " ".join(rng.choices(words, k=rng.randint(3, 30))), "words")


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture(scope="module")
def atlas(model, tmp_path_factory):
    batches = list(token_batches(Words(), model.tokenizer, TextConfig(window=32, batch=4, split="all")))
    rows = model.activations(batches[0].tokens, ["0.resid_post"])["0.resid_post"].flatten(0, 1).detach()
    dictionary = RandomDirections.fit(rows, 32, 4)
    config = AtlasConfig(passage=32, before=9, after=4, top=6, per_quantile=2)
    return build_atlas(model, dictionary, "0.resid_post", batches, tmp_path_factory.mktemp("atlas"), config)


def passage_agreement(atlas) -> list[Agreement]:
    return [one for one in agreement(atlas)["explainers"] if one.measure == "passages"]


def programs(atlas, model, shift=0):
    """Token lookup on each feature's strongest token; or on that of another feature."""
    found = {}
    for row in atlas.sql("select latent, top_tokens[1] as token from features where alive"):
        found[(row["latent"] + shift) % atlas.n_latents] = model.tokenizer.id(row["token"])
    return found


def test_programs_agree_as_far_as_they_predict_the_same(atlas, model) -> None:
    mine, theirs = programs(atlas, model), programs(atlas, model, shift=1)

    def explained(method, program):
        return Explanation("monosema", method, None, None, method, program.to_json())

    record(
        atlas.path,
        {
            latent: [
                explained("lookup", TokenLookup({token: 2.0})),
                explained("pattern", Patterns((Pattern(((token,),), 5.0),))),
                *([explained("shifted", TokenLookup({theirs[latent]: 1.0}))] if latent in theirs else []),
            ]
            for latent, token in mine.items()
        },
    )
    found = {one.between: one for one in passage_agreement(atlas)}
    assert set(found) == {("lookup", "pattern"), ("lookup", "shifted"), ("pattern", "shifted")}
    assert found["lookup", "pattern"].estimate.value == 1
    shifted = found["lookup", "shifted"].estimate
    assert shifted.low < 0.3
    assert shifted.n > 20


def test_methods_without_programs_are_left_out(atlas) -> None:
    record(atlas.path, {0: [Explanation("m", "words", None, None, "only words")]})
    assert all("words" not in one.between for one in passage_agreement(atlas))
