"""Surprisal: does an explanation make a base language model expect the passages that activate the latent?

With e the explanation, 0 a neutral text, and L(x | c) the mean loss of the model per token of passage x after text c,

    gain(x) = L(x | 0) − L(x | e),

and the score is the probability that gain is greater on an activating passage than on an inactive one (AUC): ½ for an
explanation that says nothing, as all gains are then 0. After Paulo et al. (2024, arXiv 2410.13928, appendix);
departure: passages are not cut at the activating token. The control is the score of another latent's explanation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from monosema.interpretation import prompts
from monosema.interpretation.protocol import Explained
from monosema.interpretation.scorers.scored import Scored, score_areas
from monosema.interpretation.scorers.texts import Texts, TextScoringConfig
from monosema.models import LanguageModel, require_logits


def score_surprisal(
    base: LanguageModel,
    explained: Mapping[int, Explained],
    passages: Texts,
    config: TextScoringConfig | None = None,
) -> Scored:
    """Score explanations by surprisal.

    Args:
        base: any language model; it need not be the one whose latents are explained.
        passages: test passages of latents that are explained.

    Raises UnsupportedModelError where the base model is an encoder.
    """
    require_logits(base)
    config = config or TextScoringConfig()
    texts, latents = passages.texts, passages.latents
    neutral = _losses(base, [prompts.NEUTRAL] * len(texts), texts, config.batch)

    def gains(said: Mapping[int, Explained]) -> NDArray[np.float64]:
        which = np.flatnonzero(np.isin(latents, list(said)))
        before = [prompts.before_passage(said[int(latents[place])].text) for place in which]
        gain = np.full(len(texts), np.nan)
        gain[which] = neutral[which] - _losses(base, before, [texts[place] for place in which], config.batch)
        return gain

    reason = "no active or no inactive passage that fits the base model's context"
    return score_areas("surprisal", gains, explained, latents, passages.active, reason, config.seed)


@torch.no_grad()
def _losses(
    base: LanguageModel, before: Sequence[str], passages: Sequence[str], batch: int
) -> Float[NDArray[np.float64], " n"]:
    """Mean loss per token of each passage after its text; NaN where both do not fit the model's context."""
    prefixes, bodies = base.tokenizer.encode_batch(before), base.tokenizer.encode_batch(passages, bos=False)
    losses = np.full(len(before), np.nan)
    fit = [i for i in range(len(before)) if bodies[i] and len(prefixes[i]) + len(bodies[i]) <= base.context]
    fit.sort(key=lambda i: len(prefixes[i]) + len(bodies[i]))
    for start in range(0, len(fit), batch):
        part = fit[start : start + batch]
        rows = [prefixes[i] + bodies[i] for i in part]
        tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        scored = torch.zeros(tokens.shape, dtype=torch.bool)
        mask = torch.zeros(tokens.shape, dtype=torch.bool)
        for n, (i, row) in enumerate(zip(part, rows, strict=True)):
            tokens[n, : len(row)] = torch.tensor(row)
            mask[n, : len(row)] = True
            # Without a first token of its own, a model says nothing of the very first one.
            scored[n, max(len(prefixes[i]), 1) : len(row)] = True
        logits = base(tokens.to(base.device), mask.to(base.device))[:, :-1].float()
        told = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), tokens[:, 1:].to(base.device), reduction="none"
        ).cpu()
        kept = scored[:, 1:]
        losses[part] = ((told * kept).sum(1) / kept.sum(1)).double().numpy()
    return losses
