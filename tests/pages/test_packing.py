import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monosema.pages.packing import pack, script_json, share_text, smallest_uint, unpack

VECTORS = st.sampled_from(["uint8", "uint16", "uint32", "int32", "float32", "float64"]).flatmap(
    lambda kind: hnp.arrays(kind, st.integers(0, 40))
)


@given(st.dictionaries(st.text(max_size=8), VECTORS, max_size=5), st.lists(st.text(max_size=8), max_size=5))
def test_unpack_gives_back_what_was_packed(arrays, words):
    got, extra = unpack(pack(arrays, {"words": words}, level=1))
    assert extra == {"words": words}
    assert got.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(got[name], array)


def test_pack_refuses_what_a_page_cannot_map():
    with pytest.raises(ValueError, match="int64"):
        pack({"x": np.zeros(3, np.int64)})
    with pytest.raises(ValueError, match="2 dimensions"):
        pack({"x": np.zeros((3, 3), np.uint8)})
    with pytest.raises(ValueError, match="Negative"):
        smallest_uint(np.array([-1, 2]))


@pytest.mark.parametrize(("top", "kind"), [(255, "uint8"), (256, "uint16"), (65_535, "uint16"), (65_536, "uint32")])
def test_smallest_type_that_holds_the_numbers(top, kind):
    assert smallest_uint(np.array([0, top])).dtype == kind


def test_script_json_cannot_end_its_script():
    value = {"</script><!--": ["\u2028", "&amp;", "한국어"]}
    text = script_json(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


@given(st.data())
def test_shared_text_reads_back_exactly_even_where_passages_disagree(data):
    n = data.draw(st.integers(0, 12))
    document = data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    start = data.draw(st.lists(st.integers(-3, 20), min_size=n, max_size=n))
    length = data.draw(st.lists(st.integers(1, 9), min_size=n, max_size=n))
    words = data.draw(st.lists(st.integers(0, 1), min_size=sum(length), max_size=sum(length)))
    shared = share_text(np.array(document), np.array(start), np.array(length), np.array(words))
    at = 0
    for i in range(n):
        offset = shared.offsets[i]
        assert shared.tokens[offset : offset + length[i]].tolist() == words[at : at + length[i]]
        span = np.searchsorted(shared.span_first, offset, side="right") - 1
        assert shared.span_document[span] == document[i]
        assert shared.span_position[span] + offset - shared.span_first[span] == start[i]
        at += length[i]


def test_overlapping_passages_are_kept_once():
    text = np.arange(1000)
    start = np.arange(0, 960, 8)
    passages = np.concatenate([text[s : s + 40] for s in start])
    shared = share_text(np.zeros(start.size), start, np.full(start.size, 40), passages)
    assert shared.tokens.size == 992
    assert shared.span_first.tolist() == [0]
