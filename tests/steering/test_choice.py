"""Which latent: planted ones are found, by what they read and by what they write."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monosema.core import ConfigError, InputError, Site
from monosema.dictionaries import Metadata, SparseCoder, make_coder
from monosema.models import Transformer, random_model
from monosema.steering.choice import CHOICES, ChoiceRule, Evidence, areas, choose, register_choice
from monosema.steering.concepts import Concept

READS, WRITES = 5, 9
CONCEPT = Concept(
    "z",
    tuple(f"{word} zzz {word}" for word in "abcdefgh"),
    tuple(f"{word} yyy {word}" for word in "abcdefgh"),
    ("a", "b"),
)


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model()


@pytest.fixture(scope="module")
def planted(model: Transformer) -> SparseCoder:
    """A dictionary at the last block, where latent 5 reads the letter z, and latent 9 writes it."""
    site = Site.parse("1.resid_post")
    coder = make_coder("relu", 32, 16, metadata=Metadata(site=site), seed=0)
    assert isinstance(coder, SparseCoder)
    coder.start(torch.randn(64, 32, generator=torch.Generator().manual_seed(0)), 0)
    ids = {letter: model.tokenizer.encode(letter, bos=False)[0] for letter in "zy"}
    rows = {letter: [] for letter in ids}
    for texts in (CONCEPT.positive, CONCEPT.negative):
        for text in texts:
            tokens = model.tokenizer.encode(text)
            x = model.activations(torch.tensor([tokens]), [site])[site][0]
            for letter, id in ids.items():
                rows[letter] += [row for row, token in zip(x, tokens, strict=True) if token == id]
    z, y = (torch.stack(rows[letter]).mean(0) for letter in "zy")
    with torch.no_grad():
        coder.W_enc[READS] = z - y
        coder.b_enc[READS] = -float((z - y) @ (z + y) / 2)
        coder.W_dec[WRITES] = model.unembed(torch.eye(32))[:, ids["z"]]
    return coder


def test_what_reads_the_concept_is_chosen_by_input(model: Transformer, planted: SparseCoder) -> None:
    (chosen,) = choose(model, planted, CONCEPT, "input")
    assert chosen.latent == READS
    assert chosen.heldout > 0.9
    assert len(choose(model, planted, CONCEPT, "input", n=3)) == 3


def test_what_writes_the_concept_is_chosen_by_output(model: Transformer, planted: SparseCoder) -> None:
    assert choose(model, planted, CONCEPT, "output")[0].latent == WRITES


def test_confidence_chooses_among_those_that_fire(model: Transformer, planted: SparseCoder) -> None:
    evidence = Evidence(model, planted, CONCEPT)
    (chosen,) = choose(model, planted, CONCEPT, "confidence", evidence=evidence)
    change = (evidence.plain.max() - evidence.amplified.amax(1)).abs()
    assert chosen.score == pytest.approx(float(change[chosen.latent]))
    assert evidence.maxima[chosen.latent] > 0
    assert evidence.latent(chosen.latent).maximum == pytest.approx(evidence.maxima[chosen.latent])


def test_a_choice_of_ones_own_is_a_choice(model: Transformer, planted: SparseCoder) -> None:
    register_choice(ChoiceRule("last", "the last one", lambda evidence: np.arange(evidence.dictionary.n_latents) * 1.0))
    try:
        assert choose(model, planted, CONCEPT, "last")[0].latent == 15
        with pytest.raises(ConfigError, match="already"):
            register_choice(CHOICES["last"])
    finally:
        del CHOICES["last"]
    with pytest.raises(InputError, match="Did you mean 'output'"):
        choose(model, planted, CONCEPT, "outpt")


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=6),
    st.lists(st.integers(0, 3), min_size=1, max_size=6),
)
def test_areas_are_shares_of_pairs(positive: list[int], negative: list[int]) -> None:
    pairs = list(itertools.product(positive, negative))
    share = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs)
    columns = (np.array(values, dtype=np.float64)[:, None] for values in (positive, negative))
    assert areas(*columns)[0] == pytest.approx(share)
