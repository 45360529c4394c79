"""Every family and every branch of its configuration gives the logits of transformers' own code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from monosema.models import KVCache, load_model

TOLERANCE = 1e-4
BATCH, LENGTH = 3, 13
KEPT = {"whole": (13, 13, 13), "ragged": (13, 9, 4)}
Foreign = Callable[[str], tuple[Any, Path]]


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(0, 256, (BATCH, LENGTH), generator=torch.Generator().manual_seed(1))


def ragged(side: str) -> torch.Tensor:
    """A mask with 13, 9 and 4 tokens."""
    places = torch.arange(LENGTH).expand(BATCH, -1)
    kept = torch.tensor(KEPT["ragged"])[:, None]
    return places < kept if side == "right" else places >= LENGTH - kept


def expected(model: Any, tokens: torch.Tensor, mask: torch.Tensor | None = None, **more: Any) -> Any:
    positions = None if mask is None else (mask.long().cumsum(1) - 1).clamp(min=0)
    with torch.inference_mode():
        return model(
            input_ids=tokens, attention_mask=None if mask is None else mask.long(), position_ids=positions, **more
        )


@torch.inference_mode()
def test_logits(foreign: Foreign, case: str, tokens: torch.Tensor) -> None:
    theirs, folder = foreign(case)
    ours = load_model(folder, dtype="float32")(tokens)
    wanted = expected(theirs, tokens).logits
    assert wanted.std() > 0.05
    torch.testing.assert_close(ours, wanted, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("side", ["left", "right"])
def test_ragged_batches(foreign: Foreign, case: str, side: str, tokens: torch.Tensor) -> None:
    theirs, folder = foreign(case)
    mask = ragged(side)
    ours = load_model(folder, dtype="float32")(tokens, mask)
    assert ours.isfinite().all()
    wanted = expected(theirs, tokens, mask).logits
    torch.testing.assert_close(ours[mask], wanted[mask], atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_cache_token_by_token(foreign: Foreign, case: str, tokens: torch.Tensor) -> None:
    theirs, folder = foreign(case)
    model, cache = load_model(folder, dtype="float32"), KVCache()
    steps = [model(tokens[:, :5], None, cache), *(model(tokens[:, i : i + 1], None, cache) for i in range(5, LENGTH))]
    torch.testing.assert_close(torch.cat(steps, dim=1), expected(theirs, tokens).logits, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("side", ["left", "right"])
def test_cache_with_padding(foreign: Foreign, case: str, side: str, tokens: torch.Tensor) -> None:
    theirs, folder = foreign(case)
    mask = ragged(side)
    model, cache = load_model(folder, dtype="float32"), KVCache()
    parts = [(0, 6), (6, 7), (7, 8), (8, LENGTH)]
    ours = torch.cat([model(tokens[:, a:b], mask[:, a:b], cache) for a, b in parts], dim=1)
    torch.testing.assert_close(ours[mask], expected(theirs, tokens, mask).logits[mask], atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_residuals_and_patterns(foreign: Foreign, case: str, tokens: torch.Tensor) -> None:
    theirs, folder = foreign(case)
    model = load_model(folder, dtype="float32")
    mask = ragged("left")
    wanted = expected(theirs, tokens, mask, output_hidden_states=True, output_attentions=True)
    layers = range(model.n_layers)
    sites = [f"{i}.{name}" for i in layers for name in ("resid_pre", "pattern")]
    got = model.activations(tokens, sites, mask)
    for i, site in enumerate(s for s in got if s.component == "resid_pre"):
        torch.testing.assert_close(got[site][mask], wanted.hidden_states[i][mask], atol=TOLERANCE, rtol=0)
    for i, site in enumerate(s for s in got if s.component == "pattern"):
        rows = got[site].transpose(1, 2)[mask]
        torch.testing.assert_close(rows, wanted.attentions[i].transpose(1, 2)[mask], atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_half_precision_is_as_good_as_theirs(foreign: Foreign, case: str, tokens: torch.Tensor) -> None:
    theirs, folder = foreign(case)
    exact = expected(theirs, tokens).logits
    ours = load_model(folder, dtype="bfloat16")(tokens)
    assert ours.dtype == torch.bfloat16
    half = type(theirs).from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="eager").eval()
    error = (expected(half, tokens).logits.float() - exact).pow(2).mean()
    assert (ours.float() - exact).pow(2).mean() < 1.3 * error + 1e-6
