"""Directions from texts and at random, against what the words of their docstrings give one text at a time."""

from __future__ import annotations

import pytest
import torch

from monosema.core import InputError
from monosema.dictionaries import Metadata, make_coder
from monosema.models import random_model
from monosema.steering import Latent, mean_activations, mean_difference, random_direction

SITE = "1.resid_post"
GOOD, BAD = ["a fine day", "so good", "yes"], ["a bad day indeed", "no"]


def test_a_mean_difference_is_that_of_texts_read_alone_without_special_tokens() -> None:
    model = random_model()
    for tokens in ("all", "last"):
        means = []
        for texts in (GOOD, BAD):
            rows = []
            for text in texts:
                x = model.activations(torch.tensor([model.tokenizer.encode(text)]), [SITE])[SITE][0, 1:]
                rows.append(x.mean(dim=0) if tokens == "all" else x[-1])
            means.append(torch.stack(rows))
            torch.testing.assert_close(mean_activations(model, SITE, texts, tokens), means[-1])
        found = mean_difference(model, SITE, GOOD, BAD, tokens=tokens, name="good")
        torch.testing.assert_close(found.vector, means[0].mean(dim=0) - means[1].mean(dim=0))
        assert (found.site.short, found.name) == (SITE, "good")


def test_sides_without_texts_are_named() -> None:
    model = random_model()
    with pytest.raises(InputError, match="negative"):
        mean_difference(model, SITE, GOOD, [])
    with pytest.raises(InputError, match="Text 1 has no tokens"):
        mean_difference(model, SITE, ["a", ""], BAD)


def test_random_directions_have_their_norm_and_their_seed() -> None:
    model = random_model()
    one, same, other = (random_direction(model, SITE, seed, norm=3.0) for seed in (0, 0, 1))
    assert torch.equal(one.vector, same.vector)
    assert not torch.equal(one.vector, other.vector)
    assert float(one.vector.norm()) == pytest.approx(3.0, rel=1e-6)


def test_a_decoder_row_is_a_direction() -> None:
    coder = make_coder("topk", 32, 64, metadata=Metadata())
    direction = Latent(coder, 7, SITE).direction
    assert torch.equal(direction.vector, coder.directions[7])
    assert direction.site.short == SITE
