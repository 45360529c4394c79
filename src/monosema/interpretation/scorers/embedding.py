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
from torch import Tensor

from monosema.atlas import Explanation
from monosema.core import InputError
from monosema.interpretation.scores import ScoreTable
from monosema.interpretation.scoring import ScorerInfo, ScoringSession
from monosema.models import AdaptedModel, load_model


class Embedding:
    """Scores explanations by the geometry of an encoder, such as all-MiniLM-L6-v2; see the module and `Scorer`."""

    info = ScorerInfo(
        "embedding",
        "is the explanation nearer to activating passages, in an encoder?",
        chance=0.5,
        unit="AUC",
        rank=40,
        needs=("encoder",),
    )

    def score(self, explanations: Mapping[int, Explanation], session: ScoringSession) -> list[ScoreTable]:
        """Return the area under the curve of cosines."""
        encoder = session.once("encoder", lambda: load_encoder(session.encoder or "", session.device))
        texts, latents, active = session.texts(explanations)
        index = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        vectors = embed_texts(encoder, list(index))[[index[text] for text in texts]]
        directions = embed_texts(encoder, [explanation.text for explanation in explanations.values()])
        cosines = np.full(len(texts), np.nan)
        for latent, direction in zip(explanations, directions, strict=True):
            own = latents == latent
            cosines[own] = (vectors[torch.from_numpy(own)] @ direction).double().numpy()
        reason = "no active or no inactive passage"
        return session.areas(self.info, explanations, cosines, latents, active, reason)


def load_encoder(name: str, device: str | None) -> AdaptedModel:
    """Load an encoder. Raises InputError where the model continues text."""
    encoder = load_model(name, device)
    if not isinstance(encoder, AdaptedModel):
        raise InputError(f"{name} is no encoder: it continues text. Give one that embeds texts.")
    return encoder


@torch.no_grad()
def embed_texts(encoder: AdaptedModel, texts: Sequence[str], batch: int = 16) -> Float[Tensor, "n d_model"]:
    """Return a vector of norm 1 for each text, the mean over its tokens; 0 for an empty text.

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
