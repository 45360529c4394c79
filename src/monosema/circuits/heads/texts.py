"""Random tokens that come twice: the text on which heads are read without the help of meaning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from monosema.core import InputError, numpy_generator
from monosema.models import LanguageModel


@dataclass(frozen=True, eq=False)
class Repeated:
    """Blocks of random tokens, each twice, behind the tokens that begin a sequence.

    Attributes:
        tokens: ids.
        period: tokens of a block.
    """

    tokens: Int[Tensor, "n pos"]
    period: int

    def __len__(self) -> int:
        return len(self.tokens)


def repeated_tokens(model: LanguageModel, n: int, period: int = 24, seed: int = 0) -> Repeated:
    """Draw n blocks of ordinary tokens, none twice in a block, and write each block twice.

    Source: Olsson et al. 2022, arXiv:2209.11895. Raises InputError where that is longer than the model's context.
    """
    tokenizer, rng = model.tokenizer, numpy_generator(seed, "repeated tokens")
    (begin,) = tokenizer.encode_batch([""])
    if len(begin) + 2 * period > model.context:
        raise InputError(
            f"A block of {period} tokens twice is longer than the {model.context} tokens that {model.name!r} reads."
        )
    ids = range(min(tokenizer.vocab_size, model.vocab))
    ordinary = np.array([token for token in ids if token not in tokenizer.special_ids])
    blocks = np.stack([rng.choice(ordinary, size=period, replace=False) for _ in range(n)])
    rows = np.concatenate([np.tile(np.array(begin, dtype=np.int64), (n, 1)), blocks, blocks], axis=1)
    return Repeated(torch.from_numpy(rows).to(model.device), period)
