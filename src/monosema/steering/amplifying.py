"""Amplified latents: what the model expects after a neutral beginning when a latent is pushed hard there.

To amplify is to add, at the last token of "From my experience,", the latent's direction times 10 × the largest
activation that any latent has there (Arad et al. 2025, arXiv 2505.20063).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import Site
from monosema.dictionaries import Dictionary, sites_read, written_at
from monosema.models import LanguageModel

NEUTRAL = "From my experience,"
"""The beginning at which latents are amplified."""
AMPLIFICATION = 10.0
"""Multiple of the largest activation there."""
_ROWS = 128


class Amplified:
    """A dictionary's latents at a neutral beginning."""

    def __init__(self, model: LanguageModel, dictionary: Dictionary, site: Site) -> None:
        """`site`: the one that the dictionary reads; of a crosscoder, the last."""
        self._model, self._dictionary, self._reads = model, dictionary, sites_read(dictionary, site)
        self._beginning = torch.tensor([model.tokenizer.encode(NEUTRAL)], device=model.device)

    @cached_property
    def plain(self) -> Float[Tensor, " vocab"]:
        """Logarithms of the next token's distribution with nothing amplified."""
        with torch.inference_mode():
            return self._model(self._beginning).float()[0, -1].log_softmax(-1).cpu()

    @cached_property
    def _amount(self) -> float:
        with torch.inference_mode():
            got = self._model.activations(self._beginning, self._reads)
            rows = torch.cat([got[site].flatten(2)[0, -1:] for site in self._reads], dim=1).float()
            return AMPLIFICATION * float(self._dictionary.encode(rows).dense().max())

    @torch.inference_mode()
    def after(self, latents: Sequence[int] | None = None) -> Float[Tensor, "n vocab"]:
        """Return the same with each of these latents amplified; None for all."""
        writer, site = written_at(self._dictionary, self._reads[-1])
        directions = writer.directions.detach()
        some = directions if latents is None else directions[list(latents)]
        return torch.cat([self._after(site, self._amount * part.to(self._model.device)) for part in some.split(_ROWS)])

    def _after(self, site: Site, pushes: Float[Tensor, "n d"]) -> Float[Tensor, "n vocab"]:
        def push(x: Tensor) -> Tensor:
            moved = x.clone()
            moved[:, -1] += pushes.view(moved[:, -1].shape).to(moved)
            return moved

        with self._model.edit(site, push):
            logits = self._model(self._beginning.expand(len(pushes), -1))
        return logits[:, -1].float().log_softmax(-1).cpu()
