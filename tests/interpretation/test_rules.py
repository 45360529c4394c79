"""Rules: their predictions beside a slow twin; JSON both ways; thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import World, said

from monosema.core import FormatError, InputError
from monosema.interpretation.rules import (
    Pattern,
    Patterns,
    RulePredictor,
    TokenLookup,
    predict,
    rule_from_json,
    with_threshold,
)

tokens = st.integers(0, 5)
some = st.lists(tokens, min_size=1, max_size=3, unique=True).map(tuple)
weights = st.integers(1, 50).map(float)
paths = st.tuples(some, st.lists(st.none() | some, max_size=3)).map(lambda pair: (pair[0], *pair[1]))
plain = st.lists(
    st.lists(st.tuples(paths, weights), max_size=4) | st.dictionaries(tokens, weights), min_size=1, max_size=4
)
texts = st.lists(st.lists(tokens, min_size=1, max_size=6), min_size=1, max_size=5)


def rules(values):
    """Rules of plain values: a list of paths with weights, or weights by token."""
    return [
        TokenLookup(one) if isinstance(one, dict) else Patterns(tuple(Pattern(path, weight) for path, weight in one))
        for one in values
    ]


def slow(program, text):
    if isinstance(program, TokenLookup):
        return [program.weights.get(token, 0.0) for token in text]
    out = []
    for end in range(len(text)):
        fitting = [0.0]
        for one in program.patterns:
            place = range(end, end - len(one.tokens), -1)
            if place[-1] >= 0 and all(at is None or text[i] in at for i, at in zip(place, one.tokens, strict=True)):
                fitting.append(one.weight)
        out.append(max(fitting))
    return out


@given(plain, texts, st.data())
def test_all_at_once_is_one_by_one(values, rows, data):
    made = rules(values)
    which = np.array([data.draw(st.integers(0, len(made) - 1)) for _ in rows])
    ids = np.full((len(rows), 6), -1, np.int32)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
    found = predict(made, which, ids)
    for index, row in enumerate(rows):
        assert found[index, : len(row)].tolist() == slow(made[which[index]], row)
        assert not found[index, len(row) :].any()


@given(plain)
def test_json_both_ways(values):
    made = rules(values)
    assert [rule_from_json(one.to_json()) for one in made] == made


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"program": "other", "threshold": 0}', '{"program": "patterns", "threshold": 0, "patterns": [{}]}'],
)
def test_other_json_is_refused(text):
    with pytest.raises(FormatError, match="not a rule"):
        rule_from_json(text)


def test_the_threshold_is_the_best_on_the_train_side():
    """A token that is as often there without the latent is not a yes; the latent's own words are."""
    world = World()
    common = world.tokenizer.encode(" ".join(world.background))
    lookups = {}
    for latent in world.latents:
        own = world.tokenizer.encode(" ".join(world.words[latent]))
        lookups[latent] = TokenLookup(dict.fromkeys(common, 0.5) | dict.fromkeys(own, 4.0))
    fitted = with_threshold(lookups, world.samples)
    assert all(one.threshold == 2.25 for one in fitted.values())
    explained = {latent: said("", one.to_json()) for latent, one in fitted.items()}
    likely = RulePredictor().active(explained, world.samples, world.tests())
    assert np.array_equal(likely > 0.5, world.samples.active[world.tests()])


def test_the_predictor_runs_rules_and_says_when_there_is_none():
    world, predictor = World(), RulePredictor()
    entries = world.tests()[world.samples.active[world.tests()]]
    explained = {
        latent: said("", TokenLookup(dict.fromkeys(world.tokenizer.encode(" ".join(words)), 1.0)).to_json())
        for latent, words in world.words.items()
    }
    marks = world.samples.activations[entries] > 0
    assert (predictor.highlighted(explained, world.samples, entries, marks) == 1).all()
    assert (predictor.highlighted(explained, world.samples, entries, ~marks) == 0).all()
    with pytest.raises(InputError, match="words alone"):
        predictor.active(world.oracle, world.samples, entries)
