from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from monosema.atlas.layout import lay_out, span_hash
from monosema.atlas.statistics import passage_in_train
from monosema.data import TokenBatch


def batch_of(rows: list[list[int]], documents: list[list[int]] | None = None) -> TokenBatch:
    width = max(map(len, rows))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows])
    document = torch.tensor(documents) if documents else torch.where(mask, 0, -1)
    return TokenBatch(tokens, mask, document, torch.arange(width).expand_as(tokens).contiguous(), mask.clone())


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=6))
def test_stretches_have_equal_hashes_just_when_their_tokens_are_equal(rows: list[list[int]]) -> None:
    layout = lay_out([batch_of(rows)], passage=4)
    width = max(map(len, rows))
    seen: dict[tuple[int, ...], int] = {}
    for index, row in enumerate(rows):
        for start in range(len(row)):
            for stop in range(start + 1, len(row) + 1):
                first = index * width
                value = span_hash(layout.prefix, np.array([first + start]), np.array([first + stop]))[0]
                assert seen.setdefault(tuple(row[start:stop]), value) == value
    assert len(set(seen.values())) == len(seen)


def test_padding_and_place_do_not_change_a_passages_hash() -> None:
    alone = lay_out([batch_of([[5, 6, 7]])], passage=8)
    padded = lay_out([batch_of([[1, 2, 3, 4, 5], [5, 6, 7]])], passage=8)
    assert alone.passage_hash[0] == padded.passage_hash[1]
    assert padded.passage_hash[0] != padded.passage_hash[1]


def test_runs_end_at_passages_documents_and_padding() -> None:
    layout = lay_out([batch_of([[1, 1, 1, 1, 1, 1], [1, 1]], [[-1, 3, 3, 3, 4, 4], [5, 5, -1, -1, -1, -1]])], passage=3)
    spans = list(zip(layout.start.tolist(), layout.stop.tolist(), strict=True))
    assert spans[:6] == [(0, 1), (1, 3), (1, 3), (3, 4), (4, 6), (4, 6)]
    assert spans[6:8] == [(6, 8), (6, 8)]
    assert layout.passage.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_batches_are_numbered_one_after_the_other() -> None:
    one, two = batch_of([[1, 2, 3]]), batch_of([[4], [5]])
    layout = lay_out([one, two], passage=2)
    assert layout.token.tolist() == [1, 2, 3, 4, 5]
    assert layout.passage.tolist() == [0, 0, 1, 2, 3]
    assert len(layout.passage_hash) == 4


def test_no_text_is_in_both_splits(codes) -> None:
    train = passage_in_train(codes.layout.passage_hash)
    assert 0.2 < train.mean() < 0.8
    texts: dict[bool, set[tuple[int, ...]]] = {False: set(), True: set()}
    for number, of_train in enumerate(train.tolist()):
        texts[of_train].add(tuple(codes.layout.token[codes.layout.passage == number].tolist()))
    assert not texts[False] & texts[True]
