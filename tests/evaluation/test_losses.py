"""Losses in chunks against whole logits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monosema.evaluation.losses import Losses, losses_dense
from monosema.models import random_model


@given(
    n=st.integers(0, 40),
    vocab=st.integers(1, 50),
    versions=st.integers(0, 3),
    memory_mb=st.sampled_from([1e-4, 1e-3, 1.0]),
    scale=st.sampled_from([0.0, 1.0, 80.0]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_chunks_give_what_whole_logits_give(n, vocab, versions, memory_mb, scale, seed) -> None:
    draw = torch.Generator().manual_seed(seed)
    clean, *others = (scale * torch.randn(n, vocab, generator=draw) for _ in range(1 + versions))
    targets = torch.randint(vocab, (n,), generator=draw)
    ce, kl = Losses(vocab, memory_mb=memory_mb)(clean, others, targets)
    true_ce, true_kl = losses_dense(clean, others, targets)
    torch.testing.assert_close(ce, true_ce, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(kl, true_kl, rtol=1e-4, atol=1e-4)
    assert not kl[0].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_rows_of_the_stream_are_unembedded_in_buffers_that_stay(dtype, softcap) -> None:
    model = random_model(random_model().config.replace(logit_softcap=softcap)).to(dtype)
    tokens = torch.randint(model.vocab, (3, 7))
    with torch.inference_mode():
        x = model.final_residual(tokens).flatten(0, 1)
        assert torch.equal(model.logits(x).view(3, 7, -1), model(tokens))
        losses = Losses(model.vocab, model.logits, memory_mb=20 * 5 * 4 * model.vocab / 1e6 / 4)
        targets, noisy = tokens.flatten(), x + 0.1
        found = losses(x, [noisy], targets)
        rooms = {name: room.data_ptr() for name, room in losses._rooms.items()}
        again = losses(x, [noisy], targets)
        true = losses_dense(model.logits(x), [model.logits(noisy)], targets)
    assert rooms == {name: room.data_ptr() for name, room in losses._rooms.items()}
    assert all(map(torch.equal, found, again))
    for mine, whole in zip(found, true, strict=True):
        torch.testing.assert_close(mine, whole, rtol=1e-3, atol=2e-2 if dtype == torch.bfloat16 else 1e-4)
