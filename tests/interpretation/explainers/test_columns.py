"""Rules over columns of items, beside rules over the items themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from worlds import said

from monosema.core import InputError
from monosema.interpretation.explainers.columns import ColumnPredictor
from monosema.interpretation.rules import TokenLookup
from monosema.interpretation.samples import Samples
from monosema.items import read_items

RULES = {
    3: said(
        "kind is a", '{"program": "columns", "fact": {"column": "kind", "relation": "is", "value": "a"}, "weight": 2}'
    ),
    5: said("first", TokenLookup({0: 4.0}, 4.0).to_json()),
}


@pytest.fixture
def predictor(tmp_path: Path) -> ColumnPredictor:
    (tmp_path / "items.csv").write_text("name,kind\nfirst,a\nsecond,b\nthird,a\n")
    return ColumnPredictor(read_items(tmp_path / "items.csv", 3))


@pytest.fixture
def samples() -> Samples:
    """Three items, of each of two latents."""
    return Samples(
        ids=np.arange(3, dtype=np.int32)[:, None],
        hashes=np.arange(3, dtype=np.uint64),
        latents=np.array([3, 5]),
        maximum=np.ones(2, np.float32),
        first=np.array([0, 3, 6]),
        passage=np.array([0, 1, 2, 0, 1, 2]),
        kind=np.zeros(6, np.int64),
        test=np.ones(6, np.bool_),
        activations=np.ones((6, 1), np.float32),
    )


def test_each_rule_is_run_as_what_it_is(predictor: ColumnPredictor, samples: Samples) -> None:
    every = np.arange(6)
    assert predictor.activations(RULES, samples, every)[:, 0].tolist() == [2, 0, 2, 4, 0, 0]
    assert predictor.active(RULES, samples, every).tolist() == [1, 0, 1, 0.5, 0, 0]
    marked = predictor.highlighted(RULES, samples, every, np.ones((6, 1), np.bool_))
    assert marked.tolist() == [1, 0, 1, 1, 0, 0]


def test_words_alone_are_refused(predictor: ColumnPredictor, samples: Samples) -> None:
    with pytest.raises(InputError, match="words alone"):
        predictor.activations({3: said("kind is a"), 5: RULES[5]}, samples, np.arange(6))
