"""Fitted lenses are what their definitions say, and do better than none on text that was not seen."""

from __future__ import annotations

import pytest
import torch
from families import family_model

from monosema.attribution.lenses import Lens, LensConfig, fit_tuned, judge_lenses, mean_jacobians, stream_sites
from monosema.attribution.lenses.fitting import least_squares
from monosema.core import InputError
from monosema.data import ListCorpus
from monosema.models import random_model


def test_mean_jacobians_are_sums_over_later_positions() -> None:
    model, tokens, skipped = family_model("llama").double(), torch.tensor([[3, 1, 4, 1, 5, 9]]), 2
    found = mean_jacobians(model, tokens, skipped)
    sites = stream_sites(model)
    x = model.activations(tokens, [sites[1]])[sites[1]]
    seen = range(skipped, tokens.shape[1] - 1)

    def final(given: torch.Tensor) -> torch.Tensor:
        with model.edit(sites[1], lambda _: given), model.capture(sites[-1], gradients=True) as kept:
            model.final_residual(tokens)
        return kept[sites[-1]]

    whole = torch.autograd.functional.jacobian(final, x)[0, :, :, 0]  # to position and number, from position and number
    expected = sum(sum(whole[later, :, place] for later in seen if later >= place) for place in seen) / len(seen)
    torch.testing.assert_close(found[1], expected.float(), atol=1e-4, rtol=1e-3)


def test_least_squares_finds_an_affine_map() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 8, generator=generator)
    weight, bias = torch.randn(8, 8, generator=generator), torch.randn(8, generator=generator)
    weights, biases = least_squares(torch.stack([x, x @ weight.T + bias]))
    torch.testing.assert_close(weights[0], weight, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(biases[0], bias, atol=1e-3, rtol=1e-3)


def test_a_tuned_lens_is_nearer_to_the_model_than_none() -> None:
    model = random_model()
    texts = [f"{'abc def ' * (2 + n % 5)}{n} xyz. " * 6 for n in range(120)]
    corpus = ListCorpus(texts)
    lens = fit_tuned(model, corpus, LensConfig(tokens=6_000, steps=20, positions=32))
    found = judge_lenses(model, corpus, [Lens(), lens], tokens=1_000, texts=4)
    plain, tuned = ([one.divergence.value for one in found if one.lens == kind] for kind in ("logit", "tuned"))
    assert all(ours < theirs for ours, theirs in zip(tuned, plain, strict=True))
    with pytest.raises(InputError):
        fit_tuned(model, ListCorpus(["a"]), LensConfig())
