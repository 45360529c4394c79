"""The shuffle: an exact permutation in each pass, well mixed, and a function of seed and place alone."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from monosema.activations import Shuffle


def given_rows(shuffle, number):
    """Rows of a pass in the order they are given, and how many rows there are beside."""
    out, held = [], 0
    for block in range(shuffle.blocks):
        rows = torch.cat([torch.arange(start, stop) for start, stop in shuffle.ranges(number, block)])
        held += len(rows)
        batches = [b for b in range(shuffle.batches) if shuffle.block_of(b) == block]
        order = shuffle.order(number, block, len(rows))
        out.append(rows[order[: len(batches) * shuffle.batch]])
    return torch.cat(out), held


shuffles = st.builds(
    lambda start, rows, batch, memory, chunk, seed: Shuffle(
        start=start, stop=start + max(rows, batch), batch=batch, memory_rows=memory, chunk=chunk, seed=seed
    ),
    start=st.integers(0, 50),
    rows=st.integers(1, 200),
    batch=st.integers(3, 60),
    memory=st.integers(1, 600),
    chunk=st.integers(1, 70),
    seed=st.integers(0, 5),
)


@given(shuffles, st.integers(0, 2))
def test_each_pass_is_a_permutation(shuffle, number):
    rows, held = given_rows(shuffle, number)
    assert held == shuffle.rows
    assert len(rows) == shuffle.batches * shuffle.batch > shuffle.rows - shuffle.batch
    assert len(rows.unique()) == len(rows)
    assert rows.min() >= shuffle.start
    assert rows.max() < shuffle.stop


@given(shuffles)
def test_blocks_fit_into_memory(shuffle):
    most = max(shuffle.memory_rows, shuffle.batch)
    for block in range(shuffle.blocks):
        rows = sum(stop - start for start, stop in shuffle.ranges(0, block))
        assert rows <= most + (shuffle.batch if block == shuffle.blocks - 1 else 0)


def test_passes_and_seeds_differ():
    def make(seed):
        return Shuffle(start=0, stop=1000, batch=50, memory_rows=300, chunk=20, seed=seed)

    assert torch.equal(given_rows(make(0), 0)[0], given_rows(make(0), 0)[0])
    assert not torch.equal(given_rows(make(0), 0)[0], given_rows(make(0), 1)[0])
    assert not torch.equal(given_rows(make(0), 0)[0], given_rows(make(1), 0)[0])


def test_what_is_left_out_at_the_end_differs():
    shuffle = Shuffle(start=0, stop=1049, batch=50, memory_rows=300, chunk=20, seed=0)
    left_out = [set(range(1049)) - set(given_rows(shuffle, number)[0].tolist()) for number in range(2)]
    assert len(left_out[0]) == 49
    assert len(left_out[0] & left_out[1]) < 40


def test_windows_are_spread_over_batches_and_batches_over_the_text():
    """Windows of 127 rows; memory for a tenth of them: what is left of the order of the text?"""
    rows, batch = 254_000, 1_000
    shuffle = Shuffle(start=0, stop=rows, batch=batch, memory_rows=rows // 10, chunk=512, seed=0)
    given, _ = given_rows(shuffle, 0)
    together = []
    for rows_of_batch in given.view(-1, batch):
        counts = (rows_of_batch // 127).unique(return_counts=True)[1].float()
        together.append(float((counts * (counts - 1)).sum() / batch))
        assert counts.max() < 30
    # mean number of other rows of the same window in a batch: 126 without a shuffle, 126 / 25 batches of a block
    assert 3 < sum(together) / len(together) < 7
    neighbours = (given[1:] // 127 == given[:-1] // 127).float().mean()
    assert neighbours < 0.02
    # every batch reaches over the whole text
    spread = given.view(-1, batch).float().std(dim=1) / (rows / 12**0.5)
    assert spread.min() > 0.7
    assert abs(given.view(-1, batch).float().mean(dim=1) / rows - 0.5).max() < 0.25
