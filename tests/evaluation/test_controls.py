"""Controls of an evaluation."""

from __future__ import annotations

import pytest
import torch

from monosema.core import ConfigError
from monosema.evaluation import fit_controls


def test_controls_have_as_many_active_latents_as_the_dictionary() -> None:
    rows = torch.randn(200, 6)
    controls = fit_controls(rows, n_latents=24, k=3)
    assert [float(one.encode(rows).l0.mean()) for one in controls.values()] == [3, 3]
    assert controls["random"].n_latents == 24
    # More components than values can't be: they are all taken.
    assert fit_controls(rows, n_latents=24, k=9)["pca"].n_latents == 6


def test_more_active_latents_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match="k = 25"):
        fit_controls(torch.randn(20, 6), n_latents=24, k=25)
