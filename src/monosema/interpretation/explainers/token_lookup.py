"""Token lookup: the tokens that carry most of a latent's activation mass, and what to expect on each.

    w(t) = Σ_{i: token_i = t} a_i / #{i: token_i = t},    over the tokens i of the train passages,

kept for the tokens that carry most of the mass Σ a_i. The passages are not a fair sample of the text (activating ones
are many among them), so w is the expectation on such passages, which is all that the scores need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from monosema.core import Config
from monosema.interpretation.programs import Patterns, TokenLookup, with_threshold
from monosema.interpretation.protocol import Explained
from monosema.interpretation.samples import Samples
from monosema.models import Tokenizer


class TokenLookupConfig(Config):
    """How many tokens a lookup has."""

    tokens: int = Field(64, ge=1)
    """Tokens with a weight, at most: those that carry most of the mass."""
    named: int = Field(5, ge=1)
    """Tokens named in the text, at most."""
    named_share: float = Field(0.05, ge=0, le=1)
    """The second and further tokens that are named carry at least this share of the mass each."""


class TokenLookupExplainer:
    """Explains latents by the tokens that they are active on.

    Attributes:
        author, method, version: what its explanations are called.
    """

    author, method, version = "monosema", "token lookup", None

    def __init__(
        self, tokenizer: Tokenizer, config: TokenLookupConfig | None = None, labels: Mapping[int, str] | None = None
    ) -> None:
        """`labels` gives texts that are there already, such as those of an atlas; others are made from the samples."""
        self.config = config or TokenLookupConfig()
        self._tokenizer = tokenizer
        self._labels = labels or {}

    def explain(self, samples: Samples) -> Sequence[Explained]:
        """A lookup for each latent that is active anywhere on the train side."""
        entries = np.flatnonzero(~samples.test)
        ids = samples.ids[samples.passage[entries]]
        shown = ids >= 0
        base = int(samples.ids.max(initial=0)) + 1
        keys = (samples.row[entries].astype(np.int64)[:, None] * base + ids)[shown]
        pairs, place, count = np.unique(keys, return_inverse=True, return_counts=True)
        mass = np.bincount(place.reshape(-1), weights=samples.activations[entries][shown], minlength=len(pairs))
        row, token = np.divmod(pairs, base)
        total = np.bincount(row, weights=mass, minlength=len(samples.latents))
        order = np.lexsort((token, -mass, row))
        order = order[mass[order] > 0]
        first = np.searchsorted(row[order], np.arange(len(samples.latents) + 1))
        programs: dict[int, TokenLookup | Patterns] = {}
        texts: dict[int, str] = {}
        for index, latent in enumerate(samples.latents.tolist()):
            best = order[first[index] : first[index + 1]][: self.config.tokens]
            if not len(best):
                continue
            means = mass[best] / count[best]
            programs[latent] = TokenLookup(dict(zip(token[best].tolist(), means.tolist(), strict=True)))
            shares = (mass[best] / total[index]).tolist()
            texts[latent] = self._labels.get(latent) or self._text(token[best].tolist(), shares)
        programs = with_threshold(programs, samples)
        return [Explained(latent, texts[latent], program) for latent, program in programs.items()]

    def _text(self, tokens: Sequence[int], shares: Sequence[float]) -> str:
        named = self.config.named
        words = [
            repr(piece)
            for place, (piece, share) in enumerate(zip(self._tokenizer.tokens(tokens[:named]), shares, strict=False))
            if place == 0 or share >= self.config.named_share
        ]
        return ", ".join([f"{words[0]} ({100 * shares[0]:.0f} %)", *words[1:]])
