"""Tokens that carry most of a feature's activation.

share(t) = Σ_{i: token_i = t} a_i / Σ_i a_i, over all activations a_i of the feature on the text.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from monosema.atlas.blocks import Block
from monosema.core.groups import ranks


def top_tokens(block: Block, vocab: int, k: int) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """Find the k tokens with the greatest shares of each latent of a block, and the shares.

    Of equal shares the lower id comes first; after the last token of a latent stand -1 and 0.
    """
    n, k = block.high - block.low, min(k, vocab)
    # A latent is active on few tokens of the vocabulary, so the pairs (latent, token) that occur are sorted, and no
    # matrix [n, vocab] is made. pairs: (m,); place: pair of each activation.
    pairs, place = np.unique(block.latent.astype(np.int64) * vocab + block.token, return_inverse=True)
    mass = np.bincount(place, block.value, len(pairs))
    latent = pairs // vocab
    order = np.lexsort((pairs, -mass, latent))
    rank = ranks(latent[order])
    order, rank = order[rank < k], rank[rank < k]
    tokens, share = np.full((n, k), -1, np.int64), np.zeros((n, k), np.float32)
    at = (latent[order], rank)
    tokens[at], share[at] = pairs[order] % vocab, mass[order] / np.bincount(latent, mass, n)[latent[order]]
    return tokens, share
