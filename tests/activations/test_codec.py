"""Codecs: no value is further off than the docstring says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from monosema.activations import coding_error, encode
from monosema.core import VectorError

KINDS = ["float32", "bfloat16", "float16", "int8"]
rows = arrays("float32", st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.floats(-6e4, 6e4, width=32))


def bound(x, kind):
    largest = x.abs().amax(dim=1, keepdim=True)
    return {
        "float32": torch.zeros_like(x),
        "bfloat16": x.abs() * 2.0**-8,
        "float16": x.abs() * 2.0**-11 + 2.0**-25,
        "int8": (largest / 254 * (1 + 1e-5) + 1e-37).expand_as(x),
    }[kind]


@pytest.mark.parametrize("kind", KINDS)
@given(rows)
def test_errors_stay_below_their_bounds(kind, values):
    x = torch.from_numpy(values)
    decoded = encode(x, kind).decode()
    assert decoded.dtype == torch.float32
    assert ((decoded - x).abs() <= bound(x, kind)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_can_be_chosen(kind):
    coded = encode(torch.randn(10, 4), kind)
    whole = coded.decode()
    index = torch.tensor([7, 0, 7])
    assert torch.equal(coded.select(index).decode(), whole[index])


def test_measured_errors_are_in_the_expected_order():
    x = torch.randn(500, 64) * torch.rand(500, 1).exp()
    errors = {kind: coding_error(x, kind)["relative"] for kind in KINDS}
    assert 0 == errors["float32"] < errors["float16"] < errors["bfloat16"] < errors["int8"] < 0.01
    assert coding_error(x.bfloat16(), "bfloat16") == {"relative": 0.0, "worst_row": 0.0}


def test_float16_refuses_what_it_cannot_hold():
    x = torch.tensor([[1.0, 7e4], [2.0, 3.0]])
    with pytest.raises(VectorError, match=r"1 values are beyond float16's range .* 7e\+04.*bfloat16"):
        encode(x, "float16")
    assert "float16" in str(coding_error(x, "float16")["refused"])
