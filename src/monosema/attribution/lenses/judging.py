"""Tests of lenses: how near each layer's distribution is to the model's, and what its directions cause.

Causal test: at each layer the token that the lens finds likeliest is read along one direction of the stream. That
direction is taken out of the stream at the last position of held-out texts, and the model runs on from there; the
control takes a random direction out, as long as what was taken out along the lens' (Belrose et al. 2023 test the same
by ablating bases).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.attribution.lenses.fitting import mean_divergences, text_streams
from monosema.attribution.lenses.lens import Lens, layer_name, stream_sites
from monosema.core import Estimate, bootstrap_mean, torch_generator
from monosema.data import Corpus, TextConfig, token_batches
from monosema.models import Transformer


@dataclass(frozen=True, kw_only=True)
class LensFigures:
    """Figures of a lens at one layer.

    Attributes:
        lens: its kind.
        layer: the stream before this block.
        divergence: KL(model ‖ lens) on held-out text, nats a token; the interval is over batches.
        fall: fall of the log-probability of the lens' likeliest token when its direction is taken out, in nats.
        control: the same for a random direction of the same length.
    """

    lens: str
    layer: int
    divergence: Estimate
    fall: Estimate
    control: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        figures = {name: getattr(self, name).to_dict() for name in ("divergence", "fall", "control")}
        return {"lens": self.lens, "layer": layer_name(self.layer), **figures}


def judge_lenses(
    model: Transformer, corpus: Corpus, lenses: Sequence[Lens], tokens: int = 8_000, texts: int = 64, seed: int = 0
) -> list[LensFigures]:
    """Measure lenses on the held-out documents of a corpus.

    Args:
        tokens: of text for divergences.
        texts: windows of 32 tokens for the causal test.
    """
    divergences = mean_divergences(model, lenses, text_streams(model, corpus, tokens, "heldout", 64))
    config = TextConfig(window=32, batch=texts, split="heldout")
    rows = next(batch.tokens for batch in token_batches(corpus, model.tokenizer, config) if batch.attention_mask.all())
    found = []
    for number, lens in enumerate(lenses):
        for layer in range(model.n_layers):
            falls, controls = removal_effects(model, lens, layer, rows.to(model.device), seed)
            found.append(
                LensFigures(
                    lens=lens.kind,
                    layer=layer,
                    divergence=bootstrap_mean(divergences[number, layer].numpy()),
                    fall=bootstrap_mean(falls.numpy()),
                    control=bootstrap_mean(controls.numpy()),
                )
            )
    return found


@torch.no_grad()
def removal_effects(
    model: Transformer, lens: Lens, layer: int, tokens: Int[Tensor, "texts pos"], seed: int = 0
) -> tuple[Float[Tensor, " texts"], Float[Tensor, " texts"]]:
    """Return the fall of the log-probability of the lens' likeliest token after each text, and that of the control."""
    site = stream_sites(model)[layer]
    x = model.activations(tokens, [site])[site]
    last = x[:, -1].float()
    token = lens.logits(model, last, layer).argmax(-1)
    along = torch.stack([lens.direction(model, layer, int(one)) for one in token])
    along = along / along.norm(dim=1, keepdim=True)
    taken = (last * along).sum(1, keepdim=True) * along
    drawn = torch.randn(taken.shape, generator=torch_generator(seed, "lens control")).to(taken)
    other = drawn / drawn.norm(dim=1, keepdim=True) * taken.norm(dim=1, keepdim=True)

    def sure(change: Tensor) -> Tensor:
        moved = x.clone()
        moved[:, -1] -= change.to(x)
        final = model.resume(site, moved, tokens, last=True)[:, -1]
        return model.logits(final).float().log_softmax(-1).gather(1, token[:, None])[:, 0]

    before = sure(torch.zeros_like(taken))
    return (before - sure(taken)).cpu(), (before - sure(other)).cpu()
