"""Packing: every token of every document appears once, in order, with its true place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monosema.data import pack_windows, sentence_rows

documents_of_ids = st.lists(st.lists(st.integers(10, 99), max_size=40), max_size=20).map(lambda d: list(enumerate(d)))
specials = st.sampled_from([(0, 1), (0, None), (None, 1), (0, 0), (None, None)])


def origin(rows):
    """(document, position, token) of all tokens that a document holds."""
    joined = np.concatenate(rows, axis=1) if rows else np.empty((3, 0), np.int64)
    real = joined[1] >= 0
    return list(zip(joined[1, real].tolist(), joined[2, real].tolist(), joined[0, real].tolist(), strict=True))


@given(documents_of_ids, st.integers(2, 50), specials)
def test_windows_hold_each_token_once(documents, window, special):
    bos, eos = special
    rows = list(pack_windows(documents, window, bos, eos))
    assert origin(rows) == [(d, p, token) for d, ids in documents for p, token in enumerate(ids)]
    assert all(row.shape[1] == window for row in rows[:-1])
    assert all(0 < row.shape[1] <= window for row in rows)
    begin = eos if bos is None else bos
    if begin is not None:
        assert all(row[0, 0] == begin and row[1, 0] == -1 for row in rows)
    added = {bos, eos, begin}
    assert all(int(token) in added for row in rows for token in row[0, row[1] < 0])


@given(documents_of_ids)
def test_documents_follow_each_other_as_in_training(documents):
    rows = list(pack_windows(documents, 10**6, 0, 1))
    assert (
        np.concatenate(rows, axis=1)[0].tolist()
        if rows
        else [token for _, ids in documents if ids for token in (0, *ids, 1)] == []
    )


def test_many_windows_are_cut_across_pieces():
    documents = [(number, list(range(10, 10 + 97))) for number in range(300)]
    rows = list(pack_windows(iter(documents), 16, 0, 1))
    assert len(origin(rows)) == 300 * 97
    assert {row.shape[1] for row in rows[:-1]} == {16}


@given(
    st.lists(st.lists(st.lists(st.integers(10, 99), max_size=30), max_size=5), max_size=8),
    st.integers(2, 12),
    specials,
)
def test_sentences_hold_each_token_once(documents, longest, special):
    bos, eos = special
    rows = list(sentence_rows(enumerate(documents), longest, bos, eos))
    expected = [
        (d, p, token) for d, texts in enumerate(documents) for p, token in enumerate(t for ids in texts for t in ids)
    ]
    assert origin(rows) == expected
    assert all(0 < row.shape[1] <= longest for row in rows)


@pytest.mark.parametrize(("bos", "first"), [(0, 0), (None, 1)])
def test_sentences_begin_with_a_sink(bos, first):
    (row,) = sentence_rows([(0, [[10, 11]])], 8, bos, 1)
    assert row[0].tolist() == [first, 10, 11]
