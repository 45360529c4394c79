"""Embedding: is an explanation nearer to the passages that activate the latent than to others?

The score is the probability that cos(v(e), v(x)) is greater for an activating passage x than for an inactive one
(AUC), where v is the mean of an encoder's last hidden state over the tokens of a text (Paulo et al. 2024, arXiv
2410.13928, appendix). Departure: explanations and passages are encoded alike, without instructions, so that any
encoder serves. An empty explanation has no direction; its cosines are all 0, and its score is ½. The control is the
score of another latent's explanation. It costs one forward pass a text, and no requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from monosema.interpretation.protocol import Explained
from monosema.interpretation.scorers.scored import Scored, score_areas
from monosema.interpretation.scorers.texts import Texts, TextScoringConfig
from monosema.models import AdaptedModel


def score_embedding(
    encoder: AdaptedModel,
    explained: Mapping[int, Explained],
    passages: Texts,
    config: TextScoringConfig | None = None,
) -> Scored:
    """Score explanations by the geometry of an encoder.

    Args:
        encoder: gives a hidden state a token, such as all-MiniLM-L6-v2.
        passages: test passages of latents that are explained.
    """
    config = config or TextScoringConfig()
    place = {text: number for number, text in enumerate(dict.fromkeys(passages.texts))}
    vectors = embed_texts(encoder, list(place), config.batch)[[place[text] for text in passages.texts]]

    def cosines(said: Mapping[int, Explained]) -> NDArray[np.float64]:
        values = np.full(len(passages.texts), np.nan)
        directions = embed_texts(encoder, [said[latent].text for latent in said], config.batch)
        for latent, direction in zip(said, directions, strict=True):
            own = passages.latents == latent
            values[own] = (vectors[torch.from_numpy(own)] @ direction).double().numpy()
        return values

    reason = "no active or no inactive passage"
    return score_areas("embedding", cosines, explained, passages.latents, passages.active, reason, config.seed)


@torch.no_grad()
def embed_texts(encoder: AdaptedModel, texts: Sequence[str], batch: int = 16) -> Float[Tensor, "n d_model"]:
    """A vector of norm 1 for each text, the mean over its tokens; 0 for an empty text.

    Texts are cut where the encoder's context ends.
    """
    most = encoder.fact("context") or 512
    rows = [row[:most] for row in encoder.tokenizer.encode_batch([" ".join(text.split()) for text in texts])]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    vectors: list[Tensor] = [torch.empty(0)] * len(rows)
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        tokens = torch.zeros(len(part), max(1, *(len(rows[i]) for i in part)), dtype=torch.long)
        mask = torch.zeros(tokens.shape, dtype=torch.bool)
        for n, i in enumerate(part):
            tokens[n, : len(rows[i])] = torch.tensor(rows[i], dtype=torch.long)
            mask[n, : len(rows[i])] = bool(texts[i].strip())
        hidden = encoder(tokens.to(encoder.device), mask.to(encoder.device)).float().cpu()
        means = (hidden.nan_to_num() * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        for i, mean in zip(part, torch.nn.functional.normalize(means, dim=-1), strict=True):
            vectors[i] = mean
    return torch.stack(vectors) if vectors else torch.zeros(0, 1)
