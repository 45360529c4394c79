"""Wrong shapes are errors in the tests, wherever a signature names shapes."""

from __future__ import annotations

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from monosema.core.estimate import _pearson
from monosema.interpretation.agreement import krippendorff
from monosema.steering.choice import Scores


def test_shapes_are_checked() -> None:
    assert krippendorff(np.ones((3, 2))) is None
    with pytest.raises(TypeCheckError):
        krippendorff(np.ones(3))
    with pytest.raises(TypeCheckError):
        _pearson(np.ones((3, 4)))


def test_shapes_that_have_a_name_are_checked() -> None:
    from monosema.steering import choice

    functions = [one for one in vars(choice).values() if "Scores" in getattr(one, "__annotations__", {}).values()]
    assert Scores.dim_str == "n_latents"
    assert functions
    assert all(hasattr(one, "__wrapped__") for one in functions)
