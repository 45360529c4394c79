"""Which latent: planted ones are found, by what they read and by what they write."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monosema.core import ConfigError, InputError
from monosema.dictionaries import SparseCoder
from monosema.models import Transformer
from monosema.steering.choice import CHOICES, ChoiceRule, Evidence, areas, choose, register_choice
from monosema.steering.concepts import Concept

READS, WRITES = 5, 9


def test_what_reads_the_concept_is_chosen_by_input(
    byte_model: Transformer, planted: SparseCoder, letter: Concept
) -> None:
    (chosen,) = choose(byte_model, planted, letter, "input")
    assert chosen.latent == READS
    assert chosen.heldout > 0.9
    assert len(choose(byte_model, planted, letter, "input", n=3)) == 3


def test_what_writes_the_concept_is_chosen_by_output(
    byte_model: Transformer, planted: SparseCoder, letter: Concept
) -> None:
    assert choose(byte_model, planted, letter, "output")[0].latent == WRITES


def test_confidence_chooses_among_those_that_fire(
    byte_model: Transformer, planted: SparseCoder, letter: Concept
) -> None:
    evidence = Evidence(byte_model, planted, letter)
    (chosen,) = choose(byte_model, planted, letter, "confidence", evidence=evidence)
    change = (evidence.plain.max() - evidence.amplified.amax(1)).abs()
    assert chosen.score == pytest.approx(float(change[chosen.latent]))
    assert evidence.maxima[chosen.latent] > 0
    assert evidence.latent(chosen.latent).maximum == pytest.approx(evidence.maxima[chosen.latent])


def test_a_choice_of_ones_own_is_a_choice(byte_model: Transformer, planted: SparseCoder, letter: Concept) -> None:
    register_choice(ChoiceRule("last", "the last one", lambda evidence: np.arange(evidence.dictionary.n_latents) * 1.0))
    try:
        assert choose(byte_model, planted, letter, "last")[0].latent == 15
        with pytest.raises(ConfigError, match="already"):
            register_choice(CHOICES["last"])
    finally:
        del CHOICES["last"]
    with pytest.raises(InputError, match="Did you mean 'output'"):
        choose(byte_model, planted, letter, "outpt")


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=6),
    st.lists(st.integers(0, 3), min_size=1, max_size=6),
)
def test_areas_are_shares_of_pairs(positive: list[int], negative: list[int]) -> None:
    pairs = list(itertools.product(positive, negative))
    share = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs)
    columns = (np.array(values, dtype=np.float64)[:, None] for values in (positive, negative))
    assert areas(*columns)[0] == pytest.approx(share)
