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

from monosema.atlas import Explanation
from monosema.interpretation import prompts
from monosema.interpretation.scores import ScoreTable
from monosema.interpretation.scoring import ScorerInfo, ScoringSession
from monosema.models import LanguageModel, require_logits

BATCH = 16
"""Texts in one forward pass."""


class Surprisal:
    """Scores explanations by surprisal of a base model, which need not be the one that is explained; see `Scorer`.

    Raises UnsupportedModelError where the base model is an encoder.
    """

    info = ScorerInfo(
        "surprisal",
        "does a base model expect activating passages more after the explanation than after a neutral text?",
        chance=0.5,
        unit="AUC",
        rank=70,
    )

    def score(self, explanations: Mapping[int, Explanation], session: ScoringSession) -> list[ScoreTable]:
        """Return the area under the curve of gains."""
        base = session.base_model()
        require_logits(base)
        texts, latents, active = session.texts(explanations)

        def losses_after(before: Sequence[str]) -> NDArray[np.float64]:
            return losses(base, before, texts, BATCH)

        neutral = losses_after([prompts.NEUTRAL] * len(texts))
        gains = neutral - losses_after([prompts.before_passage(explanations[one].text) for one in latents.tolist()])
        reason = "no active or no inactive passage that fits the base model's context"
        return session.areas(self.info, explanations, gains, latents, active, reason)


@torch.no_grad()
def losses(
    base: LanguageModel, before: Sequence[str], passages: Sequence[str], batch: int
) -> Float[NDArray[np.float64], " n"]:
    """Return the mean loss per token of each passage after its text; NaN where both do not fit the model's context."""
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
        loss = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), tokens[:, 1:].to(base.device), reduction="none"
        ).cpu()
        kept = scored[:, 1:]
        losses[part] = ((loss * kept).sum(1) / kept.sum(1)).double().numpy()
    return losses
