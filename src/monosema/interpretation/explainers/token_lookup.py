"""Token lookup: the tokens that carry most of a latent's activation mass, and what to expect on each.

    w(t) = Σ_{i: token_i = t} a_i / #{i: token_i = t},    over the tokens i of the train passages,

kept for the tokens that carry most of the mass Σ a_i. The passages are not a fair sample of the text (activating ones
are many among them), so w is the expectation on such passages, which is all that the scores need. The text names the
tokens with the greatest shares of the mass in the whole text, where these are known, or else in the train passages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from monosema.atlas import Explanation
from monosema.core import Config
from monosema.interpretation.protocol import AUTHOR
from monosema.interpretation.rules import Rule, TokenLookup, with_threshold
from monosema.interpretation.samples import Samples
from monosema.models import Tokenizer, quoted

METHOD = "token lookup"


class TokenLookupConfig(Config):
    """Size of a lookup."""

    tokens: int = Field(64, ge=1)
    """Most tokens with a weight: those that carry most of the mass."""
    named: int = Field(5, ge=1)
    """Most tokens named in the text."""
    named_share: float = Field(0.05, ge=0, le=1)
    """Least share of the mass of the second and further named tokens."""


class TokenLookupExplainer:
    """Explains latents by the tokens that they are active on.

    Args:
        tokenizer: of the model whose latents are explained.
        config: size of a lookup.
        shares: tokens with the greatest shares of a latent's activation mass in the whole text, as an atlas has them.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: TokenLookupConfig | None = None,
        shares: Mapping[int, Sequence[tuple[str, float]]] | None = None,
    ) -> None:
        self.config = config or TokenLookupConfig()
        self._tokenizer = tokenizer
        self._shares = shares or {}

    def explain(self, samples: Samples) -> dict[int, Explanation]:
        """Fit a lookup for each latent that is active anywhere on the train split."""
        entries = np.flatnonzero(~samples.test)
        ids = samples.ids[samples.passage[entries]]
        shown = ids >= 0
        base = int(samples.ids.max(initial=0)) + 1
        keys = (samples.row[entries].astype(np.int64)[:, None] * base + ids)[shown]
        pairs, pair, count = np.unique(keys, return_inverse=True, return_counts=True)
        mass = np.bincount(pair.reshape(-1), weights=samples.activations[entries][shown], minlength=len(pairs))
        row, token = np.divmod(pairs, base)
        total = np.bincount(row, weights=mass, minlength=len(samples.latents))
        order = np.lexsort((token, -mass, row))
        order = order[mass[order] > 0]
        first = np.searchsorted(row[order], np.arange(len(samples.latents) + 1))
        rules: dict[int, Rule] = {}
        texts: dict[int, str] = {}
        for index, latent in enumerate(samples.latents.tolist()):
            best = order[first[index] : first[index + 1]][: self.config.tokens]
            if not len(best):
                continue
            means = mass[best] / count[best]
            rules[latent] = TokenLookup(dict(zip(token[best].tolist(), means.tolist(), strict=True)))
            shares = self._shares.get(latent) or self._own_shares(token[best], mass[best] / total[index])
            texts[latent] = lookup_text(shares[: self.config.named], self.config.named_share)
        return {
            latent: Explanation(AUTHOR, METHOD, None, None, texts[latent], rule.to_json())
            for latent, rule in with_threshold(rules, samples).items()
        }

    def _own_shares(self, tokens: NDArray[np.int64], shares: NDArray[np.float64]) -> list[tuple[str, float]]:
        named = self.config.named
        return list(zip(self._tokenizer.tokens(tokens[:named].tolist()), shares[:named].tolist(), strict=True))


def lookup_text(shares: Sequence[tuple[str, float]], least: float) -> str:
    """Write tokens and their shares for people: ``“cat” (61 %), “dog”``; further tokens have at least `least`."""
    words = [quoted(piece) for index, (piece, share) in enumerate(shares) if index == 0 or share >= least]
    return ", ".join([f"{words[0]} ({100 * shares[0][1]:.0f} %)", *dict.fromkeys(words[1:])])
