"""What scorers are given that judge passages as texts, whatever the tokens of the model whose latents are explained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from pydantic import Field

from monosema.core import Config
from monosema.interpretation.samples import Samples
from monosema.models import Tokenizer


class TextScoringConfig(Config):
    """How texts go through a model."""

    batch: int = Field(16, gt=0)
    """Texts in one forward pass."""
    seed: int = 0
    """Seed of the bootstrap and of the shuffle."""


@dataclass(frozen=True)
class Texts:
    """Entries of samples as texts.

    Attributes:
        texts: the passage of each entry.
        latents: whose entry it is.
        active: whether the latent is active in it.
    """

    texts: tuple[str, ...]
    latents: Int[np.ndarray, " n"]
    active: Bool[np.ndarray, " n"]

    @classmethod
    def of(cls, samples: Samples, entries: Int[np.ndarray, " n"], tokenizer: Tokenizer) -> Texts:
        """Texts of some entries.

        Args:
            entries: test entries of latents that are explained.
            tokenizer: of the model whose latents are explained.
        """
        rows = samples.ids[samples.passage[entries]]
        texts = tuple(tokenizer.decode(row[row >= 0].tolist()) for row in rows)
        return cls(texts, samples.latents[samples.row[entries]], samples.active[entries])
