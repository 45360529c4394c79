"""Group-by on arrays, against loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monosema.core.groups import begins, first_of_each, ramps, ranks

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=12)


def columns(pairs):
    return np.array(pairs, np.int64).reshape(-1, 2).T


@given(PAIRS)
def test_ranks_count_within_runs(pairs):
    a, b = columns(sorted(pairs))
    expected = [sorted(pairs)[:i].count(pair) for i, pair in enumerate(sorted(pairs))]
    assert ranks(a, b).tolist() == expected
    assert begins(a, b).tolist() == [rank == 0 for rank in expected]


@given(PAIRS)
def test_the_first_of_each_is_found_in_any_order(pairs):
    assert first_of_each(*columns(pairs)).tolist() == [i for i, pair in enumerate(pairs) if pair not in pairs[:i]]


@given(st.lists(st.integers(0, 4), max_size=6))
def test_ramps_begin_again_for_each_length(lengths):
    expected = [i for length in lengths for i in range(length)]
    assert ramps(np.array(lengths, np.int64)).tolist() == expected
