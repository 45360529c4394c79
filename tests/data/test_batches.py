"""Batches of tokens: what is kept, what is counted, which documents, and how much."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monosema.core import ConfigError, CorpusError
from monosema.data import Document, TextConfig, in_split, is_heldout, token_batches


class Words:
    """A corpus of given texts."""

    name = "words"
    digest = "0123"

    def __init__(self, texts):
        self.texts = texts

    def documents(self):
        return (Document(index, text, "test") for index, text in enumerate(self.texts))


class Bytes:
    """A tokenizer of bytes, with or without special tokens."""

    def __init__(self, bos=0, eos=1, pad=2):
        self.bos_id, self.eos_id, self.pad_id = bos, eos, pad

    def encode_batch(self, texts, bos=True):
        assert not bos
        return [[byte + 3 for byte in text.encode()] for text in texts]


TEXTS = [f"Document {i} says: it is {i * i}. And that is all, says nobody but number {i}." for i in range(60)]


def read(config=None, tokenizer=None, texts=TEXTS):
    return token_batches(Words(texts), tokenizer or Bytes(), config or TextConfig(window=32, batch=4, split="all"))


def text_of(batches):
    """The text of each document, from the tokens that are marked as its own, in order of position."""
    found: dict[int, dict[int, int]] = {}
    for batch in batches:
        for token, document, position in zip(
            batch.tokens.flatten().tolist(),
            batch.document.flatten().tolist(),
            batch.position.flatten().tolist(),
            strict=True,
        ):
            if document >= 0:
                assert position not in found.setdefault(document, {})
                found[document][position] = token - 3
    return {number: bytes(places[p] for p in sorted(places)).decode() for number, places in found.items()}


@pytest.mark.parametrize("mode", ["windows", "sentences"])
def test_the_text_comes_back_from_its_tokens(mode):
    config = TextConfig(mode=mode, window=32, max_sentence=20, batch=4, split="all")
    assert text_of(read(config)) == dict(enumerate(TEXTS))


@pytest.mark.parametrize("mode", ["windows", "sentences"])
def test_the_beginning_of_rows_can_be_left_out(mode):
    plain, shorter = (list(read(TextConfig(mode=mode, window=32, batch=4, split="all", skip_first=n))) for n in (0, 5))
    for one, other in zip(plain, shorter, strict=True):
        assert torch.equal(one.tokens, other.tokens)
        assert not other.keep[:, :5].any()
        assert torch.equal(one.keep[:, 5:], other.keep[:, 5:])


def test_sinks_and_padding_are_left_out_and_counted():
    stream = read()
    batches = list(stream)
    for batch in batches:
        assert (batch.keep == (batch.document >= 0)).all()
        assert not batch.keep[:, 0].any()
        assert (batch.tokens[~batch.attention_mask] == 2).all()
    counts = stream.counts
    assert counts.kept == sum(len(text.encode()) for text in TEXTS)
    assert counts.sinks == counts.tokens - counts.kept > 2 * len(TEXTS)
    assert counts.tokens + counts.padding == sum(batch.tokens.numel() for batch in batches)
    assert counts.rows == sum(len(batch.tokens) for batch in batches)


def test_sinks_can_be_kept():
    config = TextConfig(window=32, batch=4, split="all", include_sinks=True)
    assert all((batch.keep == batch.attention_mask).all() for batch in read(config))


def test_without_bos_and_eos_the_first_of_each_row_is_the_sink():
    for batch in read(tokenizer=Bytes(None, None, None)):
        assert not batch.keep[:, 0].any()
        assert (batch.keep[:, 1:] == batch.attention_mask[:, 1:]).all()


@pytest.mark.parametrize("mode", ["windows", "sentences"])
def test_a_beginning_that_a_document_brings_along_is_not_doubled(mode):
    config = TextConfig(mode=mode, window=32, max_sentence=20, batch=4, split="all")
    written = read(config, texts=[f"\x00{text}" for text in TEXTS], tokenizer=Bytes(bos=3))
    for batch, plain in zip(written, read(config, tokenizer=Bytes(bos=3)), strict=True):
        assert torch.equal(batch.tokens, plain.tokens)


def test_two_readings_are_equal():
    for a, b in zip(read(), read(), strict=True):
        assert all(torch.equal(getattr(a, name), getattr(b, name)) for name in a.__slots__)


def test_a_limit_stops_within_a_row():
    config = TextConfig(window=32, batch=4, split="all", tokens=500)
    stream = read(config)
    batches = list(stream)
    assert 500 <= stream.counts.kept < 500 + 32
    assert len(batches[-1].tokens) <= 4


def test_sentences_of_like_length_share_a_batch():
    config = TextConfig(mode="sentences", batch=8, split="all")
    stream = read(config)
    lengths = [batch.attention_mask.sum(dim=1) for batch in stream]
    assert stream.counts.padding < 0.1 * stream.counts.tokens
    assert len(lengths) == 8
    assert max(int(length.max()) for length in lengths) < 100


@given(st.lists(st.text(min_size=1), max_size=30), st.floats(0, 1))
def test_splits_are_disjoint_and_complete(texts, share):
    for text in texts:
        assert in_split(text, "train", share) != in_split(text, "heldout", share)
        assert in_split(text, "all", share)
        assert not is_heldout(text, share) or is_heldout(text, min(1.0, share * 1.5))


def test_the_heldout_split_is_never_trained_on():
    texts = [*TEXTS, *TEXTS]
    seen = {
        split: set(text_of(read(TextConfig(window=32, batch=1, split=split, heldout_share=0.3), texts=texts)).values())
        for split in ("train", "heldout")
    }
    assert not seen["train"] & seen["heldout"]
    assert seen["train"] | seen["heldout"] == set(texts)
    assert 6 <= len(seen["heldout"]) <= 32


def test_a_corpus_smaller_than_a_batch_says_how_large_it_is():
    with pytest.raises(CorpusError, match=r"smaller than a batch: it gives 2 windows \(\d+ tokens\).*batch has 8"):
        list(read(TextConfig(window=64, batch=8, split="all"), texts=TEXTS[:1]))
    small = list(read(TextConfig(window=64, batch=8, split="heldout", heldout_share=1.0), texts=TEXTS[:1]))
    assert len(small) == 1


def test_an_empty_split_says_so():
    with pytest.raises(CorpusError, match=r"heldout split .* heldout_share"):
        list(read(TextConfig(split="heldout", heldout_share=0.0)))


def test_values_out_of_range_are_named():
    with pytest.raises(ConfigError, match=r"TextConfig.window = 1"):
        TextConfig(window=1)
    with pytest.raises(ConfigError, match="split"):
        TextConfig(split="test")
